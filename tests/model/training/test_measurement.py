"""What a run measures of its samples, and which options make a measurement."""

import json

import pytest
import torch

from model.training.arguments import build_parser
from model.training.distributed import World
from model.training.measurement import MeasurementRefused, open_measure


@pytest.fixture
def opened(tiny_recipe):
    """Open the measurement that some options ask for."""

    def open_with(recipe=tiny_recipe, *options):
        arguments = build_parser().parse_args(
            ["tiny", "--data", "deploy/data/emoji", "--out", "run", *options]
        )
        return open_measure(arguments, recipe, World(0, 1, torch.device("cpu")))

    return open_with


def test_nothing_is_measured_unless_asked_for(opened):
    assert opened() is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--inception", "w.pth"], "have no effect; allowed: with --measure-every N"),
        (["--measure-every", "5", "--inception", "w.pth"], "got one; allowed: both"),
        (["--measure-every", "5", "--reference", "r.npz"], "got one; allowed: both"),
    ],
)
def test_half_a_measurement_is_refused(opened, tiny_recipe, options, named):
    with pytest.raises(MeasurementRefused, match=named):
        opened(tiny_recipe, *options)


def test_images_are_measured_by_fid_or_not_at_all(opened, tiny_recipe):
    values = json.loads(tiny_recipe.model_dump_json())
    values["data"] = {"kind": "images", "size": 16}
    recipe = type(tiny_recipe).model_validate(values)
    with pytest.raises(MeasurementRefused, match="'images' are measured by FID; allowed: with"):
        opened(recipe, "--measure-every", "5")


@pytest.mark.slow
def test_the_shipped_data_are_measured_while_training(emoji_recipe, call, tmp_path):
    options = ["--measure-every", "3", "--measure-samples", "9"]
    assert call(emoji_recipe, tmp_path / "run", *options) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    measured = [line for line in lines if "small_feature_frechet" in line]
    assert [line["step"] for line in measured] == [3, 6]
    assert all(line["small_feature_frechet"] > 0 for line in measured)
    assert all(0 <= line["class_accuracy"] <= 1 for line in measured)
