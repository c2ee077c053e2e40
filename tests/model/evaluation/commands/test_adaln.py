"""dimr-evaluate adaln."""

import pytest
from PIL import Image

from model.bundle import write_bundle
from model.denoisers.dit import DiT
from model.evaluation.__main__ import main
from model.evaluation.modulation import ModulationReport
from model.layers.adaln import AdaLNZero
from model.specs.networks import DiTSpec


@pytest.fixture
def dit_folder(tiny_recipe, tmp_path):
    """A bundle of a small DiT that is no longer as it was initialised."""
    spec = DiTSpec(size=8, channels=12, classes=3, dim=8, blocks=1, heads=2, patch=2)
    network = DiT(spec)
    for module in network.modules():
        if isinstance(module, AdaLNZero):
            module.linear.weight.data.normal_()
    recipe = tiny_recipe.model_copy(update={"network": spec})
    return write_bundle(tmp_path / "dit", recipe, network, ("a", "b", "c"), steps=1)


def test_report_plot_and_table_agree(dit_folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["adaln", str(dit_folder), "--out", str(out), "--times", "9", "--class", "b"]) == 0
    report = ModulationReport.model_validate_json((out / "adaln.json").read_text())
    assert (report.times, report.label) == (9, 1)
    assert len(report.parameters) == report.summary.parameters == 4
    assert all(sum(entry.ratios) == pytest.approx(1) for entry in report.parameters)
    with Image.open(out / "explained-variance.png") as plot:
        assert plot.format == "PNG"
    shown = capsys.readouterr().out
    assert "4 scales and shifts" in shown
    assert f"{100 * report.summary.mean_cumulative[0]:.1f} %" in shown


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--times", "2"], ["--times", "'2'", "from 3"]),
        (["--class", "zebra"], ["--class", "'zebra'", "3 classes"]),
        (["--out", __file__], ["--out", "a folder"]),
    ],
    ids=lambda value: value[0],
)
def test_a_bad_value_is_one_clear_line_and_nothing_is_written(
    dit_folder, tmp_path, capsys, arguments, named
):
    assert main(["adaln", str(dit_folder), "--out", str(tmp_path / "out"), *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    for part in named:
        assert part in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_bundle_without_adaln_is_refused(bundle_folder, tmp_path, capsys):
    assert main(["adaln", str(bundle_folder), "--out", str(tmp_path / "out")]) == 2
    assert "tiny has no AdaLN-Zero" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_prompt_model_has_no_adaln_zero(prompt_bundle_folder, tmp_path, capsys):
    assert main(["adaln", str(prompt_bundle_folder), "--out", str(tmp_path / "out")]) == 2
    assert "a network of kind 'layered'; allowed: one with AdaLN-Zero" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
