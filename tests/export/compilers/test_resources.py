"""What is free: of the machine, and of a container on it."""

import os
import shutil

import pytest

from export.compilers import resources
from export.compilers.errors import GIB, MIB, ResourceShort
from export.compilers.resources import free_memory_bytes, require_disk, require_memory


@pytest.fixture
def container(tmp_path, monkeypatch):
    """Write what a container is allowed, and what it uses of it."""
    monkeypatch.setattr(resources, "_CGROUP", tmp_path)

    def write(limit, used, cached):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
        (tmp_path / "memory.stat").write_text(f"anon {used - cached}\ninactive_file {cached}\n")

    return write


def test_without_a_container_the_machine_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "_CGROUP", tmp_path / "absent")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free_memory_bytes() < total


def test_a_container_counts_and_what_it_caches_is_free(container):
    container(10 * MIB, used=6 * MIB, cached=2 * MIB)
    assert free_memory_bytes() == 6 * MIB


def test_a_container_without_a_limit_is_the_machine(container):
    container("max", used=6 * MIB, cached=0)
    assert free_memory_bytes() > 10 * MIB


def test_memory_that_a_container_lacks_is_refused_with_both_figures(container):
    container(2 * GIB, used=1 * GIB, cached=0)
    require_memory(0.5 * GIB, "nothing is built")
    with pytest.raises(
        ResourceShort,
        match=r"memory: 1\.00 GiB free, about 1\.10 GiB needed; nothing is built; free",
    ):
        require_memory(0.6 * GIB, "nothing is built")


def test_a_disk_that_is_too_small_is_refused_and_more_buckets_take_more(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    require_disk(tmp_path, 0, 1, "nothing is built")
    with pytest.raises(ResourceShort, match=r"disk of .* about .* GiB needed; nothing is built"):
        require_disk(tmp_path, free, 1, "nothing is built")
    with pytest.raises(ResourceShort):
        require_disk(tmp_path, 0, free // MIB, "nothing is built")
