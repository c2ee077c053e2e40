import json
import re

import jsonschema  # type: ignore[import-untyped]  # it has no stubs of its own
import pytest

from service.settings import PREFIX, Settings, load_settings

PROCESSES = ["api", "worker", "worker-gpu"]


@pytest.fixture
def settings_of(compose, image_environment, monkeypatch):
    """Callable: what a process of a service reads from its image and its environment."""

    def read(service: str) -> Settings:
        described = compose["services"][service]
        own = {k: v for k, v in described["environment"].items() if v is not None}
        environment = image_environment(described["build"]["target"]) | own
        for name, value in environment.items():
            if name.startswith(PREFIX):
                monkeypatch.setenv(name, value)
        return load_settings()

    return read


def test_the_file_is_valid_by_the_compose_specification(root, compose):
    schema = json.loads((root / "tests/deploy/compose-spec.json").read_text())
    jsonschema.validate(compose, schema, jsonschema.Draft202012Validator)


def test_the_schema_is_not_one_that_accepts_anything(root, compose):
    schema = json.loads((root / "tests/deploy/compose-spec.json").read_text())
    services = {**compose["services"], "api": {"imagee": "dimr-serve-api"}}
    with pytest.raises(jsonschema.ValidationError, match="imagee"):
        jsonschema.validate(
            {**compose, "services": services}, schema, jsonschema.Draft202012Validator
        )


def test_every_variable_in_the_deployment_files_is_a_setting(root):
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for file in ("Dockerfile", "docker-compose.yml", "deploy/README.md"):
        named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", (root / file).read_text()))
        assert named
        assert named - known == set()


@pytest.mark.parametrize("service", PROCESSES)
def test_a_process_accepts_the_settings_it_is_given(settings_of, service):
    settings = settings_of(service)
    assert settings.redis_url == "redis://redis:6379/0"
    assert settings.host == "0.0.0.0"


def test_workers_compute_on_what_their_image_has(settings_of):
    assert settings_of("worker").device == "cpu"
    assert settings_of("worker-gpu").device == "cuda"


def test_the_published_port_is_the_one_the_api_listens_on(compose, settings_of):
    (port,) = compose["services"]["api"]["ports"]
    outer, inner = port.rsplit(":", 1)
    assert int(inner) == settings_of("api").port
    assert outer == f"${{DIMR_PORT:-{Settings.model_fields['port'].default}}}"


@pytest.mark.parametrize("service", PROCESSES)
def test_every_image_of_ours_is_a_target_of_the_dockerfile(root, compose, dockerfile, service):
    build = compose["services"][service]["build"]
    assert (root / build["context"] / "Dockerfile").is_file()
    assert build["target"] in dockerfile


@pytest.mark.parametrize("service", PROCESSES)
def test_a_process_of_ours_can_change_nothing(compose, service):
    described = compose["services"][service]
    assert described["read_only"] is True
    (writable,) = described["tmpfs"]
    assert writable.partition(":")[0] == "/tmp"
    assert described["cap_drop"] == ["ALL"]
    assert "volumes" not in described


@pytest.mark.parametrize("service", PROCESSES)
def test_a_process_of_ours_gets_time_to_drain(compose, settings_of, service):
    grace = compose["services"][service]["stop_grace_period"]
    assert float(grace.removesuffix("s")) >= settings_of(service).drain_s + 10


@pytest.mark.parametrize("service", PROCESSES)
def test_a_process_of_ours_waits_for_a_healthy_redis(compose, service):
    assert compose["services"][service]["depends_on"]["redis"] == {"condition": "service_healthy"}
    assert "redis-cli ping" in compose["services"]["redis"]["healthcheck"]["test"][1]


def test_every_service_comes_back_after_a_crash_and_has_a_limit(compose):
    for described in compose["services"].values():
        assert described["restart"] == "unless-stopped"
        assert described["deploy"]["resources"]["limits"]["memory"]


def test_images_of_others_are_pinned_to_a_patch_release(compose):
    images = [s["image"] for s in compose["services"].values() if "build" not in s]
    assert len(images) == 2
    for image in images:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", image)


def test_redis_is_durable_never_evicts_and_is_published_nowhere(compose):
    redis = compose["services"]["redis"]
    command = redis["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert redis["volumes"] == ["queue:/data"]
    assert "queue" in compose["volumes"]
    assert "ports" not in redis


def test_the_gpu_worker_is_asked_for_and_reserves_a_device(compose):
    worker = compose["services"]["worker-gpu"]
    assert worker["profiles"] == ["gpu"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "profiles" not in compose["services"]["worker"]
