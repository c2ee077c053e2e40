"""The shipped files, parsed."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

Stages = dict[str, list[tuple[str, str]]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the repository."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def pyproject(root) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def compose(root):
    return yaml.safe_load((root / "docker-compose.yml").read_text())


@pytest.fixture(scope="session")
def prometheus(root):
    return yaml.safe_load((root / "deploy/prometheus/prometheus.yml").read_text())


@pytest.fixture(scope="session")
def alerts(root) -> list[dict[str, Any]]:
    groups = yaml.safe_load((root / "deploy/prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="session")
def dockerfile(root) -> Stages:
    """(instruction, value) pairs by the name of their stage; "" before the first FROM."""
    text = re.sub(r"^\s*#.*\n", "", (root / "Dockerfile").read_text(), flags=re.MULTILINE)
    stage = ""
    stages: Stages = {stage: []}
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        keyword, value = line.split(maxsplit=1)
        if keyword == "FROM":
            stage = value.split(" AS ")[1]
            stages[stage] = []
        stages[stage].append((keyword, value))
    return stages


@pytest.fixture(scope="session")
def image_environment(dockerfile):
    """Callable: what ENV says in a stage."""

    def environment(stage: str) -> dict[str, str]:
        values = (value for keyword, value in dockerfile[stage] if keyword == "ENV")
        return dict(pair.split("=", 1) for value in values for pair in value.split())

    return environment
