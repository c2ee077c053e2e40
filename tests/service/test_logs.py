import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.logs import configure

logger = logging.getLogger("tests.logs")


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    logging.captureWarnings(capture=False)
    root.setLevel(level)
    root.handlers[:] = handlers


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_a_record_is_one_json_line_on_stderr_with_its_extra_fields(capsys) -> None:
    configure("INFO")

    logger.info("job finished", extra={"job_id": "j1", "images": 2})

    [line] = _lines(capsys)
    assert str(line.pop("time")).endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "tests.logs",
        "event": "job finished",
        "job_id": "j1",
        "images": 2,
    }


def test_records_below_the_level_are_not_written(capsys) -> None:
    configure("WARNING")

    logger.info("quiet")
    logger.warning("loud")

    assert [line["event"] for line in _lines(capsys)] == ["loud"]


def test_an_exception_stays_on_its_line(capsys) -> None:
    configure("INFO")

    try:
        raise KeyError("missing")
    except KeyError:
        logger.exception("lookup failed")

    [line] = _lines(capsys)
    assert str(line["exception"]).startswith("Traceback")
    assert str(line["exception"]).endswith("KeyError: 'missing'")


def test_anything_can_be_logged_and_line_breaks_stay_inside_their_field(capsys) -> None:
    configure("INFO")

    logger.info("odd\nevent", extra={"path": Path("/a"), "text": "ünï\ncode"})

    [line] = _lines(capsys)
    assert (line["event"], line["path"], line["text"]) == ("odd\nevent", "/a", "ünï\ncode")


def test_extra_fields_cannot_forge_the_fields_of_the_record(capsys) -> None:
    configure("INFO")

    logger.info("real", extra={"event": "forged", "level": "CRITICAL"})

    [line] = _lines(capsys)
    assert (line["event"], line["level"]) == ("real", "INFO")


def test_configuring_again_replaces_the_first_configuration(capsys) -> None:
    configure("INFO")
    configure("DEBUG")

    logger.debug("once")

    assert [line["event"] for line in _lines(capsys)] == ["once"]


def test_warnings_become_records(capsys) -> None:
    configure("INFO")

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)

    [line] = _lines(capsys)
    assert (line["level"], line["logger"]) == ("WARNING", "py.warnings")
    assert "old thing" in str(line["event"])
