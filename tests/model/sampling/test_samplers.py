"""Samplers by name, for one scale and for several."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from model.diffusion.build import build_schedules
from model.diffusion.guidance import ConstantGuidance
from model.sampling.samplers import SAMPLERS, SamplerUnknown, tables_for
from model.sampling.tables import solver_table
from model.specs.process import (
    CosineScheduleSpec,
    DiscreteScheduleSpec,
    Prediction,
    ProcessSpec,
    SamplingDefaults,
    ScalesSpec,
)

SIDES = (128, 256, 512)
ENDS = [
    SamplingDefaults(grid=grid, final=final)
    for grid in ("time", "logsnr")
    for final in ("t_end", "clean")
]


def process(scales=None, schedule=None):
    return ProcessSpec(
        schedule=schedule or CosineScheduleSpec(),
        scales=scales,
        prediction=Prediction.VELOCITY,
        t_min=0.005,
        t_max=0.99,
    )


def tables(defaults=ENDS[0], *, scales=None, sides=SIDES, sampler="dpmpp_2m", guidance=1.5):
    return tables_for(
        process(scales or ScalesSpec()),
        sides,
        defaults,
        sampler=sampler,
        steps=17,
        guidance=guidance,
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("defaults", ENDS, ids=str)
def test_scales_share_times_guidance_and_anchors(defaults, sampler):
    first, *others = tables(defaults, sampler=sampler)
    for table in others:
        for name in ("t", "guidance", "rows_per_call", "update_anchor"):
            assert_close(getattr(table, name), getattr(first, name), rtol=0, atol=0)


@pytest.mark.parametrize("scales", [ScalesSpec(), ScalesSpec(shared=0.3, delays=(1.0, 0.0, -0.5))])
@pytest.mark.parametrize("defaults", ENDS, ids=str)
def test_steps_have_the_same_lengths_and_ratios_at_every_scale(defaults, scales):
    lengths = []
    found = tables(defaults, scales=scales)
    for table, schedule in zip(found, build_schedules(process(scales), SIDES), strict=True):
        lam = schedule.half_log_snr(table.t)
        assert_close(lam, (table.alpha / table.sigma).log(), rtol=0, atol=1e-9)
        lengths.append(lam.diff())
    for h in lengths[1:]:
        assert_close(h, lengths[0], rtol=1e-9, atol=1e-9)
        assert_close(h[:-1] / h[1:], lengths[0][:-1] / lengths[0][1:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("defaults", ENDS, ids=str)
def test_a_uniform_grid_in_log_snr_is_uniform_at_every_scale(defaults):
    if defaults.grid == "logsnr":
        for table in tables(defaults):
            h = (table.alpha / table.sigma).log().diff()
            assert_close(h, h[:1].expand_as(h), rtol=1e-9, atol=1e-9)
    else:
        t = tables(defaults)[0].t
        assert_close(t.diff(), t.diff()[:1].expand(16), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("schedule", [CosineScheduleSpec(shift=-0.5), DiscreteScheduleSpec()])
@pytest.mark.parametrize("defaults", ENDS, ids=str)
def test_a_process_without_scales_has_the_plain_table(defaults, schedule, sampler):
    spec = process(schedule=schedule)
    (table,) = tables_for(spec, (32,), defaults, sampler=sampler, steps=17, guidance=1.5)
    method, order = SAMPLERS[sampler]
    plain = solver_table(
        build_schedules(spec, (32,))[0],
        17,
        order=order,
        method=method,
        grid=defaults.grid,
        guidance=ConstantGuidance(1.5),
        t_start=0.99,
        t_end=0.005,
        final=defaults.final,
    )
    for field in dataclasses.fields(plain):
        assert torch.equal(getattr(table, field.name), getattr(plain, field.name)), field.name


@pytest.mark.parametrize("defaults", ENDS, ids=str)
def test_fewer_scales_have_the_tables_they_have_among_more(defaults):
    for alone, among in zip(tables(defaults, sides=SIDES[:2]), tables(defaults), strict=False):
        for field in dataclasses.fields(alone):
            assert torch.equal(getattr(alone, field.name), getattr(among, field.name)), field.name


def test_an_unknown_sampler_is_named():
    with pytest.raises(SamplerUnknown, match="'euler'; allowed: dpmpp_2m"):
        tables(sampler="euler")
