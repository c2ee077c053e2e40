"""Plans without a GPU: how calls are bound to their memory."""

import gc

import pytest
import torch

from export.graph.parts import denoiser_parts
from export.runtime.graphs import GraphedNetwork, Repeated
from export.runtime.plan import PlanFault, bind_of


@pytest.fixture(scope="module")
def part(tiny_bundle):
    (part,) = denoiser_parts(tiny_bundle.network)
    return part


def call(part, rows):
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, *part.inputs["x"].shape[1:], generator=generator)
    return x, torch.linspace(0.1, 0.9, rows), torch.arange(rows) % 3


@pytest.mark.parametrize("capturable", [True, False])
def test_a_plan_answers_like_its_part(part, cpu_plan, recorder, capturable):
    plan, scratch = cpu_plan(part, capturable=capturable), torch.empty(1000)
    network = GraphedNetwork([bind_of(plan, part.inputs, part.outputs, scratch, recorder.capture)])
    with torch.inference_mode():
        for rows in (1, 4, 2, 4):
            arguments = call(part, rows)
            (found,) = network(*arguments)
            assert torch.equal(found, part.module(*arguments)[0])
    assert recorder.captured == (3 if capturable else 0)


def test_every_bucket_has_a_context_by_its_own_profile_and_all_share_working_memory(
    part, cpu_plan, recorder
):
    plan, scratch = cpu_plan(part), torch.empty(1000)
    network = GraphedNetwork([bind_of(plan, part.inputs, part.outputs, scratch, recorder.capture)])
    with torch.inference_mode():
        for rows in (4, 1, 2, 1):
            network(*call(part, rows))
    assert [profile for profile, _ in plan.contexts] == [2, 0, 1]
    assert all(given is scratch for _, given in plan.contexts)


def test_a_captured_call_keeps_its_context(part, cpu_plan):
    """A graph keeps nothing alive of what was captured."""

    def capture(run):
        return run(), lambda: None

    plan = cpu_plan(part)
    network = GraphedNetwork([bind_of(plan, part.inputs, part.outputs, torch.empty(0), capture)])
    with torch.inference_mode():
        for rows in (1, 4):
            network(*call(part, rows))
    gc.collect()
    assert len(plan.alive) == 2
    del network
    gc.collect()
    assert not plan.alive


def test_rows_that_no_profile_takes_are_a_fault(part, cpu_plan, recorder):
    bind = bind_of(cpu_plan(part), part.inputs, part.outputs, torch.empty(0), recorder.capture)
    with pytest.raises(PlanFault, match="none of the plan's profiles takes 5 rows"):
        Repeated(bind)(*call(part, 5))


def test_results_come_in_the_order_of_the_part_whatever_that_of_the_plan(
    layered_bundle, cpu_plan, recorder
):
    *_, part = denoiser_parts(layered_bundle.network)
    plan = cpu_plan(part)
    plan.outputs = dict(reversed(plan.outputs.items()))
    bind = bind_of(plan, part.inputs, part.outputs, torch.empty(0), recorder.capture)
    given = tuple(part.inputs.values())
    with torch.inference_mode():
        pairs = zip(Repeated(bind)(*given), part.module(*given), strict=True)
        for found, exact in pairs:
            torch.testing.assert_close(found, exact)
