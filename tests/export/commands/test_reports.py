"""Reports of commands: refused before the work, written as a whole after it."""

import json
import os
from pathlib import Path

import pytest

from export.commands.reports import check_report, write_report
from model.sampling.arguments import ArgumentRefused


def test_a_report_that_can_be_written_replaces_the_one_before(tmp_path):
    path = tmp_path / "report.json"
    for document in ({"seconds": 2}, {"seconds": 1}):
        check_report(path, tmp_path / "bundle")
        write_report(path, document)
        assert json.loads(path.read_text()) == document
    assert list(tmp_path.iterdir()) == [path]


def test_no_report_is_no_work():
    check_report(None, Path())
    write_report(None, {})


@pytest.mark.parametrize("name", [".", "absent/report.json", "file/report.json"])
def test_a_report_that_has_no_place_is_refused_beforehand(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentRefused, match=r"argument --report: got .*; allowed: a file in a"):
        check_report(tmp_path / name, tmp_path / "bundle")


def test_a_report_never_takes_the_place_of_a_file_of_the_bundle(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    for name in ("manifest.json", "report.json"):
        with pytest.raises(ArgumentRefused, match=r"allowed: .*outside the bundle"):
            check_report(tmp_path / name, tmp_path)


def test_a_report_never_takes_the_place_of_what_is_no_plain_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("pipe", "link"):
        with pytest.raises(ArgumentRefused, match="nothing yet or a plain file"):
            check_report(tmp_path / name, tmp_path / "bundle")


def test_a_folder_that_is_read_only_is_refused_beforehand(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # as it is for who is not root
    with pytest.raises(ArgumentRefused, match="allowed: a file in a folder that can be written"):
        check_report(tmp_path / "report.json", tmp_path / "bundle")


def test_a_disk_that_is_full_leaves_the_report_before(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_report(path, {"seconds": 2})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArgumentRefused, match="cannot be written: No space left on device"):
        write_report(path, {"seconds": 1})
    assert json.loads(path.read_text()) == {"seconds": 2}
    assert list(tmp_path.iterdir()) == [path]
