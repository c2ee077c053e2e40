import math
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from model.diffusion.errors import ParameterRejected
from model.diffusion.schedule import CosineSchedule, DiscreteSchedule

OFFICIAL = Path(__file__).parents[2] / "fixtures" / "official" / "dpm_solver.npz"
DISCRETE = DiscreteSchedule.stable_diffusion()
SHIFTS = (0.0, 2 * math.log(64 / 128), 2 * math.log(64 / 512))
SCHEDULES = (DISCRETE, *map(CosineSchedule, SHIFTS))

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=["sd", "cos", "-1.4", "-4.2"])
times = st.floats(0.001, 1.0)


@pytest.mark.parametrize("name", ["log_alpha", "sigma", "lam"])
def test_the_discrete_schedule_is_the_authors(name):
    official = np.load(OFFICIAL)
    t = torch.from_numpy(official["schedule/t"]).double()
    computed = {
        "log_alpha": DISCRETE.alpha(t).log(),
        "sigma": DISCRETE.sigma(t),
        "lam": DISCRETE.half_log_snr(t),
    }[name]
    expected = torch.from_numpy(official[f"schedule/{name}"]).double()
    assert_close(computed, expected, rtol=1e-5, atol=1e-6)  # theirs is float32


def test_the_discrete_schedule_passes_through_every_step_of_the_chain():
    betas = torch.tensor([0.1, 0.4, 0.2, 0.7], dtype=torch.float64)
    alpha = DiscreteSchedule(betas).alpha([0.25, 0.5, 0.75, 1.0])
    assert_close(alpha.square(), (1 - betas).cumprod(0))


def test_log_alpha_is_linear_between_steps_and_beyond_both_ends():
    schedule = DiscreteSchedule(torch.tensor([0.5, 0.5, 0.9], dtype=torch.float64))
    half, tenth = math.log(0.5) / 2, math.log(0.1) / 2
    log_alpha = schedule.alpha([0.5 / 3, 1.5 / 3, 2.5 / 3, 3.5 / 3]).log()
    expected = [0.5 * half, 1.5 * half, 2 * half + tenth / 2, 2 * half + 1.5 * tenth]
    assert_close(log_alpha, torch.tensor(expected, dtype=torch.float64))


def test_the_least_noise_of_the_chain_keeps_all_its_digits():
    sigma = DISCRETE.sigma(0.001)
    assert_close(sigma, torch.tensor(0.00085**0.5, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("t", [0.0, 0.01, 0.3, 0.99, 1.0])
def test_the_cosine_schedule_is_the_shifted_clamped_tangent(shift, t):
    a, b = math.atan(math.exp(-7.5)), math.atan(math.exp(7.5))
    log_snr = -2 * math.log(math.tan(a + t * (b - a))) + shift
    lam = CosineSchedule(shift).half_log_snr(t)
    assert_close(lam, torch.tensor(log_snr / 2, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_the_cosine_schedule_keeps_all_digits_of_what_vanishes_at_its_ends():
    faint = torch.tensor(1 / math.sqrt(1 + math.exp(15)), dtype=torch.float64)
    assert_close(CosineSchedule().alpha(1.0), faint, rtol=1e-11, atol=0)
    assert_close(CosineSchedule().sigma(0.0), faint, rtol=1e-11, atol=0)


@every_schedule
@given(t=times)
def test_the_inverse_undoes_the_half_log_snr(schedule, t):
    lam = schedule.half_log_snr(t)
    back = schedule.inverse_half_log_snr(lam)
    assert_close(back, torch.tensor(t, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@every_schedule
@given(lam=st.floats(-2.5, 3.5))
def test_the_half_log_snr_undoes_the_inverse(schedule, lam):
    back = schedule.half_log_snr(schedule.inverse_half_log_snr(lam))
    assert_close(back, torch.tensor(lam, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@every_schedule
@given(t=times)
def test_signal_and_noise_share_unit_variance_and_give_the_half_log_snr(schedule, t):
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert_close(alpha.square() + sigma.square(), torch.ones((), dtype=torch.float64))
    assert_close((alpha / sigma).log(), schedule.half_log_snr(t), rtol=1e-9, atol=1e-9)


@every_schedule
@given(pair=st.tuples(times, times).filter(lambda pair: abs(pair[0] - pair[1]) > 1e-9))
def test_the_half_log_snr_falls_with_time(schedule, pair):
    earlier, later = schedule.half_log_snr(sorted(pair))
    assert earlier > later


@every_schedule
@pytest.mark.parametrize("name", ["alpha", "sigma", "half_log_snr", "inverse_half_log_snr"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_and_dtype_are_those_of_the_argument(schedule, name, dtype):
    function = getattr(schedule, name)
    values = torch.linspace(0.1, 0.9, 6, dtype=dtype).reshape(3, 2)
    assert_close(function(values), function(values.double()).to(dtype), rtol=0, atol=0)


@every_schedule
@pytest.mark.parametrize(
    "values", [0.5, [0.25, 0.5], np.array([0.25, 0.5]), np.float64(0.5), torch.tensor([0, 1])]
)
def test_plain_numbers_and_integers_give_float64(schedule, values):
    expected = schedule.alpha(torch.as_tensor(values).double())
    assert_close(schedule.alpha(values), expected, rtol=0, atol=0)


def test_an_array_keeps_its_dtype():
    assert DISCRETE.sigma(np.array([0.5], dtype=np.float32)).dtype == torch.float32


@every_schedule
def test_the_default_range_is_inside_the_unit_interval_and_keeps_signal_and_noise(schedule):
    assert 0 < schedule.t_end < schedule.t_start <= 1
    assert schedule.alpha(schedule.t_start) > 1e-3
    assert schedule.sigma(schedule.t_end) > 1e-3


def test_a_schedule_does_not_change_with_the_betas_it_was_made_from():
    betas = torch.full((10,), 0.1, dtype=torch.float64)
    schedule = DiscreteSchedule(betas)
    before = schedule.alpha(1.0)
    betas.fill_(0.5)
    assert_close(schedule.alpha(1.0), before, rtol=0, atol=0)


def test_schedules_are_immutable():
    with pytest.raises(FrozenInstanceError):
        DISCRETE.betas = torch.ones(2)  # type: ignore[misc]  # the point of the test
    with pytest.raises(FrozenInstanceError):
        CosineSchedule().shift = 1.0  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize("betas", [[0.1], [[0.1, 0.2]], [0.0, 0.1], [0.1, 1.0], [0.1, math.nan]])
def test_betas_that_are_no_chain_are_rejected(betas):
    with pytest.raises(ParameterRejected, match="betas: got"):
        DiscreteSchedule(torch.tensor(betas))


@pytest.mark.parametrize("shift", [math.inf, math.nan])
def test_a_shift_that_is_not_finite_is_rejected(shift):
    with pytest.raises(ParameterRejected, match="shift: got"):
        CosineSchedule(shift)


class Moves(TorchDispatchMode):
    """Counts copies from one device to another."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            self.count += out.device != args[0].device
        return out


def test_a_chain_is_copied_to_a_device_once():
    """Such a copy waits for the device, and a tick evaluates the schedule."""
    schedule = DiscreteSchedule.stable_diffusion()
    t = torch.empty(3, device="meta")
    with Moves() as first:
        assert schedule.alpha(t).device == t.device
    with Moves() as later:
        for function in (schedule.alpha, schedule.sigma, schedule.half_log_snr):
            function(t)
        schedule.inverse_half_log_snr(t)
    assert (first.count, later.count) == (2, 0)


def test_a_chain_that_was_first_used_in_inference_can_be_trained_with():
    schedule = DiscreteSchedule.stable_diffusion()
    with torch.inference_mode():
        before = schedule.alpha(torch.full((1,), 0.3))
    t = torch.full((1,), 0.3, requires_grad=True)
    alpha = schedule.alpha(t)
    alpha.backward()
    assert torch.equal(alpha.detach(), before)
    assert t.grad is not None
    assert t.grad < 0
