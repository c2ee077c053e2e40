"""Properties that every network has, whichever it is and however time and class enter."""

import copy
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from model.denoisers.build import blocks_of, build_denoiser
from model.specs.networks import NetworkSpec

TRANSFORMER = {
    "kind": "transformer",
    "dim": 16,
    "blocks": 3,
    "hidden": 32,
    "heads": 2,
    "patch": 4,
}
CONVNEXT = {"kind": "convnext", "dim": 12, "blocks": 3, "hidden": 24, "kernel": 3, "patch": 2}
TOP = {**CONVNEXT, "dim": 8, "patch": 1}
MIDDLE = {**TRANSFORMER, "dim": 12, "hidden": 24, "patch": 2}
FULL = {**TRANSFORMER, "dim": 12, "hidden": 24, "patch": 1}
PLAIN = {"dim": 16, "blocks": 3, "heads": 2, "patch": 4}
NETWORKS: dict[str, dict[str, Any]] = {
    "dimr": {},
    "td-layernorm and gelu": {"norm": "td-layernorm", "mlp": "gelu"},
    "static block norms": {"norm": "layernorm"},
    "time token": {"norm": "layernorm", "time": "token"},
    "adaln-zero": {"norm": "layernorm", "time": "adaln-zero", "mlp": "gelu"},
    "concatenation": {"cascade": "concat"},
    "skips": {"cascade": "skips", "stages": [TRANSFORMER, MIDDLE, TOP]},
    "last features": {"features": "last"},
    "one branch": {"stages": [FULL]},
    "transformers, adaln-zero": {
        "norm": "layernorm",
        "time": "adaln-zero",
        "stages": [TRANSFORMER, FULL],
    },
    "convnext": {
        "stages": [
            {**CONVNEXT, "patch": 4, "class_input": "added"},
            {**TOP, "class_input": "added"},
        ]
    },
    "uvit": {"kind": "uvit", **PLAIN},
    "uvit, adaln-zero": {"kind": "uvit", "time": "adaln-zero", **PLAIN},
    "uvit, td-ln": {"kind": "uvit", "time": "norm", **PLAIN},
    "dit": {"kind": "dit", **PLAIN},
}


def spec_of(name):
    values = {"kind": "dimr", "size": 16, "channels": 3, "classes": 5} | NETWORKS[name]
    if values["kind"] == "dimr":
        values.setdefault("stages", [TRANSFORMER, CONVNEXT, TOP])
    return TypeAdapter(NetworkSpec).validate_python(values)


def stirred(network):
    """Away from the initial point, where gates are shut and time has no effect yet."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.fixture(params=NETWORKS)
def spec(request):
    return spec_of(request.param)


@pytest.fixture
def network(spec):
    torch.manual_seed(0)
    return stirred(build_denoiser(spec))


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(4, 3, 16, 16, generator=generator)
    return x, torch.tensor([0.001, 0.3, 0.7, 1.0]), torch.tensor([0, 1, 4, 5])


def gradients(network, inputs):
    network.zero_grad(set_to_none=True)
    sum(o.float().square().mean() for o in network(*inputs)).backward()
    return {name: p.grad for name, p in network.named_parameters()}


def test_the_last_of_rising_predictions_is_at_full_resolution(network, inputs):
    sizes = [tuple(o.shape) for o in network(*inputs)]
    assert sizes[-1] == (4, 3, 16, 16)
    assert sizes == sorted(sizes)
    assert len(sizes) == len(getattr(network.spec, "stages", "1"))


def test_a_batch_of_mixed_times_gives_each_sample_what_it_gets_alone(network, inputs):
    with torch.no_grad():
        together = network(*inputs)
        for i in range(4):
            for alone, among in zip(
                network(*(v[i : i + 1] for v in inputs)), together, strict=True
            ):
                torch.testing.assert_close(alone, among[i : i + 1], atol=1e-4, rtol=1e-4)


def test_time_and_class_reach_the_output(network, inputs):
    x, t, y = inputs
    with torch.no_grad():
        base = network(x, t, y)[-1]
        for changed in (network(x, (t + 0.4) % 1, y)[-1], network(x, t, (y + 1) % 6)[-1]):
            assert (changed - base).flatten(1).abs().amax(1).min() > 1e-3


def test_every_parameter_takes_part(network, inputs):
    idle = [name for name, g in gradients(network, inputs).items() if g is None or not g.any()]
    assert idle == []


def test_a_fresh_network_learns_from_every_parameter_after_three_steps(spec, inputs):
    torch.manual_seed(0)
    network = build_denoiser(spec)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    target = torch.randn(4, 3, 16, 16)
    for _ in range(3):
        optimiser.zero_grad()
        outputs = network(*inputs)
        sum(
            (o - target[..., : o.shape[2], : o.shape[3]]).square().mean() for o in outputs
        ).backward()
        optimiser.step()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_recomputing_blocks_changes_neither_names_nor_gradients(network, inputs):
    names = list(network.state_dict())
    kept = gradients(network, inputs)
    runs = []
    for block in blocks_of(network):
        block.register_forward_pre_hook(lambda *_: runs.append(1))
    network.checkpoint_blocks()
    recomputed = gradients(network, inputs)
    assert len(runs) == 2 * len(blocks_of(network))
    assert list(network.state_dict()) == names
    for name, gradient in kept.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=0, rtol=0, msg=name)


def test_a_copy_recomputes_its_own_blocks(network, inputs):
    network.checkpoint_blocks()
    twin = copy.deepcopy(network)
    for parameter in network.parameters():
        parameter.data.zero_()
    assert all(o.any() for o in twin(*inputs))
    assert not any(o.any() for o in network(*inputs))


def test_autocast_gives_finite_predictions_and_gradients_near_those_of_float32(network, inputs):
    with torch.no_grad():
        exact = network(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(*inputs)
    for a, b in zip(rounded, exact, strict=True):
        assert (a.float() - b).norm() < 0.1 * b.norm()
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(network, inputs)
    assert all(g.isfinite().all() for g in found.values())


def test_blocks_are_all_of_them_in_order(spec):
    network = build_denoiser(spec)
    names = {module: name for name, module in network.named_modules()}
    found = [names[block] for block in blocks_of(network)]
    if spec.kind == "dimr":
        expected = [
            f"stages.{r}.trunk.blocks.{i}"
            for r, stage in enumerate(spec.stages)
            for i in range(stage.blocks)
        ]
    else:
        row = {"uvit": "trunk.blocks", "dit": "blocks"}[spec.kind]
        expected = [f"{row}.{i}" for i in range(spec.blocks)]
    assert found == expected


def test_the_spec_says_all_there_is_to_build(network):
    twin = build_denoiser(TypeAdapter(NetworkSpec).validate_json(network.spec.model_dump_json()))
    twin.load_state_dict(network.state_dict())
    assert twin.spec == network.spec
