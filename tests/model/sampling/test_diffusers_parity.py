"""Our tables against the schedulers of diffusers, step by step on Gaussian data.

diffusers numbers the steps of the chain from 0, so its step i is our time (i + 1) / 1000, and it
computes in float32.
"""

from dataclasses import replace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
)
from torch.testing import assert_close

from model.diffusion.schedule import DiscreteSchedule
from model.sampling.loop import sample
from model.sampling.tables import solver_table

# diffusers hands tensors to numpy in a way that numpy 2 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SCHEDULE = DiscreteSchedule.stable_diffusion()
CHAIN = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
ATOL = 5e-5  # both are float32, and the start divides by alpha = 0.07


@pytest.fixture
def predict(gaussian):
    single = replace(gaussian, mu=gaussian.mu.float(), sd=gaussian.sd.float())
    return single.noise_predictor(SCHEDULE)


@pytest.fixture
def start(noise):
    return noise.float()


def run_scheduler(scheduler, predict, x):
    """Take x through a scheduler on its own grid of integer timesteps."""
    for step in scheduler.timesteps:
        t = ((step + 1) / 1000).expand(len(x))
        x = scheduler.step(predict(x, t), step, x).prev_sample
    return x


def run_on_grid_of(table, t_end, scheduler, predict, x, solver_types=None):
    """Take x through a scheduler on a table's grid, which has no integer timesteps."""
    scheduler.set_timesteps(len(table))
    ends = torch.cat([table.t, torch.tensor([t_end], dtype=torch.float64)])
    scheduler.sigmas = (-SCHEDULE.half_log_snr(ends)).exp().float()
    scheduler.timesteps = torch.arange(len(table))
    for k, t in enumerate(table.t.float()):
        if solver_types is not None:
            scheduler.register_to_config(solver_type=solver_types[k])
        x = scheduler.step(predict(x, t.expand(len(x))), k, x).prev_sample
    return x


@pytest.mark.parametrize("steps", [4, 10, 20, 50])
def test_first_order_is_ddim_with_its_last_step_to_clean_data(predict, start, steps):
    scheduler = DDIMScheduler(
        **CHAIN, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True
    )
    scheduler.set_timesteps(steps)
    table = solver_table(
        SCHEDULE,
        steps,
        order=1,
        method="multistep",
        grid="time",
        t_end=1 / steps,
        final="clean",
    )
    expected = run_scheduler(scheduler, predict, start)
    assert_close(sample(predict, table, start), expected, rtol=0, atol=ATOL)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("steps", [5, 10, 20])
@pytest.mark.parametrize("lower_order_final", [True, False])
def test_multistep_is_diffusers_multistep_on_its_own_grid(
    predict, start, order, steps, lower_order_final
):
    scheduler = DPMSolverMultistepScheduler(
        **CHAIN,
        solver_order=order,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        lower_order_final=lower_order_final,
    )
    scheduler.set_timesteps(steps)
    table = solver_table(
        SCHEDULE,
        steps,
        order=order,
        method="multistep",
        grid="time",
        t_end=1 / steps,
        final="clean",
        lower_order_final=lower_order_final,
    )
    expected = run_scheduler(scheduler, predict, start)
    assert_close(sample(predict, table, start), expected, rtol=0, atol=ATOL)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("steps", [9, 25])
@pytest.mark.parametrize("grid", ["time", "logsnr"])
@pytest.mark.parametrize("lower_order_final", [True, False])
def test_multistep_is_diffusers_multistep_on_our_grids(
    predict, start, order, steps, grid, lower_order_final
):
    scheduler = DPMSolverMultistepScheduler(
        **CHAIN,
        solver_order=order,
        final_sigmas_type="sigma_min",
        lower_order_final=lower_order_final,
    )
    table = solver_table(
        SCHEDULE,
        steps,
        order=order,
        method="multistep",
        grid=grid,
        lower_order_final=lower_order_final,
    )
    expected = run_on_grid_of(table, SCHEDULE.t_end, scheduler, predict, start)
    assert_close(sample(predict, table, start), expected, rtol=0, atol=ATOL)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("steps", [9, 20])
@pytest.mark.parametrize("grid", ["time", "logsnr"])
def test_singlestep_is_diffusers_singlestep(predict, start, order, steps, grid):
    scheduler = DPMSolverSinglestepScheduler(
        **CHAIN,
        solver_order=order,
        final_sigmas_type="sigma_min",
        lower_order_final=order == 3 or steps % 2 == 1,
    )
    table = solver_table(SCHEDULE, steps, order=order, method="singlestep", grid=grid)
    # Inside a third-order step the authors reach the second inner point by what diffusers calls
    # the heun form of order 2; every other point is reached by the midpoint form.
    second_inner = (table.c_1 != 0) & ~table.update_anchor
    solver_types = ["heun" if inner else "midpoint" for inner in second_inner]
    expected = run_on_grid_of(table, SCHEDULE.t_end, scheduler, predict, start, solver_types)
    assert_close(sample(predict, table, start), expected, rtol=0, atol=ATOL)
