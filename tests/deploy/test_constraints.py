import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OF_THE_HOST = {"torch", "tensorrt-cu13"}  # the latter is on NVIDIA's index alone
LINE = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*")


@pytest.fixture(scope="module")
def lines(root):
    return (root / "constraints.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def pins(lines):
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


@pytest.fixture(scope="module")
def requirements(pyproject):
    project = pyproject["project"]
    extras = project["optional-dependencies"].values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    parsed = [Requirement(text) for text in texts]
    return [r for r in parsed if r.name not in {project["name"], *OF_THE_HOST}]


def test_every_line_is_one_exact_public_version(lines):
    assert [line for line in lines if not LINE.fullmatch(line)] == []


def test_lines_are_sorted_and_no_package_is_named_twice(lines, pins):
    assert lines == sorted(lines, key=str.casefold)
    assert len(pins) == len(lines)


def test_torch_is_left_to_whoever_chooses_its_build(pins):
    assert "torch" not in pins


def test_every_dependency_is_pinned_within_its_range(pins, requirements):
    assert len(requirements) > 20
    for requirement in requirements:
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier
