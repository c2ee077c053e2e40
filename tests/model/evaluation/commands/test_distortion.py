"""dimr-evaluate distortion."""

import numpy as np
import pytest
from PIL import Image

from model.evaluation.__main__ import main
from model.evaluation.distortion import DistortionReport


@pytest.fixture
def study(tmp_path, bundle_folder, data_folder, pictures):
    """Run the command on nine random pictures, judged on the shipped kind of data."""
    labels = np.arange(9) % 3
    np.savez(tmp_path / "samples.npz", arr_0=pictures(9), arr_1=labels)

    def run(*arguments, small=("--bundle", str(bundle_folder), "--data", str(data_folder))):
        return main(
            [
                *("distortion", str(tmp_path / "samples.npz")),
                *("--out", str(tmp_path / "out"), "--threshold", "0.5", "--classifier-steps", "5"),
                *(*small, *arguments),
            ]
        )

    return run


def test_what_is_not_recognised_is_counted_listed_and_shown(study, tmp_path, capsys):
    assert study("--sheet", "4", "--threads", "1") == 0
    report = DistortionReport.model_validate_json((tmp_path / "out/distortion.json").read_text())
    assert report.images == 9
    assert report.low_fidelity == len(report.worst_images) >= 4
    assert report.rate == report.low_fidelity / 9
    assert sum(entry.low_fidelity for entry in report.classes) == report.low_fidelity
    assert {entry.name for entry in report.classes} == {"a", "b", "c"}
    chances = [entry.probability for entry in report.worst_images]
    assert chances == sorted(chances)
    assert chances[-1] < 0.5
    assert report.classifier == "small classifier trained on the images of tiny"
    assert f"low fidelity: {report.low_fidelity} of 9 images" in capsys.readouterr().out
    with (
        Image.open(tmp_path / "out/low-fidelity.png") as sheet,
        np.load(tmp_path / "samples.npz") as samples,
    ):
        assert sheet.size == (2 * 17 + 1,) * 2  # four pictures of 16 with gaps of 1
        corner = np.asarray(sheet)[1:17, 1:17]
        np.testing.assert_array_equal(corner, samples["arr_0"][report.worst_images[0].index])
    with Image.open(tmp_path / "out/histogram.png") as plot:
        assert plot.format == "PNG"


def test_where_everything_is_recognised_there_is_no_sheet(study, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/low-fidelity.png").write_text("of an earlier study")
    assert study("--threshold", "0", "--overwrite") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["distortion.json", "histogram.png"]


def test_results_are_replaced_only_when_asked(study, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/histogram.png").write_text("kept")
    assert study() == 2
    assert "histogram.png exists already" in capsys.readouterr().err
    assert (tmp_path / "out/histogram.png").read_text() == "kept"


@pytest.mark.parametrize(
    ("arguments", "small", "named"),
    [
        (["--threshold", "2"], None, ["--threshold", "'2'", "0 to 1"]),
        (["--sheet", "0"], None, ["--sheet", "'0'"]),
        (["--std", "0", "1", "1"], None, ["--std", "'0'"]),
        ([], (), ["--classifier: allowed: it alone, or --bundle and --data"]),
        (["--bundle", "b"], (), ["--classifier: allowed"]),
        (["--classifier", "c"], None, ["--classifier: allowed"]),
        (["--classifier", __file__], (), ["test_distortion.py", "no TorchScript module"]),
        (["--bundle", "/nowhere", "--data", "d"], (), ["/nowhere is no bundle"]),
    ],
)
def test_a_bad_value_is_one_clear_line_and_nothing_is_written(
    study, tmp_path, capsys, arguments, small, named
):
    assert (study(*arguments) if small is None else study(*arguments, small=small)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    for part in named:
        assert part in lines[0]
    assert not (tmp_path / "out").exists()


def test_samples_need_classes(study, tmp_path, pictures, capsys):
    np.savez(tmp_path / "samples.npz", pictures(2))
    assert study() == 2
    assert "no array arr_1" in capsys.readouterr().err


def test_a_prompt_model_has_no_classes_to_compare(
    study, prompt_bundle_folder, named_folder, tmp_path, capsys
):
    assert study(small=("--bundle", str(prompt_bundle_folder), "--data", str(named_folder))) == 2
    assert "which draws prompts; allowed: a class model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
