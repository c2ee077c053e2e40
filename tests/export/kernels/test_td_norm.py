import itertools
import math
from typing import Any

import pytest
import torch

from export.kernels.errors import DeviceUnfit
from export.kernels.swap import with_kernels
from export.kernels.td_norm import KernelTDLayerNorm, KernelTDRMSNorm, td_rms_norm
from export.kernels.tiles import tile_for
from model.denoisers.dimr import DiMR
from model.layers.norm import LAYER_NORM_EPS, RMS_EPS, TDLayerNorm, TDRMSNorm
from model.specs.networks import ConvNeXtStage, DiMRSpec, Norm, TransformerStage

pytestmark = pytest.mark.xdist_group("kernels")  # one interpreter for all

MODULES = {Norm.TD_LAYERNORM: TDLayerNorm, Norm.TD_RMSNORM: TDRMSNorm}
# Half types are rounded once; the interpreter cuts bfloat16 off where a GPU rounds to nearest.
TOLERANCE = {torch.float32: 4e-6, torch.float16: 2**-10, torch.bfloat16: 2**-7}
SHAPES = [  # (B, ..., C), type, a value's size: all classes of row length, rows that fill no tile
    ((3, 5, 1), torch.float32, 1.0),
    ((1, 7), torch.float16, 1.0),
    ((3, 33, 96), torch.bfloat16, 1.0),
    ((1, 5, 13, 100), torch.float32, 1.0),
    ((3, 9, 480), torch.float16, 1.0),
    ((1, 35, 960), torch.bfloat16, 1.0),
    ((3, 1, 960), torch.float32, 1.0),
    ((1, 3, 4100), torch.float16, 1.0),
    ((2, 3, 100), torch.float32, 1e15),
    ((2, 3, 100), torch.float32, 1e-15),
    ((2, 3, 100), torch.float16, 1.2e4),
    ((2, 3, 100), torch.float16, 1e-6),
    ((2, 3, 96), torch.bfloat16, 1e15),
    ((2, 3, 96), torch.bfloat16, 1e-15),
    ((2, 3, 7), torch.float32, 0.0),
]
CASES = [
    (norm, adds, shape)
    for norm, adds, shape in itertools.product(MODULES, (False, True), SHAPES)
    if not adds or (shape[0][-1] in {7, 96, 4100} and shape[2] == 1)
]


def case_of(norm, adds, shape, dtype, size):
    generator = torch.Generator().manual_seed(math.prod(shape))

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    module = MODULES[norm](shape[-1])
    return {
        "call": "normalise",
        "norm": norm,
        "width": shape[-1],
        "state": {name: draw(shape[-1]) for name in module.state_dict()},
        "x": (draw(*shape) * size).to(dtype),
        "residual": (draw(*shape) * size).to(dtype) if adds else None,
        "tau": torch.rand(shape[0], generator=generator),
        "dy": draw(*shape).to(dtype),
        "dtotal": draw(*shape).to(dtype) if adds else None,
    }


def empty():
    return case_of(Norm.TD_LAYERNORM, False, (0, 3, 8), torch.float32, 1.0)


def broken():
    """Of cases of which each has one operand that does not fit, by the start of the message."""
    fit = case_of(Norm.TD_RMSNORM, True, (2, 3, 8), torch.float32, 1.0)
    unfit = {
        "x: dtype": {"x": fit["x"].double()},
        "x: shape": {"x": torch.ones(8)},
        "tau: shape": {"tau": torch.ones(3)},
        "residual": {"residual": torch.ones(2, 3, 9)},
        "parameters: shape": {"x": torch.ones(2, 3, 9), "residual": torch.ones(2, 3, 9)},
    }
    return {name: fit | change for name, change in unfit.items()}


INPUTS = {
    "x": torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8).sin(),
    "t": torch.tensor([0.2, 0.9]),
    "y": torch.tensor([1, 4]),
}


@pytest.fixture(scope="module")
def results(interpret, weights):
    """Of all cases, as an interpreter's process takes seconds to start."""
    cases: dict[Any, Any] = {case: case_of(*case[:2], *case[2]) for case in CASES}
    cases |= {"empty": empty(), **broken()}
    cases["network"] = {"call": "denoise", "spec": SPEC, "state": weights, **INPUTS}
    return dict(zip(cases, interpret(list(cases.values())), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[1]}-{c[2]}")
def test_a_kernel_and_its_gradients_are_those_of_the_reference(results, case):
    norm, adds, shape = case
    given = case_of(norm, adds, *shape)
    module = MODULES[norm](given["width"])
    module.load_state_dict(given["state"])
    tau, dtype = given["tau"].requires_grad_(), given["x"].dtype
    (got, *got_total), (got_dx, got_dtau, *got_ends) = results[case]
    if adds:
        torch.testing.assert_close(
            got_total[0], given["x"] + given["residual"], rtol=TOLERANCE[dtype], atol=1e-7
        )
        got_dresidual, *got_ends = got_ends
        torch.testing.assert_close(got_dresidual, got_dx, rtol=0, atol=0)
    x = (got_total[0] if adds else given["x"]).requires_grad_()
    y = module(x, tau)
    dx, dtau, *ends = torch.autograd.grad(y, (x, tau, *module.parameters()), given["dy"])
    dx = dx + given["dtotal"] if adds else dx

    assert (got.dtype, got_dx.dtype) == (dtype, dtype)
    torch.testing.assert_close(got, y.detach(), rtol=TOLERANCE[dtype], atol=2e-5)
    root = root_of(norm, x.detach().double())
    terms = given["dy"].abs().max() * max(v.abs().max() for v in given["state"].values())
    torch.testing.assert_close(
        got_dx.double() * root,
        dx.double() * root,
        rtol=2 * TOLERANCE[dtype],
        atol=4 * float(terms) * TOLERANCE[dtype],
    )
    for got_end, end in zip((got_dtau, *got_ends), (dtau, *ends), strict=True):
        scale = 1 + float(end.abs().max())
        torch.testing.assert_close(got_end, end, rtol=1e-4, atol=1e-5 * scale)


def root_of(norm, x):
    """What rows are divided by."""
    if norm == Norm.TD_LAYERNORM:
        return (x.var(-1, correction=0, keepdim=True) + LAYER_NORM_EPS).sqrt()
    return x.square().mean(-1, keepdim=True).sqrt() + RMS_EPS


SPEC = DiMRSpec(
    size=8,
    channels=3,
    classes=5,
    stages=(
        TransformerStage(dim=24, blocks=1, hidden=32, heads=2, patch=4),
        ConvNeXtStage(dim=12, blocks=1, hidden=24, kernel=3, patch=2),
    ),
)


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    network = DiMR(SPEC)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.state_dict()


@pytest.fixture
def network(weights):
    network = DiMR(SPEC)
    network.load_state_dict(weights)
    return network


def test_a_network_with_kernels_predicts_and_learns_as_before(results, network):
    prediction, gradients = results["network"]
    expected = network(*INPUTS.values())[-1]
    expected.square().sum().backward()
    torch.testing.assert_close(prediction, expected.detach(), rtol=1e-4, atol=1e-4)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-3, atol=1e-3)


def test_a_network_with_kernels_keeps_its_parameters_under_their_names(network):
    before = dict(network.named_parameters())
    kinds = [type(m) for m in network.modules() if isinstance(m, TDLayerNorm | TDRMSNorm)]
    assert set(kinds) == {TDLayerNorm, TDRMSNorm}
    swapped = with_kernels(network)
    assert swapped is network
    norms = [m for m in network.modules() if isinstance(m, TDLayerNorm | TDRMSNorm)]
    kernels = {TDLayerNorm: KernelTDLayerNorm, TDRMSNorm: KernelTDRMSNorm}
    assert [type(m) for m in norms] == [kernels[kind] for kind in kinds]
    after = dict(network.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is parameter for name, parameter in before.items())


def test_swapping_twice_changes_nothing(network):
    norms = [m for m in with_kernels(network).modules() if isinstance(m, TDRMSNorm)]
    again = [m for m in with_kernels(network).modules() if isinstance(m, TDRMSNorm)]
    assert all(a is b for a, b in zip(again, norms, strict=True))


def test_a_tensor_on_the_cpu_is_refused_outside_the_interpreter():
    norm = TDRMSNorm(4)
    with pytest.raises(DeviceUnfit, match="got a tensor on cpu; allowed: cuda"):
        td_rms_norm(torch.ones(2, 4), torch.ones(2), norm.scale)


@pytest.mark.parametrize("name", broken())
def test_operands_that_do_not_fit_are_refused(results, name):
    assert results[name].startswith(f"OperandsUnfit: {name}")


def test_empty_batches_pass(results):
    (y,), (dx, dtau, *ends) = results["empty"]
    assert (y.shape, dx.shape, dtau.shape) == ((0, 3, 8), (0, 3, 8), (0,))
    assert all(not end.any() for end in ends)


@pytest.mark.parametrize("width", [1, 2, 7, 96, 480, 960, 1024, 1025, 4096, 4097, 66816])
def test_a_tile_covers_rows_and_fits_a_program(width):
    tile = tile_for(width)
    assert tile.rows * tile.block <= 4096
    assert tile.block & (tile.block - 1) == tile.rows & (tile.rows - 1) == 0
    assert tile.block >= width or not tile.whole
    assert tile.whole or tile.tiles_a_program == 1
    assert (tile.tiles(257) - 1) * tile.rows < 257 <= tile.tiles(257) * tile.rows
