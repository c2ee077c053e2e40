import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from model.diffusion.errors import ParameterRejected
from model.diffusion.guidance import ConstantGuidance, PowerCosineGuidance
from model.diffusion.schedule import CosineSchedule, DiscreteSchedule
from model.sampling.solvers import singlestep_orders
from model.sampling.tables import solver_table

DISCRETE = DiscreteSchedule.stable_diffusion()
COSINE = CosineSchedule()

SOLVERS = [
    ("multistep", 1),
    ("multistep", 2),
    ("multistep", 3),
    ("singlestep", 1),
    ("singlestep", 2),
    ("singlestep", 3),
]
every_solver = pytest.mark.parametrize(("method", "order"), SOLVERS)
every_grid = pytest.mark.parametrize("grid", ["time", "logsnr"])
quick = settings(max_examples=20)  # each example compiles a table
schedules = st.sampled_from([DISCRETE, COSINE, CosineSchedule(-4.16)])


def columns(table):
    return {name: getattr(table, name) for name in table.__slots__}


@every_solver
@every_grid
@pytest.mark.parametrize("final", ["t_end", "clean"])
@quick
@given(schedule=schedules, steps=st.integers(4, 60))
def test_a_table_makes_exactly_the_calls_asked_for(schedule, steps, method, order, grid, final):
    table = solver_table(schedule, steps, order=order, method=method, grid=grid, final=final)
    assert len(table) == steps
    for name, column in columns(table).items():
        assert column.shape == (steps,), name
        assert column.dtype == (torch.bool if name == "update_anchor" else torch.float64), name
        assert column.isfinite().all(), name
    assert schedule.t_start >= table.t[0] > table.t[-1] >= schedule.t_end
    assert (table.t.diff() < 0).all()
    assert table.update_anchor[-1]


@pytest.mark.parametrize("order", [1, 2, 3])
@quick
@given(steps=st.integers(1, 60))
def test_multistep_rows_always_move_the_anchor_and_use_no_history_there_is_not(steps, order):
    table = solver_table(COSINE, steps, order=order, method="multistep", grid="logsnr")
    assert len(table) == steps
    assert table.update_anchor.all()
    unused_1, unused_2 = (1, 2) if order == 3 else (1, steps) if order == 2 else (steps, steps)
    assert (table.c_1[:unused_1] == 0).all()
    assert (table.c_2[:unused_2] == 0).all()
    if steps >= 15:
        assert (table.c_1[unused_1:] != 0).all()
        assert (table.c_2[unused_2:] != 0).all()


@pytest.mark.parametrize("order", [1, 2, 3])
@quick
@given(data=st.data())
def test_single_step_rows_use_the_predictions_of_their_own_step_only(data, order):
    steps = data.draw(st.integers(order, 60))
    table = solver_table(COSINE, steps, order=order, method="singlestep", grid="time")
    row = 0
    for length in singlestep_orders(steps, order):
        step = slice(row, row + length)
        assert table.update_anchor[step].tolist() == [False] * (length - 1) + [True]
        assert (table.c_1[step] != 0).tolist() == [False, True, False][:length]
        assert (table.c_2[step] != 0).tolist() == [False, False, True][:length]
        row += length
    assert row == steps


@every_solver
@every_grid
@quick
@given(schedule=schedules, steps=st.integers(3, 60))
def test_data_that_is_predicted_the_same_throughout_is_followed_exactly(
    schedule, steps, method, order, grid
):
    table = solver_table(schedule, steps, order=order, method=method, grid=grid)
    ends = torch.cat([table.t[1:], torch.tensor([schedule.t_end], dtype=torch.float64)])
    signal = schedule.alpha([schedule.t_start, *ends.tolist()])
    shrinkage = schedule.sigma(ends) / schedule.sigma(schedule.t_start)
    exact = signal[1:] - shrinkage * signal[0]

    weights = (table.c_0 + table.c_1 + table.c_2).tolist()
    rows = zip(table.c_x.tolist(), weights, table.update_anchor.tolist(), strict=True)
    anchor, states = 0.0, []  # of the state only the part that is data
    for c_x, weight, moves in rows:
        states.append(c_x * anchor + weight)
        anchor = states[-1] if moves else anchor
    assert_close(torch.tensor(states, dtype=torch.float64), exact, rtol=1e-9, atol=1e-9)


def test_the_time_grid_is_uniform_in_time():
    table = solver_table(DISCRETE, 9, order=1, method="multistep", grid="time", t_end=0.1)
    expected = torch.linspace(1.0, 0.2, 9, dtype=torch.float64)
    assert_close(table.t, expected)
    assert_close(table.alpha, DISCRETE.alpha(expected))
    assert_close(table.sigma, DISCRETE.sigma(expected))


@pytest.mark.parametrize("schedule", [DISCRETE, COSINE])
def test_the_logsnr_grid_is_uniform_in_half_log_snr(schedule):
    table = solver_table(schedule, 30, order=1, method="multistep", grid="logsnr")
    lam = schedule.half_log_snr([*table.t.tolist(), schedule.t_end])
    assert lam[0] == schedule.half_log_snr(schedule.t_start)
    assert_close(lam.diff(), ((lam[-1] - lam[0]) / 30).expand(30))


@every_solver
@every_grid
def test_a_clean_ending_calls_at_t_end_and_returns_the_data_prediction(method, order, grid):
    table = solver_table(COSINE, 12, order=order, method=method, grid=grid, final="clean")
    assert_close(table.t[-1].item(), COSINE.t_end)
    last = [column[-1].item() for column in (table.c_x, table.c_0, table.c_1, table.c_2)]
    assert last == [0, 1, 0, 0]


def test_a_single_clean_call_predicts_the_data_from_the_start():
    table = solver_table(COSINE, 1, order=2, method="multistep", grid="time", final="clean")
    assert (table.t.tolist(), table.c_x.tolist(), table.c_0.tolist()) == ([0.99], [0.0], [1.0])


@pytest.mark.parametrize(
    ("steps", "orders"),
    [
        (10, [3, 3, 3, 1]),
        (20, [3] * 6 + [2]),
        (21, [3] * 6 + [2, 1]),
        (50, [3] * 16 + [2]),
        (250, [3] * 83 + [1]),
    ],
)
def test_third_order_single_steps_are_listed_as_the_authors_do(steps, orders):
    assert singlestep_orders(steps, 3) == orders


@pytest.mark.parametrize(
    ("steps", "orders"), [(2, [2]), (3, [2, 1]), (8, [2] * 4), (9, [2] * 4 + [1])]
)
def test_second_order_single_steps_end_low_only_when_one_call_is_left(steps, orders):
    assert singlestep_orders(steps, 2) == orders


def test_the_last_two_updates_of_few_multistep_steps_fall_to_lower_order():
    def orders(steps, *, lower_order_final=True):
        table = solver_table(
            COSINE,
            steps,
            order=3,
            method="multistep",
            grid="logsnr",
            lower_order_final=lower_order_final,
        )
        return (1 + (table.c_1 != 0).int() + (table.c_2 != 0).int()).tolist()

    assert orders(6) == [1, 2, 3, 3, 2, 1]
    assert orders(14) == [1, 2, *[3] * 10, 2, 1]
    assert orders(15) == [1, 2, *[3] * 13]
    assert orders(6, lower_order_final=False) == [1, 2, 3, 3, 3, 3]


def test_first_order_is_the_same_by_either_method():
    multi, single = (
        solver_table(DISCRETE, 7, order=1, method=method, grid="logsnr")
        for method in ("multistep", "singlestep")
    )
    for name, column in columns(multi).items():
        assert_close(getattr(single, name), column, rtol=0, atol=0)


def test_guidance_is_evaluated_at_the_time_of_each_call():
    guidance = PowerCosineGuidance(4.0, 2.0)
    table = solver_table(COSINE, 20, order=2, method="multistep", grid="logsnr", guidance=guidance)
    assert_close(table.guidance, guidance(table.t))


@pytest.mark.parametrize(("scale", "rows"), [(1.0, 1), (1.4, 2), (0.0, 2)])
def test_a_call_costs_a_second_row_only_where_it_is_guided(scale, rows):
    table = solver_table(
        COSINE, 3, order=1, method="multistep", grid="time", guidance=ConstantGuidance(scale)
    )
    assert table.rows_per_call.tolist() == [rows] * 3
    assert table.rows_per_call.dtype == torch.int64


def test_tables_are_unguided_by_default():
    table = solver_table(COSINE, 5, order=2, method="multistep", grid="time")
    assert table.rows_per_call.tolist() == [1] * 5


def test_snapping_frees_the_noisy_calls_of_their_second_row():
    guidance = PowerCosineGuidance(3.0, 2.0)

    def table(snap):
        return solver_table(
            DISCRETE, 50, order=1, method="multistep", grid="time", guidance=guidance, snap=snap
        )

    full, lean = table(0.0), table(0.01)
    weak = full.guidance < 1.02
    assert (lean.rows_per_call == 1).equal(weak)
    assert_close(lean.guidance[~weak], full.guidance[~weak], rtol=0, atol=0)
    assert full.rows_per_call.sum() - lean.rows_per_call.sum() >= 10


def rejection(steps=10, **changes):
    arguments = {"order": 2, "method": "multistep", "grid": "time", **changes}
    with pytest.raises(ParameterRejected) as caught:
        solver_table(COSINE, steps, **arguments)
    return caught.value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", -3),
        ("steps", 1001),
        ("order", 0),
        ("order", 4),
        ("method", "heun"),
        ("grid", "karras"),
        ("final", "euler"),
        ("t_start", 0.0),
        ("t_start", 1.5),
        ("t_start", math.nan),
        ("t_end", -0.1),
        ("t_end", 0.99),
        ("t_end", math.nan),
        ("snap", 1.0),
    ],
)
def test_a_bad_argument_is_rejected_by_name_and_value(field, value):
    error = rejection(**{field: value})
    assert error.name == field
    assert error.value is value
    assert str(error) == f"{field}: got {value!r}; allowed: {error.allowed}"


@pytest.mark.parametrize("final", ["t_end", "clean"])
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_few_single_steps_are_of_the_order_that_fits(steps, order, final):
    options = {"grid": "time", "final": final}
    table = solver_table(COSINE, steps, order=order, method="singlestep", **options)
    assert len(table) == steps
    assert table.update_anchor[-1]
    if steps == 1:
        ddim = solver_table(COSINE, steps, order=1, method="singlestep", **options)
        assert (table.c_x, table.c_0) == (ddim.c_x, ddim.c_0)


@every_grid
@pytest.mark.parametrize(("t_start", "t_end"), [(1.0, 0.0), (0.5 + 1e-16, 0.5 - 1e-16)])
def test_a_path_without_room_for_its_steps_is_rejected(grid, t_start, t_end):
    with pytest.raises(ParameterRejected, match="t_end: got"):
        solver_table(
            DISCRETE, 10, order=1, method="multistep", grid=grid, t_start=t_start, t_end=t_end
        )
