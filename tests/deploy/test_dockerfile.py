import json
import os
import re
import subprocess
import sys
import sysconfig
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement

TARGETS = ["api", "worker-cpu", "worker-gpu"]
PORT_VARIABLE = {
    "api": "DIMR_PORT",
    "worker-cpu": "DIMR_WORKER_METRICS_PORT",
    "worker-gpu": "DIMR_WORKER_METRICS_PORT",
}


@pytest.fixture
def only(dockerfile):
    """Callable: the value of the one instruction of a kind in a stage."""

    def value(stage, keyword):
        (found,) = (value for kind, value in dockerfile[stage] if kind == keyword)
        return found

    return value


@pytest.fixture
def asked():
    """The paths that `answering` was asked for."""
    return []


@pytest.fixture
def answering(asked):
    """Callable: the port of a loopback server that answers every GET with a status."""
    servers = []

    def start(status: int) -> int:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()
                asked.append(self.path)

            def log_message(self, *arguments):
                pass

        server = HTTPServer(("127.0.0.1", 0), Answer)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return server.server_port

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def check_health(only):
    """Callable: the exit status of an image's health check against a port."""

    def run(stage: str, port: int) -> int:
        command = json.loads(only(stage, "HEALTHCHECK").split(" CMD ")[1])
        return subprocess.run(
            [sys.executable, *command[1:]],
            env={**os.environ, PORT_VARIABLE[stage]: str(port)},
            capture_output=True,
            check=False,
        ).returncode

    return run


def test_hadolint_has_nothing_to_say(root):
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run(
        [hadolint, "--no-color", root / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_base_images_are_arguments_with_a_pinned_tag_and_no_registry(dockerfile):
    arguments = dict(value.split("=", 1) for _, value in dockerfile[""])
    assert sorted(arguments) == ["CUDA_IMAGE", "PYTHON_IMAGE"]
    for image in arguments.values():
        name, tag = image.split(":")
        assert re.match(r"\d+\.\d+", tag)
        assert "." not in name.split("/")[0]
    stages = [value for name in dockerfile if name for kind, value in dockerfile[name][:1]]
    external = [stage for stage in stages if "$" in stage]
    assert external == ["${PYTHON_IMAGE} AS cpu-base", "${CUDA_IMAGE} AS gpu-base"]


def test_everything_copied_exists_and_reaches_the_build(root, dockerfile):
    ignore = (root / ".dockerignore").read_text().splitlines()
    admitted = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copies = [v for stage in dockerfile.values() for kind, v in stage if kind == "COPY"]
    parts = [value.split()[:-1] for value in copies if not value.startswith("--from")]
    sources = {part for value in parts for part in value if not part.startswith("--")}
    assert sources == admitted
    assert [source for source in sorted(sources) if not (root / source).exists()] == []


def test_the_api_image_depends_on_no_stage_that_installs_torch(dockerfile):
    text = str([dockerfile[stage] for stage in ("cpu-base", "project", "api-packages")])
    assert "torch" not in text
    copied = [value for kind, value in dockerfile["api"] if kind == "COPY"]
    assert copied == [
        "--from=api-packages /opt/venv /opt/venv",
        "--from=project /srv/dimr .",
    ]


def test_torch_is_the_version_that_the_project_asks_for(root, pyproject, dockerfile):
    (wanted,) = (
        requirement
        for requirement in map(Requirement, pyproject["project"]["optional-dependencies"]["model"])
        if requirement.name == "torch"
    )
    makefile = re.search(r"torch==(\S+)", (root / "Makefile").read_text())
    assert makefile
    for stage in ("worker-cpu-packages", "worker-gpu-packages"):
        assert ("ARG", f"TORCH_VERSION={makefile[1]}") in dockerfile[stage]
    assert makefile[1] in wanted.specifier


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_one_fixed_user_that_is_not_root(only, target):
    user, group = only(target, "USER").split(":")
    assert user == group
    assert int(user) >= 10_000


@pytest.mark.parametrize("target", TARGETS)
def test_sigterm_reaches_the_process_itself(only, pyproject, target):
    (command,) = json.loads(only(target, "ENTRYPOINT"))
    assert command in pyproject["project"]["scripts"]
    assert only(target, "STOPSIGNAL") == "SIGTERM"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_which_version_it_is(only, pyproject, target):
    label = only(target, "LABEL")
    assert f'image.version="{pyproject["project"]["version"]}"' in label
    assert f'image.licenses="{pyproject["project"]["license"]}"' in label


@pytest.mark.parametrize("target", TARGETS)
def test_the_exposed_port_is_the_one_the_process_is_told(only, image_environment, target):
    assert image_environment(target)[PORT_VARIABLE[target]] == only(target, "EXPOSE")


@pytest.mark.parametrize(
    ("target", "path"),
    [("api", "/health/live"), ("worker-cpu", "/metrics"), ("worker-gpu", "/metrics")],
)
def test_a_process_that_answers_is_healthy(answering, asked, check_health, target, path):
    assert check_health(target, answering(200)) == 0
    assert asked == [path]


@pytest.mark.parametrize("target", TARGETS)
def test_a_process_that_answers_with_an_error_is_not_healthy(answering, check_health, target):
    assert check_health(target, answering(503)) != 0


@pytest.mark.parametrize("target", TARGETS)
def test_a_process_that_does_not_listen_is_not_healthy(check_health, target):
    assert check_health(target, 1) != 0
