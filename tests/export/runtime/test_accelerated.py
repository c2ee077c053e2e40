"""PyTorch made fast: what a CUDA device would run, rehearsed on a CPU."""

import os
import subprocess
import sys
import textwrap
from functools import partial

import pytest
import torch
from triton.compiler.errors import CompilationError

from export.graph.parts import denoiser_parts
from export.runtime.accelerated import compiled, in_half, triton_at_work
from export.runtime.graphs import GraphedNetwork, binds_of
from export.runtime.refusal import EngineRefused
from export.runtime.rows import bucket_groups, buckets_up_to
from model.diffusion.predictor import NoisePredictor

CPU = torch.device("cpu")
PYTORCHS_LIMIT = 8  # shapes of one code


def as_it_is(network):
    return network


def run_at_once(run):
    """A recorder for devices without graphs."""
    results = run()
    return results, lambda: [r.copy_(again) for r, again in zip(results, run(), strict=True)]


def call(bundle, rows):
    """Arguments of a network for so many rows."""
    generator = torch.Generator().manual_seed(1)
    network = bundle.manifest.network
    xs = tuple(
        torch.randn(rows, network.channels, side, side, generator=generator)
        for side in network.sides
    )
    t = torch.linspace(0.1, 0.9, rows)
    if bundle.prompts is None:
        return xs[0], t, torch.arange(rows) % 3
    return xs, t, *bundle.prompts.states(["red apple"] * rows)


@pytest.fixture(params=["tiny_bundle", "layered_bundle"])
def bundle(request):
    return request.getfixturevalue(request.param)


def test_half_precision_is_close_and_answers_in_float32(bundle):
    before = {name: value.clone() for name, value in bundle.network.state_dict().items()}
    network, precision = in_half(bundle.network, CPU, as_it_is)
    assert precision == "float16"
    assert {p.dtype for p in network.parameters()} == {torch.float16, torch.float32}
    arguments = call(bundle, 3)
    with torch.inference_mode():
        pairs = zip(network(*arguments), bundle.network(*arguments), strict=True)
        for found, exact in pairs:
            assert found.dtype == torch.float32
            assert (found - exact).norm() < 0.02 * exact.norm()
    for name, value in bundle.network.state_dict().items():
        assert torch.equal(value, before[name])


def test_compiled_blocks_predict_the_same_for_more_row_counts_than_pytorch_would_compile(
    tiny_bundle,
):
    network, precision = in_half(tiny_bundle.network, CPU, partial(compiled, backend="eager"))
    assert precision == "float16"
    for rows in range(1, PYTORCHS_LIMIT + 2):  # beyond a limit it is an error
        arguments = call(tiny_bundle, rows)
        with torch.inference_mode():
            (*_, found), (*_, exact) = network(*arguments), tiny_bundle.network(*arguments)
        assert (found - exact).norm() < 0.02 * exact.norm()
    torch._dynamo.reset()


def test_a_network_that_float16_cannot_hold_stays_as_it_is(tiny_bundle):
    def overflowing(network):
        for parameter in network.parameters():
            if parameter.dtype == torch.float16:
                parameter.data = parameter.data * 1e4
        return network

    network, precision = in_half(tiny_bundle.network, CPU, overflowing)
    assert precision == "float32"
    arguments = call(tiny_bundle, 2)
    with torch.inference_mode():
        torch.testing.assert_close(
            network(*arguments)[-1], tiny_bundle.network(*arguments)[-1], rtol=1e-4, atol=1e-4
        )


def test_buckets_of_bound_calls_answer_like_the_network(bundle):
    """All that happens between a tick and the kernels, with the recorder of a device aside."""
    manifest = bundle.manifest
    sides, channels = manifest.network.sides, manifest.network.channels
    parts = [part.module for part in denoiser_parts(bundle.network)]
    graphed = GraphedNetwork(binds_of(parts, run_at_once))
    _, _, *condition = call(bundle, 2)
    shapes = [(channels, side, side) for side in sides]
    groups = bucket_groups(
        NoisePredictor(graphed, manifest.process, sides),
        shapes,
        tuple(condition),
        buckets=(1, 2, 4),
    )
    assert [pace.row_counts for pace in groups.paces] == [(1, 2, 4)] * len(sides)
    plain = NoisePredictor(bundle.network, manifest.process, sides)
    with torch.inference_mode():
        for rows in (1, 3, 4, 9):
            x, t, *condition = call(bundle, rows)
            xs = x if isinstance(x, tuple) else (x,)
            found = groups(xs, t, tuple(condition))
            for a, b in zip(found, plain(xs, t, *condition), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("Failed to find C compiler."),
        subprocess.CalledProcessError(1, ["gcc", "driver.c"]),
        CompilationError("source", None),
        PermissionError("~/.triton"),
    ],
)
def test_a_machine_on_which_triton_cannot_compile_is_told_what_to_install(fault):
    with (
        pytest.raises(EngineRefused, match=r"'pytorch-cuda': .*apt install gcc python3-dev\), or "),
        triton_at_work(),
    ):
        raise fault


def test_a_lack_of_memory_is_not_taken_for_a_lack_of_a_compiler():
    with pytest.raises(torch.OutOfMemoryError), triton_at_work():
        raise torch.OutOfMemoryError


@pytest.mark.parametrize(
    ("rows", "buckets"),
    [(1, (1,)), (2, (1, 2)), (9, (1, 2, 4, 6, 8, 12)), (500, (1, 2, 4, 6, 8, 12, 16, 24, 32))],
)
def test_buckets_reach_as_far_as_ticks_do(rows, buckets):
    assert buckets_up_to(rows) == buckets


def test_of_buckets_that_were_built_those_are_used_that_ticks_need():
    assert buckets_up_to(6, (16, 4, 8, 1)) == (1, 4, 8)
    assert buckets_up_to(64, (16, 4)) == (4, 16)


def test_the_fused_update_moves_slots_as_the_plain_one_does():
    """In Triton's interpreter, which needs a process of its own."""
    script = """
        import torch
        from export.runtime.accelerated import fused_update, update_once
        from export.runtime.trajectory import Scale, Ticked, update_scale
        from model.specs.process import LatentsSpec, PixelsSpec

        codecs = {PixelsSpec(): lambda m: m.clamp(-1, 1), LatentsSpec(): lambda m: m}
        for codec, threshold in codecs.items():
            update_once(fused_update(codec), torch.device("cpu"))
            torch.manual_seed(0)
            plain = Scale(*(torch.randn(*n, 5, 3, 4, 4) for n in ((), (), (2,))))
            fused = Scale(*(v.clone() for v in (plain.x, plain.anchor, plain.history)))
            rows = torch.rand(3, 9) + 0.5
            rows[:, 8] = torch.tensor([1.0, 0.0, 1.0])
            rows[1, 3] = 1.0
            noise = torch.randn(5, 3, 4, 4)
            ticked = Ticked(torch.tensor([4, 0, 2]), torch.tensor([0, 2]), rows, noise)
            update_scale(plain, ticked, threshold)
            fused_update(codec)(fused, ticked, threshold)
            for name in ("x", "anchor", "history"):
                assert torch.equal(getattr(plain, name), getattr(fused, name)), name
        print("equal")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "equal\n", done.stderr
