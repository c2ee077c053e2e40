from typing import Any

import pytest
import torch

from export.kernels.errors import DeviceUnfit
from export.kernels.update import UNLIMITED, SlotStates, update
from model.diffusion.guidance import guided
from model.diffusion.prediction import data_from_noise, noise_from_velocity
from model.sampling.update import advance
from model.specs.process import Prediction

pytestmark = pytest.mark.xdist_group("kernels")  # one interpreter for all

CAPACITY, SHAPE = 5, (3, 9, 45)  # more than one block of elements, the last one part full
CASES = [
    (kind, limits, dtype)
    for kind in Prediction
    for limits in (UNLIMITED, (-1.0, 1.0))
    for dtype in (torch.float32, torch.float16, torch.bfloat16)
]


def case_of(kind, limits, dtype):
    """Three slots at different steps, the middle one unguided, and a padding sample."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    columns = draw(4, 9).abs() + 0.1
    columns[:, 3] = torch.tensor([1.4, 1.0, 0.0, 3.0])
    columns[:, 8] = torch.tensor([1.0, 0.0, 0.0, 1.0])
    prediction = draw(8, *SHAPE).to(dtype)
    prediction[7] = torch.nan  # that no sample may read
    return {
        "call": "advance",
        "states": [draw(CAPACITY, *SHAPE), draw(CAPACITY, *SHAPE), draw(2, CAPACITY, *SHAPE)],
        "limits": limits,
        "prediction": prediction,
        "slots": torch.tensor([3, 0, 4, -1]),
        "unconditional": torch.tensor([4, 7, 6, 7]),
        "columns": torch.stack((draw(4, 9), columns), dim=1)[:, 1],  # of the second of two scales
        "kind": kind,
    }


def expected_of(case):
    """The same by the functions of `model`."""
    x, anchor, history = (state.clone() for state in case["states"])
    for sample, slot in enumerate(case["slots"].tolist()):
        if slot < 0:
            continue
        columns: Any = case["columns"][sample, :, None]
        _, alpha, sigma, guidance, c_x, c_0, c_1, c_2, moves = columns
        here = x[slot : slot + 1]
        rows = [sample, case["unconditional"][sample]] if guidance != 1 else [sample]
        noises: Any = [case["prediction"][row][None].float() for row in rows]
        if case["kind"] is Prediction.VELOCITY:
            noises = [noise_from_velocity(here, v, alpha, sigma) for v in noises]
        noise = noises[0] if guidance == 1 else guided(noises[0], noises[1], guidance)
        m = data_from_noise(here, noise, alpha, sigma).clamp(*case["limits"])
        m_1, m_2 = history[:, slot : slot + 1].clone()
        x[slot], anchor[slot] = (
            state[0]
            for state in advance(
                anchor[slot : slot + 1], m, m_1, m_2, c_x, c_0, c_1, c_2, moves.bool()
            )
        )
        history[:, slot] = torch.cat((m, m_1))
    return [x, anchor, history]


def broken():
    """Of cases of which each has one operand that does not fit, by the start of the message."""
    fit = case_of(Prediction.NOISE, UNLIMITED, torch.float32)
    unfit = {
        "prediction: shape": {"prediction": fit["prediction"][:3]},
        "columns": {"columns": fit["columns"].double()},
        "columns: stride": {"columns": fit["columns"].T.contiguous().T},
        "slots": {"slots": fit["slots"].float()},
        "unconditional": {"unconditional": fit["unconditional"][:2]},
        "history": {"states": [*fit["states"][:2], fit["states"][0]]},
    }
    return {name: fit | change for name, change in unfit.items()}


def not_a_number():
    case = case_of(Prediction.NOISE, (-1.0, 1.0), torch.float32)
    case["prediction"][0, 0, 0, 0] = torch.nan
    return case


def empty():
    case = case_of(Prediction.NOISE, UNLIMITED, torch.float32)
    return case | {name: case[name][:0] for name in ("slots", "unconditional", "columns")}


@pytest.fixture(scope="module")
def results(interpret):
    cases: dict[Any, Any] = {case: case_of(*case) for case in CASES}
    cases |= {"not a number": not_a_number(), "empty": empty(), **broken()}
    return dict(zip(cases, interpret(list(cases.values())), strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_tick_is_that_of_the_reference_to_the_bit(results, case):
    for got, expected in zip(results[case], expected_of(case_of(*case)), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_what_is_not_a_number_stays_so_through_the_clamp(results):
    x, _, history = results["not a number"]
    assert history[0, 3, 0, 0, 0].isnan()
    assert x[3].isnan().sum() == 1


def test_a_tick_of_no_sample_changes_nothing(results):
    for got, before in zip(results["empty"], empty()["states"], strict=True):
        torch.testing.assert_close(got, before, rtol=0, atol=0)


@pytest.mark.parametrize("name", broken())
def test_operands_that_do_not_fit_are_refused(results, name):
    assert results[name].startswith(f"OperandsUnfit: {name}")


def test_states_on_the_cpu_are_refused_outside_the_interpreter():
    case = case_of(Prediction.NOISE, UNLIMITED, torch.float32)
    del case["call"]
    with pytest.raises(DeviceUnfit, match="got a tensor on cpu; allowed: cuda"):
        update(SlotStates(*case.pop("states")), **case)
