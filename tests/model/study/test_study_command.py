"""`python -m model.study` as a user meets it, with a base small enough for a test."""

import json
from pathlib import Path

import pytest

from model.study.__main__ import main
from model.study.results import Study

DATA = Path(__file__).parents[3] / "deploy" / "data" / "emoji"


@pytest.fixture
def base(tiny_recipe, tmp_path):
    values = json.loads(tiny_recipe.model_dump_json())
    values["data"] = {"kind": "emoji", "concepts": ["star", "red apple", "automobile"], "size": 16}
    values["sampling"]["steps"] = 3
    path = tmp_path / "base.json"
    path.write_text(json.dumps(values))
    return path


def study(base, out, *more):
    arguments = ["--base", str(base), "--data", str(DATA), "--out", str(out), *more]
    return main([*arguments[:6], "--samples-per-class", "2", *arguments[6:]])


@pytest.mark.slow
def test_rows_land_in_one_table_and_finished_ones_are_not_done_again(base, tmp_path, capsys):
    out = tmp_path / "study"
    assert study(base, out, "--rows", "dimr") == 0
    first = Study.model_validate_json((out / "results.json").read_text())
    assert study(base, out, "--rows", "uvit,dimr") == 0
    second = Study.model_validate_json((out / "results.json").read_text())
    assert [result.row for result in second.results] == ["uvit", "dimr"]
    untimed = [found.model_copy(update={"call_ms": None}) for found in first.results]
    assert second.results[1].model_copy(update={"call_ms": None}) == untimed[0]
    assert {result.images_seen for result in second.results} == {24}
    assert {result.samples for result in second.results} == {6}
    table = (out / "results.md").read_text()
    assert "| uvit | U-ViT, time as a token | table 2 |" in table
    assert "python -m model.study" in table
    assert (out / "uvit" / "samples" / "step-000000006.png").stat().st_size > 0
    assert "results.json" in capsys.readouterr().out


@pytest.mark.slow
def test_rows_that_were_not_trained_and_measured_alike_are_not_put_into_one_table(
    base, tmp_path, capsys
):
    out = tmp_path / "study"
    assert study(base, out, "--rows", "dimr") == 0
    before = (out / "results.json").read_bytes()
    for more, named in (
        (["--steps", "9"], "row dimr trained by another recipe"),
        (["--samples-per-class", "3"], "samples_per_class 2; allowed: 3"),
    ):
        assert study(base, out, "--rows", "dimr,uvit", *more) == 2
        assert named in capsys.readouterr().err
    assert (out / "results.json").read_bytes() == before


@pytest.fixture
def layered_base(layered_recipe, tmp_path):
    path = tmp_path / "layered-base.json"
    path.write_text(layered_recipe.model_dump_json())
    return path


@pytest.mark.slow
def test_the_layered_study_measures_every_scale_and_how_scales_agree(
    layered_base, tmp_path, capsys
):
    out = tmp_path / "study"
    arguments = ["layered", "--base", str(layered_base), "--data", str(DATA), "--out", str(out)]
    arguments += ["--samples-per-class", "2", "--rows"]
    assert main([*arguments, "single"]) == 0
    assert main([*arguments, "layered"]) == 0
    found = Study.model_validate_json((out / "results.json").read_text())
    assert [result.row for result in found.results] == ["layered", "single"]
    layered, single = found.results
    assert [scale.side for scale in layered.lower] == [8, 16]
    assert len(layered.disagreement) == 2
    assert (single.lower, single.disagreement) == ((), ())
    assert all(result.call_ms is not None and result.call_ms > 0 for result in found.results)
    assert {result.samples for result in found.results} == {4}
    assert (out / "distance-by-cost.png").stat().st_size > 0
    assert study(layered_base, out) == 2
    assert "got a network of kind 'layered'; allowed: a DiMR" in capsys.readouterr().err


def test_recipes_of_the_rows_are_written_for_dimr_train(base, tmp_path):
    assert main(["--base", str(base), "--recipes", str(tmp_path / "r"), "--rows", "dit,glu"]) == 0
    names = sorted(path.name for path in (tmp_path / "r").iterdir())
    assert names == ["tiny-dit.json", "tiny-glu.json"]
    assert json.loads((tmp_path / "r" / "tiny-glu.json").read_text())["training"]["loss"] == "last"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--rows", "dimr,nonsense"], "--rows: got nonsense; allowed: uvit, "),
        (["--base", "nonsense"], "recipe: got 'nonsense'"),
        (["--data", str(DATA)], "--data and --out: needed"),
        (["--base", "dimr-m3r-64", "--data", "x", "--out", "y"], "data of kind 'images'"),
        (["nonsense"], "argument STUDY: got 'nonsense'; allowed: dimr, layered"),
        (["layered", "--rows", "dimr"], "--rows: got dimr; allowed: layered, single"),
        (["layered", "--base", "ablation-32", "--recipes", "z"], "network of kind 'dimr'"),
        (["--data", "nowhere", "--out", "y"], "nowhere"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert named in lines[0]
    assert list(tmp_path.iterdir()) == []
