"""Finished images that wait for the others."""

import threading

import numpy as np
import pytest

from model.bundle import read_manifest
from model.evaluation.errors import PlanRefused
from model.evaluation.parts import Parts, Shard
from model.evaluation.plan import SamplePlan
from model.specs.process import SamplingDefaults


@pytest.fixture
def plan(bundle_folder):
    manifest = read_manifest(bundle_folder)
    return SamplePlan.of(manifest, images=10, seed=0, sampling=SamplingDefaults())


@pytest.fixture
def parts(tmp_path, plan):
    return Parts.open(tmp_path / "parts", plan)


def numbered(run):
    """Images whose every pixel is their number."""
    return [np.full((2, 2, 3), index, np.uint8) for index in run]


def add(parts, *runs):
    for run in runs:
        parts.add(run.start, numbered(run))


@pytest.mark.parametrize(("total", "count"), [(10, 3), (7, 7), (3, 5), (50_000, 8)])
def test_shards_are_disjoint_and_make_up_the_whole(total, count):
    shares = [Shard(index, count).of(total) for index in range(count)]
    assert [image for share in shares for image in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_what_is_missing_is_what_nobody_added(parts):
    assert parts.missing(range(10)) == [range(10)]
    add(parts, range(2, 4), range(7, 9))
    assert parts.missing(range(10)) == [range(2), range(4, 7), range(9, 10)]
    assert parts.missing(range(3, 8)) == [range(4, 7)]
    assert parts.missing(range(2, 4)) == []
    assert parts.missing(range(5, 5)) == []


def test_images_come_back_once_and_in_order_whoever_added_them(parts):
    add(parts, range(6, 10), range(3), range(2, 7), range(4, 5))
    assert parts.missing(range(10)) == []
    whole = np.concatenate(list(parts.batches()))
    np.testing.assert_array_equal(whole[:, 0, 0, 0], np.arange(10))


def test_half_written_files_do_not_count(parts):
    (parts.folder / ".000000000-000000010.npy.4711").write_bytes(b"half")
    assert parts.missing(range(10)) == [range(10)]


def test_a_folder_of_another_plan_is_refused(parts, plan):
    add(parts, range(10))
    assert Parts.open(parts.folder, plan).missing(range(10)) == []
    other = plan.model_copy(update={"seed": 1})
    with pytest.raises(PlanRefused, match="seed: got 1"):
        Parts.open(parts.folder, other)


def test_one_at_a_time_is_alone_and_the_next_one_waits(parts):
    order = []

    def enter():
        with parts.alone():
            order.append("second")

    second = threading.Thread(target=enter)
    with parts.alone():
        second.start()
        order.append("first")
    second.join()
    assert order == ["first", "second"]


def test_who_waited_while_another_finished_finds_nothing_to_do(parts):
    ends = []

    def enter():
        with pytest.raises(FileNotFoundError), parts.alone():
            ends.append("entered")
        ends.append("refused")

    second = threading.Thread(target=enter)
    with parts.alone():
        second.start()
        parts.remove()
    second.join()
    assert ends == ["refused"]


def test_nobody_is_alone_in_a_folder_that_is_gone(parts):
    parts.remove()
    with pytest.raises(FileNotFoundError), parts.alone():
        pass
