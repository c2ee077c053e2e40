"""dimr-sample with a bundle that draws what a text says."""

import json

import numpy as np
import pytest
from PIL import Image

from model.bundle import write_bundle
from model.denoisers.dimr import DiMR
from model.sampling.__main__ import main
from model.sampling.images import ImageRequest, generate


@pytest.fixture
def sample(layered_folder, tmp_path):
    """Run the command with the layered bundle and few steps, into tmp_path/out."""

    def run(*arguments):
        out = str(tmp_path / "out")
        return main([str(layered_folder), "--steps", "2", "--out", out, *arguments])

    return run


def carried(path):
    with Image.open(path) as image:
        return np.asarray(image), json.loads(image.info["parameters"]), image.info["Description"]


def test_each_image_is_a_file_named_by_prompt_and_seed(sample, tmp_path, capsys):
    wanted = ["Red apple!", "red apple", "../owl", ""]
    arguments = [part for prompt in wanted for part in ("--prompt", prompt)]
    assert sample(*arguments, "--seed", "5", "--size", "8", "--guidance", "1") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "owl-5.png",
        "prompt-5.png",
        "red-apple-0-5.png",
        "red-apple-1-5.png",
    ]
    assert capsys.readouterr().err == ""
    _, parameters, description = carried(tmp_path / "out" / "prompt-5.png")
    assert parameters["prompt"] == ""
    assert description.startswith("AI-generated: no prompt; model tiny-layered, seed 5")


@pytest.mark.parametrize(("arguments", "side"), [([], 32), (["--size", "16"], 16)])
def test_an_image_can_be_made_again_from_what_it_carries(
    sample, layered_bundle, tmp_path, arguments, side
):
    assert sample("--prompt", "red apple", "--seed", "11", *arguments) == 0
    pixels, parameters, description = carried(tmp_path / "out" / "red-apple-11.png")
    assert pixels.shape == (side, side, 3)
    assert parameters["size"] == side
    assert description.startswith("AI-generated: red apple; model tiny-layered, seed 11, 2 steps")
    asked = {name: parameters[name] for name in ("seed", "steps", "sampler", "guidance", "size")}
    (again,) = generate(
        layered_bundle, [ImageRequest(condition=parameters["prompt"], **asked)], batch=1
    )
    np.testing.assert_array_equal(pixels, again)


def test_a_prompt_that_is_cut_off_is_told_and_drawn(sample, tmp_path, capsys):
    long = "a red apple on a blue table in the early light of a long summer day"
    assert sample("--prompt", long, "--prompt", "star", "--size", "8", "--n", "2") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dimr-sample: prompt: has ")
    assert "reads the first 8" in line
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_the_monitor_shows_the_gap_of_every_call_below_the_highest_scale(sample, capsys):
    assert sample("--prompt", "red apple", "--n", "2", "--monitor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("gap to the reduced prediction at 32 px")
    assert lines[2].split() == ["call", "8", "px", "16", "px"]
    table = [[float(number) for number in line.split()] for line in lines[3:]]
    assert [row[0] for row in table] == [1, 2]
    assert all(gap > 0 for row in table for gap in row[1:])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--class", "fox"], ["--class", "'tiny-layered' has no classes", "--prompt TEXT"]),
        (["--all-classes"], ["--all-classes", "has no classes", "--prompt TEXT"]),
        (["--list"], ["--list", "has no classes", "--prompt TEXT"]),
        (["--prompt", "star", "--prompt", "star"], ["--prompt", "'star' twice", "once"]),
        (["--prompt", "star", "--size", "64"], ["--size", "got 64", "8 or 16 or 32"]),
        (["--prompt", "star", "--size", "big"], ["--size", "'big'", "1 to 65536"]),
        (["--prompt", "star", "--size", "8", "--monitor"], ["--monitor", "above its lowest"]),
        (["--prompt", "\udcff"], ["--prompt", "text in UTF-8"]),
        (["--prompt", "star", "--class", "fox"], ["--class", "--prompt"]),
    ],
    ids=lambda value: " ".join(value).encode(errors="replace").decode(),
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


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--prompt", "fox"], ["--prompt", "'fox'", "'tiny'", "--class NAME", "--list"]),
        (["--class", "fox", "--size", "8"], ["--size", "got 8", "16"]),
        (["--class", "fox", "--monitor"], ["--monitor", "layered bundle"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_bundle_of_classes_knows_no_prompts_and_no_scales(
    tiny_recipe, tmp_path, capsys, arguments, named
):
    network = DiMR(tiny_recipe.network)
    folder = write_bundle(tmp_path / "bundle", tiny_recipe, network, ("fox", "owl", "cat"), steps=1)
    assert main([str(folder), *arguments, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in named:
        assert part in line
    assert not (tmp_path / "out").exists()


def test_help_teaches_prompts_too(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert '--prompt "red apple"' in shown
    assert "--size N" in shown
