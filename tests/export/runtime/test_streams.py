"""Who has the cores during a tick."""

import pytest
import torch

from export.runtime.streams import OneThread


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_pytorch_has_one_thread_within_a_tick_and_its_own_after_it():
    with OneThread().ticking():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_a_tick_that_fails_gives_the_threads_back():
    with pytest.raises(ZeroDivisionError):
        _fail_within_a_tick()
    assert torch.get_num_threads() == 3


def _fail_within_a_tick():
    with OneThread().ticking():
        1 / 0  # noqa: B018 - to fail
