"""What plans take and need: sums and comparisons, without a device."""

import pytest
import torch

from export.graph.parts import denoiser_parts
from export.runtime.bindings import (
    ALIGNMENT,
    ROWS,
    Binding,
    Profile,
    memory_needed,
    misfit,
    profile_for,
)
from export.runtime.fitness import unfit_architecture, unfit_library

X = Binding(torch.float32, (ROWS, 12, 8, 8))
T = Binding(torch.float32, (ROWS,))
Y = Binding(torch.int64, (ROWS,))


def test_inputs_are_those_of_the_denoiser(tiny_bundle):
    (part,) = denoiser_parts(tiny_bundle.network)
    assert {n: Binding.like(v) for n, v in part.inputs.items()} == {"x": X, "t": T, "y": Y}


def test_buffers_are_whole_blocks():
    assert T.bytes_of(1) == T.bytes_of(64) == ALIGNMENT
    assert T.bytes_of(65) == 2 * ALIGNMENT
    assert X.bytes_of(2) == 2 * 12 * 64 * 4
    assert Binding(torch.bool, (ROWS, 300)).bytes_of(1) == 2 * ALIGNMENT
    assert Binding(torch.float16, (ROWS, 128)).bytes_of(3) == 3 * ALIGNMENT


def test_every_bucket_has_buffers_and_all_share_the_largest_working_memory():
    large = 2 * ALIGNMENT  # arguments and results of the caller's own
    needed = memory_needed([T, Y], (1, 2), scratch=(1000, 5000, 300))
    assert needed == 4 * ALIGNMENT + large + 5000
    assert memory_needed([], (1,), scratch=()) == 0


def test_the_same_inputs_in_another_order_fit():
    assert misfit({"y": Y, "x": X, "t": T}, {"x": X, "t": T, "y": Y}, "takes") is None


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ({"x": X, "t": T}, "takes x, t; the network takes x, t, y"),
        (
            {"x": X, "t": T, "y": T},
            r"its y is float32 \(rows\); the network's is int64 \(rows\)",
        ),
        (
            {"x": Binding(torch.float32, (ROWS, 4, 8, 8)), "t": T, "y": Y},
            r"its x is float32 \(rows, 4, 8, 8\); the network's is float32 \(rows, 12, 8, 8\)",
        ),
        (
            {"x": Binding(torch.float32, (2, 12, 8, 8)), "t": T, "y": Y},
            r"its x is float32 \(2, 12, 8, 8\)",
        ),
    ],
)
def test_other_inputs_are_named(found, named):
    with pytest.raises(AssertionError, match=named):
        raise AssertionError(misfit(found, {"x": X, "t": T, "y": Y}, "takes"))


PROFILES = [Profile(1, 1, 1), Profile(1, 8, 64), Profile(1, 4, 16), Profile(16, 16, 16)]


@pytest.mark.parametrize(
    ("rows", "profile"), [(1, 0), (2, 2), (16, 3), (17, 1), (64, 1), (65, None)]
)
def test_the_narrowest_profile_that_takes_the_rows_is_chosen(rows, profile):
    assert profile_for(rows, PROFILES) == profile


def test_of_equally_wide_profiles_the_one_made_for_the_rows_is_chosen():
    assert profile_for(8, [Profile(1, 1, 8), Profile(1, 8, 8), Profile(1, 4, 8)]) == 1


def test_only_the_version_that_built_a_plan_runs_it():
    assert unfit_library("tensorrt_rtx 1.7.1.116", "tensorrt_rtx 1.7.1.116") is None
    assert (
        unfit_library("tensorrt_rtx 1.7.1.116", "tensorrt_rtx 1.8.0.1")
        == "it was built by tensorrt_rtx 1.7.1.116; here is tensorrt_rtx 1.8.0.1"
    )


@pytest.mark.parametrize(
    ("built", "here", "portable", "runs"),
    [
        ("sm90", "sm90", False, True),
        ("sm80", "sm90", False, False),
        ("sm80", "sm90", True, True),
        ("sm120", "sm90", True, False),
        (None, "sm90", False, True),
    ],
)
def test_a_plan_runs_on_its_architecture_and_perhaps_on_later_ones(built, here, portable, runs):
    reason = unfit_architecture(built, here, portable=portable)
    assert reason == (None if runs else f"it was built for {built}; this GPU is {here}")
