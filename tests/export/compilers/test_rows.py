"""What is rewritten for the compiler: the same function of the same tensors."""

import pytest
import torch
from pydantic import TypeAdapter

from export.compilers.heads import WideHeads, is_narrow
from export.compilers.rows import PatchRows, SumOfHalves, over_rows
from export.graph.nodes import norms_as_nodes
from export.graph.parts import denoiser_parts
from export.graph.precision import Islands, narrow
from model.denoisers.build import build_denoiser
from model.layers.blocks import Attention
from model.layers.resample import Concatenation, Patchify
from model.specs.networks import NetworkSpec

TOKENS = {"kind": "transformer", "dim": 36, "blocks": 1, "hidden": 50, "heads": 3, "patch": 4}
MIDDLE = {"kind": "convnext", "dim": 20, "blocks": 3, "hidden": 44, "kernel": 5, "patch": 2}
FINEST = {"kind": "convnext", "dim": 14, "blocks": 1, "hidden": 30, "kernel": 7}
POOLED = {"kind": "convnext", "dim": 10, "blocks": 1, "hidden": 22, "kernel": 3, "pool": 2}
DIMR = {"kind": "dimr", "size": 8, "channels": 12, "classes": 3}
PLAIN = {"size": 8, "channels": 3, "classes": 3, "dim": 24, "heads": 3, "patch": 2, "blocks": 1}
NETWORKS = {
    "td-rmsnorm": {**DIMR, "norm": "td-rmsnorm", "stages": [TOKENS, MIDDLE, FINEST]},
    "td-layernorm": {**DIMR, "norm": "td-layernorm", "stages": [TOKENS, MIDDLE, FINEST]},
    "concat": {**DIMR, "norm": "td-rmsnorm", "cascade": "concat", "stages": [TOKENS, MIDDLE]},
    "pooled": {**DIMR, "stages": [{**POOLED, "class_input": "added"}, FINEST]},
    "uvit": {"kind": "uvit", **PLAIN, "time": "norm"},
    "dit": {"kind": "dit", **PLAIN},
}


@pytest.fixture(params=NETWORKS)
def part(request):
    """The part of a small network with no parameter at the zero or one that it starts from."""
    spec = TypeAdapter(NetworkSpec).validate_python(NETWORKS[request.param])
    torch.manual_seed(0)
    network = build_denoiser(spec).eval().requires_grad_(requires_grad=False)
    for parameter in network.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    (part,) = denoiser_parts(network)
    return part


def count(module, *kinds):
    return sum(isinstance(child, kinds) for child in module.modules())


def output(module, part):
    with torch.no_grad():
        (found,) = module(*part.inputs.values())
    return found


def test_it_gives_what_the_plain_part_gives(part):
    wanted = output(part.module, part)
    assert wanted.std() > 0.01
    found = output(over_rows(part).module, part)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())


def test_it_gives_in_float16_what_the_plain_part_gives_but_for_rounding(part):
    wanted = output(part.module, part)
    network = norms_as_nodes(over_rows(part).module)
    narrow(network, Islands())
    found = output(network, part)
    assert found.dtype == torch.float32
    assert (found - wanted).abs().max() < 4e-3 * wanted.abs().max()


def test_patches_and_narrow_heads_are_rewritten_and_the_part_itself_is_not(part):
    patches, attentions = count(part.module, Patchify), count(part.module, Attention)
    changed = over_rows(part)
    assert count(changed.module, PatchRows) == patches > 0
    narrow_heads = sum(is_narrow(m) for m in part.module.modules() if isinstance(m, Attention))
    assert count(changed.module, WideHeads) == narrow_heads
    assert count(changed.module, Attention) == attentions - narrow_heads
    assert count(changed.module, Patchify) == 0
    assert count(part.module, PatchRows, WideHeads) == 0
    assert (changed.name, changed.inputs, changed.outputs) == (part.name, part.inputs, part.outputs)


def test_nothing_is_put_side_by_side_where_a_cascade_joins(part):
    changed = over_rows(part).module
    assert count(changed, Concatenation) == 0
    assert count(changed, SumOfHalves) == count(part.module, Concatenation)


def test_its_tensors_are_those_of_the_part(part):
    ours = {id(tensor) for tensor in part.module.parameters()}
    assert {id(tensor) for tensor in over_rows(part).module.parameters()} == ours


@pytest.mark.parametrize(("patch", "pool"), [(1, 1), (2, 1), (4, 1), (1, 2), (2, 4)])
def test_patches_are_read_in_the_order_of_the_convolution(patch, pool):
    torch.manual_seed(0)
    patchify = Patchify(3, 5, patch=patch, pool=pool).requires_grad_(requires_grad=False)
    image = torch.randn(2, 3, 16, 16)
    found = PatchRows(patchify)(image)
    assert found.shape == (2, 16 // (patch * pool), 16 // (patch * pool), 5)
    torch.testing.assert_close(found, patchify(image))
