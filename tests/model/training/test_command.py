"""dimr-train as a user meets it."""

import json
import resource

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from model.bundle import load_bundle
from model.latents.__main__ import main as compute_latents
from model.specs.files import read_recipe
from model.training.__main__ import main

IMAGES = {"kind": "images", "size": 16, "flip": True}


def test_a_finished_run_leaves_a_bundle_with_names_and_aliases(
    emoji_recipe, call, tmp_path, capsys
):
    assert call(emoji_recipe, tmp_path / "run") == 0
    said = capsys.readouterr()
    assert said.out == f"trained tiny for 6 steps; bundle in {tmp_path / 'run' / 'bundle'}\n"
    assert said.err.startswith("tiny: steps 0 to 6 of 4 examples; run in ")
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert [label.name for label in bundle.labels] == ["star", "red apple", "automobile"]
    assert "car" in bundle.labels[2].aliases
    assert bundle.manifest.provenance["steps"] == 6
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "recipe.json", "execution.json", "log.jsonl", "tensorboard", "checkpoints", "bundle"
    }  # fmt: skip


def test_checkpoints_are_kept_as_asked(write_recipe, call, steps_saved, tmp_path):
    recipe = write_recipe(steps=7)
    assert call(recipe, tmp_path / "run", "--keep", "1", "--keep-every", "3") == 0
    assert steps_saved(tmp_path / "run") == [3, 6, 7]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--steps", "0"], "--steps: got '0'; allowed: a whole number from 1 to"),
        (["--steps", "many"], "--steps: got 'many'; allowed: a whole number from 1 to"),
        (["--threads", "0"], "--threads: got '0'; allowed: a whole number from 1 to"),
        (["--workers", "-1"], "--workers: got '-1'; allowed: a whole number from 0 to"),
        (["--accumulate", "0"], "--accumulate: got '0'; allowed: a whole number from 1 to"),
        (["--accumulate", "3"], "training.batch: got 4; allowed: a multiple of 3"),
        (["--precision", "fp64"], "--precision: "),
        (["--parallelism", "tensor"], "--parallelism: "),
        (["--device", "tpu"], "--device: invalid choice: 'tpu'"),
        (["--checkpoint-every", "0"], "--checkpoint-every: got '0'; allowed: a number from 0.01"),
        (["--checkpoint-every", "nan"], "--checkpoint-every: got 'nan'; allowed: a number from"),
        (["--keep", "0"], "--keep: got '0'; allowed: a whole number from 1 to"),
        (["--keep-every", "0"], "--keep-every: got '0'; allowed: a whole number from 1 to"),
        (["--samples-every", "0"], "--samples-every: got '0'; allowed: a whole number from 1"),
        (["--sample-classes", "0"], "--sample-classes: got '0'; allowed: a whole number from 1"),
        (["--measure-every", "0"], "--measure-every: got '0'; allowed: a whole number from 1"),
        (["--measure-samples", "1"], "--measure-samples: got '1'; allowed: a whole number from 2"),
        (["--autoencoder", "x/y"], "--autoencoder: got 'x/y'; allowed with recipes of latents"),
        (["--resume"], "holds no checkpoint; leave --resume out to start one"),
        (["--step", "5"], "unrecognized arguments: --step 5"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it_and_writes_nothing(
    emoji_recipe, call, tmp_path, capsys, options, complaint
):
    assert call(emoji_recipe, tmp_path / "run", *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dimr-train: ")
    assert complaint in line
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(emoji_recipe, call, tmp_path, capsys):
    assert call(emoji_recipe, tmp_path / "run", "--device", "cuda") == 2
    assert "--device: got 'cuda' for process 0; allowed: 'cpu'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_none_is_refused(call, tmp_path, capsys):
    assert call("nonsense", tmp_path / "run") == 2
    assert "recipe: got 'nonsense'; allowed: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_must_be_given_is_named(capsys):
    assert main(["emoji-32"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "dimr-train: the following arguments are required: --data, --out"


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for taught in (
        "emoji-32", "torchrun --nproc-per-node 8 -m model.training", "--resume continues bit for",
        "WebDataset shards", "python -m model.latents", "RUN holds recipe.json",
        "default: 300", "--shutdown-timeout",
    ):  # fmt: skip
        assert taught in text


@pytest.mark.parametrize("out", ["file", "file/run"])
def test_a_folder_that_cannot_be_made_is_one_line(emoji_recipe, call, tmp_path, capsys, out):
    (tmp_path / "file").write_text("no folder")
    assert call(emoji_recipe, tmp_path / out) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / out) in line
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_no_half_of_a_checkpoint(
    emoji_recipe, launcher, tmp_path
):
    def cap_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    run = tmp_path / "run"
    ended = launcher.run(emoji_recipe, run, "--no-tensorboard", preexec_fn=cap_files)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(
        f"dimr-train: {run}/checkpoints/step-000000006 could not be written ("
    )
    assert "Traceback" not in ended.stderr
    assert list((run / "checkpoints").iterdir()) == []


def test_a_run_is_never_overwritten_and_never_continued_under_another_recipe(
    write_recipe, call, tmp_path, capsys
):
    recipe, run = write_recipe(), tmp_path / "run"
    assert call(recipe, run) == 0
    assert call(recipe, run) == 2
    assert "already holds a run; add --resume" in capsys.readouterr().err
    stages = json.loads(recipe.read_text())["network"]["stages"]
    stages[1]["hidden"] = 16
    for changed, named in (
        ({"network": {"stages": stages}}, "another network"),
        ({"process": {"prediction": "noise"}}, "another process"),
        ({"seed": 7}, "another training.seed"),
        ({"batch": 8}, "another training.batch"),
        ({"times": "discrete"}, "another training.times"),
    ):
        assert call(write_recipe(**changed), run, "--resume") == 2
        assert named in capsys.readouterr().err
    assert call(recipe, run, "--resume", "--steps", "5") == 2
    assert "--steps: got 5; allowed: at least 6" in capsys.readouterr().err


def test_a_run_that_diverges_says_why_and_keeps_the_state_before_it(
    write_recipe, call, steps_saved, tmp_path, capsys
):
    wild = write_recipe(optimiser={"rate": 1e30, "clip_norm": None})
    assert call(wild, tmp_path / "run") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("dimr-train: the loss is not finite at step 2: loss ")
    assert "losses (gradient norms) before: " in line
    assert "lower the rate" in line
    assert steps_saved(tmp_path / "run") == [2]
    assert not (tmp_path / "run" / "bundle").exists()
    assert call(wild, tmp_path / "run", "--resume") == 2
    assert steps_saved(tmp_path / "run") == [2]


def test_images_of_class_folders_are_trained_on_and_counted(write_recipe, call, pictures, tmp_path):
    recipe = write_recipe(data=IMAGES, network={"classes": 2})
    assert call(recipe, tmp_path / "run", "--samples-every", "6", data=pictures) == 0
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert [label.name for label in bundle.labels] == ["cat", "dog"]
    assert bundle.manifest.sizes == (16,)
    with Image.open(tmp_path / "run" / "samples" / "step-000000006.png") as grid:
        assert np.asarray(grid).ndim == 3


def test_a_corrupt_image_ends_a_run_by_name_or_is_left_out_if_asked(
    write_recipe, call, pictures, tmp_path, capsys, caplog
):
    bad = pictures / "dog" / "9.png"
    bad.write_bytes(b"no picture")
    recipe = write_recipe(data=IMAGES, network={"classes": 2})
    assert call(recipe, tmp_path / "run", data=pictures) == 2
    assert f"dimr-train: {bad} cannot be used: " in capsys.readouterr().err.splitlines()[-1]
    lenient = write_recipe(data=IMAGES | {"on_bad": "skip"}, network={"classes": 2})
    assert call(lenient, tmp_path / "lenient", data=pictures) == 0
    assert "examples left out: 1; each is named above" in capsys.readouterr().err.splitlines()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"example left out: {bad}: ")


@pytest.mark.slow
def test_what_is_left_out_is_a_line_on_stderr(write_recipe, launcher, pictures, tmp_path):
    (pictures / "dog" / "9.png").write_bytes(b"no picture")
    recipe = write_recipe(data=IMAGES | {"on_bad": "skip"}, network={"classes": 2})
    ended = launcher.run(recipe, tmp_path / "run", "--workers", "1", data=pictures)
    assert ended.returncode == 0, ended.stderr
    named = [line for line in ended.stderr.splitlines() if line.startswith("example left out: ")]
    assert len(named) == 1
    assert str(pictures / "dog" / "9.png") in named[0]


@pytest.fixture
def autoencoder(tmp_path):
    """Randomly initialised: latents of 2 channels, 2 pixels a cell each way."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(4, 4),
            layers_per_block=1,
            latent_channels=2,
            norm_num_groups=2,
        ).save_pretrained(tmp_path / "autoencoder")
    return tmp_path / "autoencoder"


def test_latents_are_trained_on_and_seen_through_their_autoencoder(
    write_recipe, call, pictures, autoencoder, steps_saved, tmp_path, capsys
):
    moments, run = tmp_path / "moments", tmp_path / "run"
    options = ["--size", "16", "--channels", "2", "--factor", "2", "--device", "cpu"]
    options += ["--autoencoder", str(autoencoder), "--out", str(moments)]
    assert compute_latents(["encode", str(pictures), *options]) == 0
    capsys.readouterr()
    recipe = write_recipe(
        data={"kind": "latents"},
        network={"classes": 2, "channels": 2},
        process={"codec": {"kind": "latents", "channels": 2, "factor": 2}},
    )
    assert call(recipe, run, "--samples-every", "3", data=moments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dimr-train: --autoencoder: needed to see samples of latents; allowed: ")
    assert not run.exists()

    assert call(recipe, tmp_path / "blind", data=moments) == 0
    assert load_bundle(tmp_path / "blind" / "bundle").manifest.files.keys() == {
        "denoiser.safetensors", "labels.json"
    }  # fmt: skip
    seen = ("--samples-every", "3", "--autoencoder", str(autoencoder))
    assert call(recipe, run, *seen, data=moments) == 0
    with Image.open(run / "samples" / "step-000000006.png") as grid:
        assert np.asarray(grid).ndim == 3
    assert len(load_bundle(run / "bundle").manifest.files) > 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": "No Spaces"}, "id"),
        ({"colour": "red"}, "colour"),
        ({"process": {"schedule": {"kind": "cosine"}, "prediction": "x"}}, "process.prediction"),
    ],
)
def test_a_recipe_that_does_not_validate_names_the_field(emoji_recipe, change, named):
    emoji_recipe.write_text(json.dumps(json.loads(emoji_recipe.read_text()) | change))
    with pytest.raises(ValueError, match=named):
        read_recipe(str(emoji_recipe))


def test_data_and_network_must_agree(emoji_recipe, call, tmp_path, capsys, pictures, write_recipe):
    values = json.loads(emoji_recipe.read_text())
    values["data"]["size"] = 32
    emoji_recipe.write_text(json.dumps(values))
    assert call(emoji_recipe, tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert "(12, 8, 8); data and codec give (12, 16, 16)" in said
    assert call(write_recipe(data=IMAGES), tmp_path / "run", data=pictures) == 2
    assert "network.classes: got 3; the data have 2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
