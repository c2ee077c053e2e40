import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.errors import SettingsInvalid
from service.settings import Settings, load_settings, settings_table


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("DIMR_")]:
        monkeypatch.delenv(name)


def test_an_empty_environment_serves_this_machine_only() -> None:
    settings = load_settings()

    assert (settings.redis_url, settings.host, settings.port) == (None, "127.0.0.1", 8000)
    assert settings.device == "cpu"


def test_variables_set_the_fields_of_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMR_SLOTS", "32")
    monkeypatch.setenv("DIMR_LEASE_S", "7.5")
    monkeypatch.setenv("DIMR_REDIS_URL", "rediss://cache.internal:6380/2")

    settings = load_settings()

    assert (settings.slots, settings.lease_s) == (32, 7.5)
    assert settings.redis_url == "rediss://cache.internal:6380/2"


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMR_REDIS_URL", "")
    monkeypatch.setenv("DIMR_SLOTS", "")

    assert load_settings() == Settings()


@pytest.mark.parametrize("separator", [",", ", ", os.pathsep])
def test_bundles_are_separated_by_commas_or_as_paths_are(
    separator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIMR_BUNDLES", separator.join(("models/a", "/srv/b c")))

    assert load_settings().bundles == (Path("models/a"), Path("/srv/b c"))


def test_without_bundles_those_that_ship_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").touch()
    (tmp_path / "not-a-bundle").mkdir()
    monkeypatch.setattr("service.settings.SHIPPED_BUNDLES", tmp_path)

    assert load_settings().bundles == (tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("DIMR_SLOTS", "many", "a whole number from 1 to 256"),
        ("DIMR_SLOTS", "0", "a whole number from 1 to 256"),
        ("DIMR_SLOTS", "257", "a whole number from 1 to 256"),
        ("DIMR_SLOTS", "1.5", "a whole number from 1 to 256"),
        ("DIMR_LEASE_S", "nan", "a number from 3 to 600"),
        ("DIMR_DRAIN_S", "inf", "a number from 0 to 3600"),
        ("DIMR_REQUEST_TIMEOUT_S", "0", "a number above 0 to 3600"),
        ("DIMR_DEVICE", "tpu", "cpu, cuda"),
        (
            "DIMR_ENGINE",
            "fast",
            "pytorch, onnx, tensorrt, tensorrt-rtx, pytorch-cuda, pytorch-compile",
        ),
        ("DIMR_LOG_LEVEL", "loud", "DEBUG, INFO, WARNING, ERROR"),
        ("DIMR_REDIS_URL", "http://cache", "a redis://, rediss:// or unix:// address"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsInvalid) as invalid:
        load_settings()

    assert str(invalid.value) == f"{name}: got {value!r}; allowed: {allowed}"


def test_an_unknown_name_is_refused_with_the_nearest_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIMR_SLOT", "4")

    with pytest.raises(SettingsInvalid, match=r"^DIMR_SLOT: no such setting; nearest: DIMR_SLOTS$"):
        load_settings()


def test_all_faults_are_reported_at_once_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMR_PORT", "http")
    monkeypatch.setenv("DIMR_SLOTS", "-1")
    monkeypatch.setenv("DIMR_QUIET", "yes")

    with pytest.raises(SettingsInvalid) as invalid:
        load_settings()

    message = str(invalid.value)
    assert set(re.findall(r"DIMR_\w+(?=: (?:got|no such))", message)) == {
        "DIMR_PORT",
        "DIMR_SLOTS",
        "DIMR_QUIET",
    }
    assert "\n" not in message


def test_a_password_is_not_repeated_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMR_REDIS_URL", "http://user:s3cret@cache:6379")

    with pytest.raises(SettingsInvalid) as invalid:
        load_settings()

    assert "s3cret" not in str(invalid.value)
    assert "//***@cache:6379" in str(invalid.value)


def test_the_table_has_a_complete_row_for_every_setting() -> None:
    header, rule, *rows = settings_table().splitlines()

    assert header.count("|") == rule.count("|") == 5
    assert [row.split("`")[1] for row in rows] == [
        f"DIMR_{name.upper()}" for name in Settings.model_fields
    ]
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        assert len(cells) == 4
        assert all(cells)
