from pathlib import Path

import pytest

from model.data.__main__ import main
from model.data.packages import PACKAGES


def test_help_teaches_what_is_built_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "--packages DIR" in text


@pytest.mark.parametrize("arguments", [[], ["--out", "x", "--size", "33"], ["--out"]])
def test_bad_arguments_are_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_build_that_fails_says_why_in_one_line_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / PACKAGES[0].archive_name).write_bytes(b"not it")
    assert main(["--out", str(tmp_path / "out"), "--packages", str(packages)]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(errors) == 1
    assert "is not the pinned package" in errors[0]
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path)]) == 1
    assert f"{tmp_path} exists" in capsys.readouterr().err
