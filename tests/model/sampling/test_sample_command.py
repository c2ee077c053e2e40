"""dimr-sample."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from model.bundle import load_bundle, write_bundle
from model.denoisers.dimr import DiMR
from model.sampling.__main__ import main
from model.sampling.images import ImageRequest, generate
from service.images import read_provenance

CLASSES = ("tiger face", "red apple", "fox")


@pytest.fixture
def bundle_folder(tiny_recipe, tmp_path):
    network = DiMR(tiny_recipe.network)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():  # at the initial point the class has no effect yet
        torch.nn.init.normal_(parameter, 0.1, 0.5, generator=generator)
    return write_bundle(tmp_path / "bundle", tiny_recipe, network, CLASSES, steps=6)


@pytest.fixture
def bundle(bundle_folder):
    return load_bundle(bundle_folder)


@pytest.fixture
def sample(bundle_folder, tmp_path):
    """Run the command with the bundle and few steps, into tmp_path/out."""

    def run(*arguments):
        return main(
            [str(bundle_folder), "--steps", "2", "--out", str(tmp_path / "out"), *arguments]
        )

    return run


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_image_is_a_file_named_by_class_and_seed(sample, tmp_path, capsys):
    assert sample("--class", "Tiger Face", "--class", "fox", "--n", "2", "--seed", "5") == 0
    assert names_in(tmp_path / "out") == [
        "fox-5.png",
        "fox-6.png",
        "tiger-face-5.png",
        "tiger-face-6.png",
    ]
    assert "4 images in" in capsys.readouterr().out


def test_an_image_can_be_made_again_from_what_it_carries(sample, bundle, tmp_path):
    sample("--class", "red apple", "--seed", "11", "--guidance", "2", "--sampler", "ddim")
    with Image.open(tmp_path / "out" / "red-apple-11.png") as image:
        pixels, text = np.asarray(image), json.loads(image.info["parameters"])
    assert text["origin"] == "AI-generated"
    asked = {name: text[name] for name in ("seed", "steps", "sampler", "guidance", "size")}
    (again,) = generate(bundle, [ImageRequest(condition=text["label"], **asked)], batch=1)
    np.testing.assert_array_equal(pixels, again)


def test_the_origin_reads_like_that_of_a_served_image(sample, tmp_path):
    sample("--class", "fox")
    provenance = read_provenance((tmp_path / "out" / "fox-0.png").read_bytes())
    assert (provenance.model, provenance.class_name, provenance.steps) == ("tiny", "fox", 2)
    with Image.open(tmp_path / "out" / "fox-0.png") as image:
        assert image.info["Description"] == provenance.description


def test_what_is_not_said_comes_from_the_bundle(bundle_folder, bundle, tmp_path):
    out = tmp_path / "out"
    assert main([str(bundle_folder), "--class", "fox", "--out", str(out)]) == 0
    provenance = read_provenance((out / "fox-0.png").read_bytes())
    defaults = bundle.manifest.sampling
    assert provenance.steps == defaults.steps
    assert provenance.sampler == defaults.sampler
    assert provenance.guidance == defaults.guidance


def test_a_grid_shows_every_image_enlarged(sample, tmp_path):
    grid = tmp_path / "deep" / "grid.png"
    assert sample("--all-classes", "--n", "2", "--grid", str(grid), "--scale", "3") == 0
    assert len(names_in(tmp_path / "out")) == 6
    with Image.open(grid) as image:
        assert image.size == ((2 * 17 + 1) * 3, (3 * 17 + 1) * 3)
        assert len(json.loads(image.info["parameters"])["images"]) == 6
        first = np.asarray(image)[3 : 3 + 48 : 3, 3 : 3 + 48 : 3]
    with Image.open(tmp_path / "out" / "tiger-face-0.png") as image:
        np.testing.assert_array_equal(first, np.asarray(image))


def test_columns_of_the_grid_can_be_chosen(sample, tmp_path):
    sample("--all-classes", "--grid", str(tmp_path / "g.png"), "--columns", "1")
    with Image.open(tmp_path / "g.png") as image:
        assert image.size == (18, 3 * 17 + 1)


def test_list_prints_the_classes_and_makes_nothing(sample, tmp_path, capsys):
    assert sample("--list") == 0
    assert capsys.readouterr().out.splitlines() == ["tiger face", "red apple", "fox"]
    assert not (tmp_path / "out").exists()


def test_files_are_replaced_only_when_asked(sample, tmp_path, capsys):
    sample("--class", "fox")
    made = (tmp_path / "out" / "fox-0.png").read_bytes()
    assert sample("--class", "fox", "--n", "2", "--guidance", "3") == 2
    assert "fox-0.png exist" in capsys.readouterr().err
    assert names_in(tmp_path / "out") == ["fox-0.png"]
    assert (tmp_path / "out" / "fox-0.png").read_bytes() == made
    assert sample("--class", "fox", "--n", "2", "--guidance", "3", "--overwrite") == 0
    assert (tmp_path / "out" / "fox-0.png").read_bytes() != made


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--class", "tigre face"], ["--class", "'tigre face'", "nearest: tiger face"]),
        (["--class", "fox", "--class", "FOX"], ["--class", "'FOX'", "once"]),
        (["--class", "fox", "--n", "0"], ["--n", "'0'", "from 1"]),
        (["--class", "fox", "--seed", "-1"], ["--seed", "'-1'", "from 0"]),
        (["--class", "fox", "--seed", str(2**63 - 1), "--n", "2"], ["--seed", f"{2**63 - 2}"]),
        (["--class", "fox", "--steps", "many"], ["--steps", "'many'", "1 to 1000"]),
        (["--class", "fox", "--guidance", "nan"], ["--guidance", "'nan'", "0 to 100"]),
        (["--class", "fox", "--sampler", "euler"], ["--sampler", "'euler'", "dpmpp_2m"]),
        (["--class", "fox", "--scale", "65"], ["--scale", "'65'", "1 to 64"]),
        (["--class", "fox", "--columns", "x"], ["--columns", "'x'"]),
        (["--class", "fox", "--threads", "0"], ["--threads", "'0'"]),
        (["--class", "fox", "--grid", "g.jpg"], ["--grid", "'g.jpg'", ".png"]),
        (["--class", "fox", "--colour", "red"], ["--colour"]),
        (["--class", "fox", "--all-classes"], ["--all-classes", "--class"]),
        ([], ["--list", "--all-classes", "--class"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_bad_value_is_one_clear_line_and_nothing_is_made(
    sample, tmp_path, capsys, arguments, named
):
    assert sample(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("dimr-sample: ")
    for part in named:
        assert part in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_folder_for_the_images_must_be_named(bundle_folder, capsys):
    assert main([str(bundle_folder), "--class", "fox"]) == 2
    assert "--out" in capsys.readouterr().err


def test_a_file_is_no_folder_for_images(bundle_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(bundle_folder), "--class", "fox", "--out", str(tmp_path / "file")]) == 2
    assert "a file; allowed: a folder" in capsys.readouterr().err


def test_a_folder_that_is_no_bundle_is_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--list"]) == 2
    assert "no bundle" in capsys.readouterr().err


def test_help_teaches_with_examples(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert 'dimr-sample BUNDLE --class "tiger face" --n 4' in capsys.readouterr().out


def test_equal_commands_write_equal_bytes(bundle_folder, tmp_path):
    contents = []
    for folder in ("a", "b"):
        out = tmp_path / folder
        main([str(bundle_folder), "--class", "fox", "--steps", "2", "--out", str(out)])
        contents.append((out / "fox-0.png").read_bytes())
    assert contents[0] == contents[1]
    with Image.open(io.BytesIO(contents[0])) as image:
        assert image.size == (16, 16)
