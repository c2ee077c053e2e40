from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from model.data.__main__ import main
from model.data.emoji.packages import PACKAGES


@pytest.mark.parametrize(("command", "option"), [("emoji", "--packages DIR"), ("check", "--size")])
def test_help_teaches_what_is_done_and_how(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert option in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["other"],
        ["emoji"],
        ["emoji", "--out", "x", "--size", "33"],
        ["emoji", "--out"],
        ["check", "x"],
        ["check", "x", "--size", "0"],
        ["check", "x", "--size", "8", "--threads", "many"],
    ],
)
def test_bad_arguments_are_one_clear_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m model.data: ")


def test_a_build_that_fails_says_why_in_one_line_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / PACKAGES[0].archive_name).write_bytes(b"not it")
    assert main(["emoji", "--out", str(tmp_path / "out"), "--packages", str(packages)]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(errors) == 1
    assert "is not the pinned package" in errors[0]
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["emoji", "--out", str(tmp_path)]) == 1
    assert f"{tmp_path} exists" in capsys.readouterr().err


def test_a_data_set_without_fault_is_counted_by_class(
    photo_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(photo_tree), "--size", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [["0", "2", "ant"], ["1", "3", "bee"]]
    assert lines[2:] == ["5 images in 2 classes; 0 unusable"]


def test_what_cannot_be_used_is_named_and_counted(
    photo_tree: Path, picture: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (photo_tree / "bee" / "more" / "2.png").write_bytes(picture[:40])
    (photo_tree / "stray.png").write_bytes(picture)
    (photo_tree / "cow").mkdir()
    assert main(["check", str(photo_tree), "--size", "8"]) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["0", "2", "ant"],
        ["1", "2", "bee"],
        ["2", "0", "cow"],
    ]
    unusable = [line for line in lines if line.startswith("unusable: ")]
    assert [line.split(": ")[1] for line in sorted(unusable)] == [
        str(photo_tree / "bee" / "more" / "2.png"),
        str(photo_tree / "cow"),
        str(photo_tree / "stray.png"),
    ]
    assert lines[-1] == "4 images in 3 classes; 3 unusable"
    assert captured.err == ""


def test_a_stream_is_checked_with_its_class_index(
    write_shard: Callable[[str, Mapping[str, bytes]], Path],
    picture: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    members = {"a.png": picture, "a.cls": b"1", "b.png": picture, "b.cls": b"7"}
    shard = write_shard("x.tar.gz", members)
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\n")
    options = ["--size", "8", "--class-index", str(names)]
    assert main(["check", str(shard), *options]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["1", "1", "bee"]
    assert lines[2].startswith(f"unusable: {shard}:b: its label is 7")


def test_a_location_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tmp_path / "none"), "--size", "8"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "there is no" in errors[0]


@pytest.fixture
def captioned_tree(tmp_path: Path, picture: bytes) -> Path:
    """Three pictures with four captions."""
    root = tmp_path / "captioned"
    root.mkdir()
    for name, text in (("1", "an owl\na bird"), ("2", "a fox"), ("3", "a small red apple")):
        (root / f"{name}.png").write_bytes(picture)
        (root / f"{name}.txt").write_text(text)
    return root


def test_captions_are_counted_and_measured(
    captioned_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(captioned_tree), "--captions", "--size", "8"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "captions of an image: 1 to 2, 1.3 on average",
        "characters of a caption: 5 to 17, 8.5 on average",
        "3 images with 4 captions; 0 unusable",
    ]


def test_wrong_captions_and_pictures_are_named_and_not_counted(
    captioned_tree: Path, picture: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (captioned_tree / "2.png").write_bytes(picture[:40])
    (captioned_tree / "3.txt").write_bytes(b"\xff")
    (captioned_tree / "4.png").write_bytes(picture)
    assert main(["check", str(captioned_tree), "--captions", "--size", "8"]) == 1
    lines = capsys.readouterr().out.splitlines()
    unusable = sorted(line for line in lines if line.startswith("unusable: "))
    assert [line.split(": ")[1] for line in unusable] == [
        str(captioned_tree / f"{k}.png") for k in (2, 3, 4)
    ]
    assert lines[-1] == "1 images with 2 captions; 3 unusable"


def test_a_captioned_stream_is_checked_as_well(
    write_shard: Callable[[str, Mapping[str, bytes]], Path],
    picture: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shard = write_shard("x.tar.gz", {"a.png": picture, "b.png": picture, "b.txt": b" "})
    assert main(["check", str(shard), "--captions", "--size", "8"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["captions of an image: none", "characters of a caption: none"]
    assert lines[-1] == "0 images with 0 captions; 2 unusable"


def test_captions_and_a_class_index_exclude_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["check", str(tmp_path), "--captions", "--class-index", "x", "--size", "8"])
    assert stop.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err
