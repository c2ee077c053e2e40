"""The networks of the paper's ablations: what they count, and what sets each apart."""

import pytest
import torch

from model.denoisers.build import blocks_of, build_denoiser
from model.denoisers.dimr import DiMR
from model.specs.networks import (
    Cascade,
    ConvNeXtStage,
    DiMRSpec,
    Features,
    Mlp,
    Norm,
    TimeInput,
    TransformerStage,
    UViTSpec,
)


def count(spec):
    with torch.device("meta"):
        return sum(p.numel() for p in build_denoiser(spec).parameters())


def uvit_m4(time):
    # The published network has 1000 class rows and no null class; ours has classes + 1 rows.
    return UViTSpec(
        size=64, channels=3, classes=999, dim=768, blocks=17, heads=12, patch=4, time=time
    )


def dimr_m3r(norm, mlp, time=TimeInput.NORM):
    expansion = {Mlp.GELU: 4, Mlp.GEGLU: 2}[mlp]
    return DiMRSpec(
        size=64,
        channels=3,
        classes=1000,
        norm=norm,
        mlp=mlp,
        time=time,
        stages=(
            TransformerStage(dim=768, blocks=15, hidden=768 * expansion, heads=12, patch=4),
            ConvNeXtStage(dim=384, blocks=9, hidden=384 * expansion, patch=2),
            ConvNeXtStage(dim=192, blocks=9, hidden=192 * expansion),
        ),
    )


@pytest.mark.parametrize(
    ("spec", "parameters", "printed"),
    [
        (uvit_m4(TimeInput.TOKEN), 130_940_292, 130.9),
        (uvit_m4(TimeInput.ADALN_ZERO), 202_401_156, 202.4),
        (dimr_m3r(Norm.LAYERNORM, Mlp.GELU, TimeInput.ADALN_ZERO), 217_938_825, 217.9),
        (dimr_m3r(Norm.TD_LAYERNORM, Mlp.GELU), 153_954_057, 154.0),
        (dimr_m3r(Norm.TD_LAYERNORM, Mlp.GEGLU), 132_941_577, 132.9),
    ],
    ids=["uvit", "uvit adaln-zero", "dimr adaln-zero", "dimr td-ln", "dimr td-ln glu"],
)
def test_each_row_of_the_papers_second_table_counts_what_it_prints(spec, parameters, printed):
    assert count(spec) == parameters
    assert round(parameters / 1e6, 1) == printed


def small(**options):
    return DiMRSpec(
        size=8,
        channels=3,
        classes=5,
        stages=(
            TransformerStage(dim=16, blocks=3, hidden=32, heads=2, patch=2),
            ConvNeXtStage(dim=8, blocks=3, hidden=16, kernel=3),
        ),
        **options,
    )


def stirred(network):
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.fixture
def released():
    torch.manual_seed(0)
    return stirred(DiMR(small()))


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 3, 8, 8, generator=generator)
    return x, torch.tensor([0.2, 0.9]), torch.tensor([0, 5])


def taken_over(network, weights):
    """Give a network the weights it shares with another; return the names of its own."""
    own = network.state_dict().keys() - weights.keys()
    network.load_state_dict(weights, strict=False)
    return own


def test_concatenation_projected_by_ones_is_addition(released, inputs):
    network = DiMR(small(cascade=Cascade.CONCAT))
    own = taken_over(network, released.state_dict())
    assert own == {"stages.1.join.linear.weight", "stages.1.join.linear.bias"}
    with torch.no_grad():
        ones = torch.cat((torch.eye(8), torch.eye(8)), dim=1)
        network.get_parameter("stages.1.join.linear.weight").copy_(ones)
        torch.testing.assert_close(network(*inputs)[-1], released(*inputs)[-1])


def test_skips_between_branches_add_to_the_long_skips_of_the_upper_branch(released, inputs):
    weights = released.state_dict()
    name = "stages.1.trunk.skips.0.weight"
    lifted = 0.3 * torch.randn(8, 8)
    network = DiMR(small(cascade=Cascade.SKIPS))
    seen = []
    for module in (
        network.get_submodule("stages.1.upsample"),
        network.get_submodule("stages.1.trunk.skips.0"),
        released.get_submodule("stages.1.trunk.skips.0"),
    ):
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    network.load_state_dict(weights | {name: torch.cat((weights[name], lifted), dim=1)})
    network(*inputs)
    released(*inputs)
    handed, joined, alone = seen
    torch.testing.assert_close(joined, alone + handed @ lifted.T)


def test_only_the_last_blocks_output_goes_up_if_asked(inputs):
    network = DiMR(small(features=Features.LAST))
    outputs, handed = [], []
    last, upsample = map(network.get_submodule, ("stages.0.trunk.blocks.2", "stages.1.upsample"))
    last.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    upsample.register_forward_pre_hook(lambda _module, inputs: handed.append(inputs[0]))
    network(*inputs)
    torch.testing.assert_close(handed[0].flatten(1, 2), outputs[0][:, 1:], atol=0, rtol=0)


def test_time_is_a_token_of_the_transformer_and_reaches_the_rest_by_the_cascade(inputs):
    network = stirred(DiMR(small(norm=Norm.LAYERNORM, time=TimeInput.TOKEN)))
    x, t, y = inputs
    lengths = []
    low = network.get_submodule("stages.0.trunk")
    low.register_forward_pre_hook(lambda _module, inputs: lengths.append(inputs[0].shape[1]))
    with torch.no_grad():
        before = network(x, t, y)[-1]
        assert (network(x, t / 2, y)[-1] - before).abs().max() > 1e-3
        for parameter in network.get_submodule("stages.1.upsample.norm_out").parameters():
            parameter.zero_()
        before = network(x, t, y)[-1]
        torch.testing.assert_close(network(x, t / 2, y)[-1], before, atol=0, rtol=0)
    assert set(lengths) == {16 + 2}


@pytest.mark.parametrize(
    ("time", "norm"),
    [(TimeInput.TOKEN, Norm.RMSNORM), (TimeInput.ADALN_ZERO, Norm.LAYERNORM)],
)
def test_norms_do_not_depend_on_time_where_it_enters_elsewhere(time, norm):
    names = [name for name, _ in DiMR(small(time=time, norm=norm)).named_parameters()]
    assert not any(name.endswith((".slope", ".offset")) for name in names)


def test_blocks_of_adaln_zero_are_the_identity_at_first():
    network = DiMR(small(norm=Norm.LAYERNORM, time=TimeInput.ADALN_ZERO))
    condition = torch.randn(2, 16)
    low, high = torch.randn(2, 5, 16), torch.randn(2, 4, 4, 8)
    for block, x in zip(blocks_of(network), (low,) * 3 + (high,) * 3, strict=True):
        torch.testing.assert_close(block(x, condition), x, atol=0, rtol=0)


def test_a_pure_transformer_hands_its_cells_but_no_tokens_to_the_next(inputs):
    stages = (
        TransformerStage(dim=16, blocks=1, hidden=32, heads=2, patch=2),
        TransformerStage(dim=8, blocks=1, hidden=16, heads=2),
    )
    for cascade in Cascade:
        network = DiMR(DiMRSpec(size=8, channels=3, classes=5, cascade=cascade, stages=stages))
        assert [tuple(o.shape) for o in network(*inputs)] == [(2, 3, 4, 4), (2, 3, 8, 8)]


def test_the_class_reaches_a_pure_convnext_only_if_added(inputs):
    x, t, y = inputs

    def difference(class_input):
        stage = ConvNeXtStage(dim=8, blocks=1, hidden=16, class_input=class_input)
        network = stirred(DiMR(DiMRSpec(size=8, channels=3, classes=5, stages=(stage,))))
        with torch.no_grad():
            return (network(x, t, y)[0] - network(x, t, y - y)[0]).abs().amax((1, 2, 3))

    assert difference("none").tolist() == [0, 0]
    unchanged, changed = difference("added").tolist()
    assert unchanged == 0
    assert changed > 1e-3
