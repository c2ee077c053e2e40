"""dimr-evaluate compare."""

import numpy as np
import pytest

from model.evaluation.__main__ import main
from model.evaluation.comparison import ComparisonReport
from model.files import file_sha256


@pytest.fixture
def compare(tmp_path, pictures, inception_weights):
    """Run the command on five samples and four real images, into tmp_path/report.json."""
    np.savez(tmp_path / "samples.npz", pictures(5, seed=1))
    np.savez(tmp_path / "real.npz", pictures(4))

    def run(*arguments):
        return main(
            [
                *("compare", str(tmp_path / "samples.npz")),
                *("--reference", str(tmp_path / "real.npz")),
                *("--inception", str(inception_weights)),
                *("--out", str(tmp_path / "report.json")),
                *("--device", "cpu", "--threads", "1", *arguments),
            ]
        )

    return run


@pytest.mark.slow  # eigenvalues of 2048 x 2048
def test_a_report_names_every_score_and_what_it_is_of(compare, tmp_path, inception_weights, capsys):
    assert compare("--cache", str(tmp_path / "kept"), "--batch", "2") == 0
    report = ComparisonReport.model_validate_json((tmp_path / "report.json").read_text())
    assert (report.samples.images, report.reference.images) == (5, 4)
    assert report.samples.sha256 == file_sha256(tmp_path / "samples.npz")
    assert report.inception_sha256 == file_sha256(inception_weights)
    assert report.command.startswith("dimr-evaluate compare ")
    assert report.scores.fid > 0
    assert report.scores.sfid > 0
    assert report.scores.inception_score >= 1
    assert report.scores.precision is not None
    shown = capsys.readouterr().out
    for part in ("5 samples", "FID", f"{report.scores.fid:.4f}", "recall, k = 3"):
        assert part in shown
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--out", "report.txt"], ["--out", "'report.txt'", ".json"]),
        (["--batch", "0"], ["--batch", "'0'"]),
        (["--device", "toaster"], ["--device", "'toaster'", "cpu"]),
        (["--device", "meta"], ["--device", "cpu"]),
        (["--reference", "/nowhere.npz"], ["/nowhere.npz", "an .npz file"]),
        (["--inception", "/nowhere.pth"], ["/nowhere.pth", "no such file"]),
        (["--inception", __file__], ["test_compare.py", "the FID Inception weights"]),
        (["--cache", __file__], ["--cache", "a folder"]),
    ],
    ids=lambda value: value[0],
)
def test_a_bad_value_is_one_clear_line_and_nothing_is_written(
    compare, tmp_path, capsys, arguments, named
):
    assert compare(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("dimr-evaluate: ")
    for part in named:
        assert part in lines[0]
    assert not (tmp_path / "report.json").exists()


def test_a_report_is_replaced_only_when_asked(compare, tmp_path, capsys):
    (tmp_path / "report.json").write_text("kept")
    assert compare() == 2
    assert "report.json exists already" in capsys.readouterr().err
    assert (tmp_path / "report.json").read_text() == "kept"
