import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from model.autoencoder import PixelCodec
from model.diffusion.errors import ParameterRejected
from model.diffusion.guidance import ConstantGuidance, PowerCosineGuidance
from model.diffusion.schedule import CosineSchedule, DiscreteSchedule
from model.sampling.loop import sample
from model.sampling.tables import solver_table
from model.sampling.update import advance
from model.specs.process import PixelsSpec

OFFICIAL = Path(__file__).parents[2] / "fixtures" / "official" / "dpm_solver.npz"
DISCRETE = DiscreteSchedule.stable_diffusion()
COSINE = CosineSchedule()


def steps_of(update_anchor):
    """Lengths of the solver's steps, read off the rows that complete one."""
    completing = update_anchor.nonzero().flatten()
    return completing.diff(prepend=torch.tensor([-1])).tolist()


@pytest.mark.parametrize("steps", [10, 20])
def test_the_authors_sampler_is_reproduced(gaussian, steps):
    official = {name: torch.from_numpy(array) for name, array in np.load(OFFICIAL).items()}
    gaussian = replace(gaussian, mu=official["mu"], sd=official["sd"])
    table = solver_table(DISCRETE, steps, order=3, method="singlestep", grid="time")
    assert_close(table.t.float(), official[f"gauss_{steps}/times"], rtol=0, atol=1e-6)
    assert steps_of(table.update_anchor) == official[f"gauss_{steps}/orders"].tolist()
    end = sample(gaussian.noise_predictor(DISCRETE), table, official["x_T"])
    assert_close(end, official[f"gauss_{steps}/end"], rtol=0, atol=1e-5)


CONVERGENCE = [
    ("multistep", 1, (64, 128), (0.95, 1.05)),
    ("multistep", 2, (64, 128), (1.9, 2.1)),
    # the published 3M, whose second difference counts half, is of order 2: see the solver
    ("multistep", 3, (64, 128), (1.9, 2.3)),
    ("singlestep", 2, (64, 128), (1.9, 2.1)),
    # 2 modulo 3: the orders then end with 2, whose single local error is of order 3
    ("singlestep", 3, (65, 128), (2.85, 3.3)),
]


@pytest.mark.parametrize("grid", ["time", "logsnr"])
@pytest.mark.parametrize(("method", "order", "steps", "band"), CONVERGENCE)
def test_the_error_falls_with_the_order_of_the_solver(
    gaussian, noise, grid, method, order, steps, band
):
    t_start, t_end = 0.9, 0.1  # outside, steps uniform in time are still too long for theory
    exact = gaussian.flow(COSINE, noise, t_start, t_end)

    def error(count):
        table = solver_table(
            COSINE, count, order=order, method=method, grid=grid, t_start=t_start, t_end=t_end
        )
        end = sample(gaussian.noise_predictor(COSINE), table, noise)
        return (end - exact).square().mean().sqrt().item()

    coarse, fine = map(error, steps)
    slope = math.log(coarse / fine) / math.log(steps[1] / steps[0])
    assert band[0] < slope < band[1]
    assert fine < 0.01


def test_higher_orders_are_nearer_to_the_exact_path(gaussian, noise):
    exact = gaussian.flow(DISCRETE, noise, DISCRETE.t_start, DISCRETE.t_end)

    def error(method, order):
        table = solver_table(DISCRETE, 20, order=order, method=method, grid="logsnr")
        return (sample(gaussian.noise_predictor(DISCRETE), table, noise) - exact).abs().max()

    assert error("multistep", 1) > error("multistep", 2) > error("multistep", 3)
    assert error("multistep", 1) > error("singlestep", 2) > error("singlestep", 3)


def scales(schedule, t):
    return schedule.alpha(t), schedule.sigma(t), schedule.half_log_snr(t)


def test_a_second_order_multistep_table_is_algorithm_2_of_the_paper(gaussian, noise):
    predict = gaussian.noise_predictor(COSINE)
    table = solver_table(
        COSINE, 8, order=2, method="multistep", grid="time", lower_order_final=False
    )
    x, previous, h_before = noise, None, None
    times = [*table.t, torch.tensor(COSINE.t_end, dtype=torch.float64)]
    for s, t in pairwise(times):
        (alpha_s, sigma_s, lam_s), (alpha_t, sigma_t, lam_t) = scales(COSINE, s), scales(COSINE, t)
        h = lam_t - lam_s
        data = (x - sigma_s * predict(x, s.expand(len(x)))) / alpha_s
        direction = data
        if previous is not None:
            r = h_before / h
            direction = (1 + 1 / (2 * r)) * data - 1 / (2 * r) * previous
        x = sigma_t / sigma_s * x - alpha_t * torch.expm1(-h) * direction
        previous, h_before = data, h
    assert_close(sample(predict, table, noise), x)


def test_a_third_order_single_step_table_is_the_step_written_out(gaussian, noise):
    predict = gaussian.noise_predictor(COSINE)
    table = solver_table(COSINE, 5, order=3, method="singlestep", grid="time")

    def data(x, t):
        return (x - COSINE.sigma(t) * predict(x, t.expand(len(x)))) / COSINE.alpha(t)

    s, s1, s2, t, t1, end = [*table.t, torch.tensor(COSINE.t_end, dtype=torch.float64)]
    (_, sig_s, lam_s), (al_s1, sig_s1, lam_s1) = scales(COSINE, s), scales(COSINE, s1)
    (al_s2, sig_s2, lam_s2), (al_t, sig_t, lam_t) = scales(COSINE, s2), scales(COSINE, t)
    h = lam_t - lam_s
    r1, r2 = (lam_s1 - lam_s) / h, (lam_s2 - lam_s) / h
    d0 = data(noise, s)
    x1 = sig_s1 / sig_s * noise - al_s1 * torch.expm1(-r1 * h) * d0
    d1 = data(x1, s1)
    x2 = sig_s2 / sig_s * noise - al_s2 * torch.expm1(-r2 * h) * d0
    x2 = x2 + r2 / r1 * al_s2 * (torch.expm1(-r2 * h) / (r2 * h) + 1) * (d1 - d0)
    d2 = data(x2, s2)
    x = sig_t / sig_s * noise - al_t * torch.expm1(-h) * d0
    x = x + 1 / r2 * al_t * (torch.expm1(-h) / h + 1) * (d2 - d0)

    (al_t1, sig_t1, lam_t1), (al_e, sig_e, lam_e) = scales(COSINE, t1), scales(COSINE, end)
    h = lam_e - lam_t
    r1 = (lam_t1 - lam_t) / h
    d0 = data(x, t)
    d1 = data(sig_t1 / sig_t * x - al_t1 * torch.expm1(-r1 * h) * d0, t1)
    x = sig_e / sig_t * x - al_e * torch.expm1(-h) * (d0 + 0.5 / r1 * (d1 - d0))
    assert_close(sample(predict, table, noise), x)


def test_a_batch_of_mixed_tables_gives_each_sample_what_it_gets_alone():
    def predict(x, t):
        return 0.3 * x + t.reshape(-1, 1) * x.tanh()

    tables = [
        solver_table(COSINE, 5, order=3, method="singlestep", grid="time"),
        solver_table(DISCRETE, 9, order=2, method="multistep", grid="logsnr"),
        solver_table(COSINE, 7, order=3, method="multistep", grid="logsnr", final="clean"),
        solver_table(DISCRETE, 4, order=1, method="multistep", grid="time"),
        solver_table(DISCRETE, 8, order=2, method="singlestep", grid="time"),
    ]
    start = torch.randn(5, 37, generator=torch.Generator().manual_seed(2))

    x, anchor = start.clone(), start.clone()
    m1, m2 = torch.zeros(2, *start.shape)
    for k in range(9):
        running = torch.tensor([i for i, table in enumerate(tables) if k < len(table)])

        def rows(name, k=k, running=running):
            return torch.stack([getattr(tables[i], name)[k] for i in running])

        alpha, sigma = rows("alpha").float()[:, None], rows("sigma").float()[:, None]
        state = x[running]
        m0 = (state - sigma * predict(state, rows("t").float())) / alpha
        x[running], anchor[running] = advance(
            anchor[running],
            m0,
            m1[running],
            m2[running],
            *map(rows, ("c_x", "c_0", "c_1", "c_2", "update_anchor")),
        )
        m1[running], m2[running] = m0, m1[running]

    for i, table in enumerate(tables):
        alone = sample(predict, table, start[i : i + 1])
        assert_close(x[i : i + 1], alone, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("given", "state"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_the_state_is_float32_or_wider_whatever_comes_in(given, state):
    seen: set[torch.dtype] = set()

    def predict(x, t):
        seen.update((x.dtype, t.dtype))
        return x.to(given)

    table = solver_table(COSINE, 3, order=2, method="multistep", grid="time")
    assert sample(predict, table, torch.randn(2, 4).to(given)).dtype == state
    assert seen == {state}


def test_the_predictor_gets_one_time_a_sample():
    seen = []

    def predict(x, t):
        seen.append(t)
        return x

    table = solver_table(COSINE, 4, order=2, method="singlestep", grid="logsnr")
    sample(predict, table, torch.randn(3, 2))
    assert_close(torch.stack(seen), table.t.float()[:, None].expand(4, 3))


def test_the_input_is_left_as_it_is(gaussian, noise):
    before = noise.clone()
    table = solver_table(COSINE, 5, order=2, method="multistep", grid="time")
    sample(gaussian.noise_predictor(COSINE), table, noise)
    assert_close(noise, before, rtol=0, atol=0)


def test_no_graph_is_kept_of_a_trajectory():
    weight = torch.ones((), requires_grad=True)
    table = solver_table(COSINE, 2, order=1, method="multistep", grid="time")
    assert not sample(lambda x, t: weight * x, table, torch.randn(1, 4)).requires_grad


def test_guided_rows_follow_the_combined_prediction(noise):
    table = solver_table(
        COSINE, 6, order=2, method="multistep", grid="time", guidance=ConstantGuidance(1.4)
    )
    plain = solver_table(COSINE, 6, order=2, method="multistep", grid="time")
    combined = sample(lambda x, t: 0.2 * x + 1.4 * (0.5 * x - 0.2 * x), plain, noise)
    end = sample(lambda x, t: 0.5 * x, table, noise, unconditional=lambda x, t: 0.2 * x)
    assert_close(end, combined)


def test_unguided_rows_make_no_unconditional_call(noise):
    table = solver_table(
        COSINE,
        12,
        order=2,
        method="multistep",
        grid="time",
        guidance=PowerCosineGuidance(3.0, 3.0),
        snap=0.01,
    )
    calls = []

    def unconditional(x, t):
        calls.append(t[0])
        return 0.2 * x

    sample(lambda x, t: 0.5 * x, table, noise, unconditional=unconditional)
    assert 0 < len(calls) < len(table)
    assert_close(torch.stack(calls), table.t[table.rows_per_call == 2])


def test_a_guided_table_without_an_unconditional_predictor_is_refused(noise):
    table = solver_table(
        COSINE, 3, order=1, method="multistep", grid="time", guidance=ConstantGuidance(2.0)
    )
    with pytest.raises(ParameterRejected, match="unconditional: got None"):
        sample(lambda x, t: x, table, noise)


def test_the_threshold_is_applied_to_every_data_prediction(noise):
    table = solver_table(COSINE, 5, order=2, method="multistep", grid="time", final="clean")
    seen = []
    end = sample(
        lambda x, t: -x,  # predicts data far outside the range of pixels
        table,
        10 * noise,
        threshold=PixelCodec(PixelsSpec()).threshold,
        on_step=lambda calls, x, data: seen.append((calls, data.abs().max().item())),
    )
    assert seen == [(calls, 1.0) for calls in range(1, 6)]
    assert end.abs().max() == 1


def test_every_step_is_reported_with_its_state(gaussian, noise):
    states = []
    table = solver_table(COSINE, 5, order=3, method="singlestep", grid="time")
    end = sample(
        gaussian.noise_predictor(COSINE),
        table,
        noise,
        on_step=lambda calls, x, data: states.append(x),
    )
    assert len(states) == 5
    assert_close(states[-1], end, rtol=0, atol=0)
