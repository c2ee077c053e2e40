"""Properties that every layered U-Net has: causal from low to high, and true to its text."""

import copy

import pytest
import torch

from model.denoisers.build import blocks_of
from model.denoisers.layered import LayeredUNet, cut
from model.specs.layered import LayeredSpec, Level, TextInput

SCALES = [(16, 32, 64), (8, 24), (32,), (4, 8, 16, 32), (8, 32)]
TOKENS, WIDTH = 4, 6


def spec_of(scales, dropout=0.0):
    return LayeredSpec(
        scales=scales,
        core=(Level(width=16, blocks=1), Level(width=24, blocks=2, attention=True)),
        middle=1,
        outer=tuple(Level(width=8, blocks=1 + index % 2) for index in range(len(scales) - 1)),
        head_width=8,
        embedding=16,
        dropout=dropout,
        text=TextInput(width=WIDTH, tokens=TOKENS),
    )


def stirred(spec):
    """A network away from its initial point, where it predicts zero."""
    torch.manual_seed(0)
    network = LayeredUNet(spec)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def inputs_for(spec, count=2):
    generator = torch.Generator().manual_seed(2)
    z = [torch.randn(count, 3, side, side, generator=generator) for side in spec.scales]
    t = torch.rand(count, generator=generator)
    text = torch.randn(count, TOKENS, WIDTH, generator=generator)
    mask = torch.arange(TOKENS) < 1 + torch.arange(count)[:, None] % TOKENS
    return z, t, text, mask


def gradients(network, inputs, **options):
    network.zero_grad(set_to_none=True)
    sum(o.float().square().mean() for o in network(*inputs, **options)).backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


@pytest.fixture(params=SCALES, ids=str)
def any_spec(request):
    return spec_of(request.param)


@pytest.fixture
def spec():
    return spec_of((8, 16, 32))


@pytest.fixture
def network(spec):
    return stirred(spec)


def test_each_scale_gets_a_prediction_like_its_image(any_spec):
    z, *rest = inputs_for(any_spec)
    assert [o.shape for o in stirred(any_spec)(z, *rest)] == [image.shape for image in z]


def test_a_fresh_network_predicts_zero_at_every_scale(any_spec):
    assert not any(o.any() for o in LayeredUNet(any_spec)(*inputs_for(any_spec)))


def test_a_scale_hears_from_itself_and_lower_ones_and_never_from_higher_ones(any_spec):
    z, *rest = inputs_for(any_spec)
    for image in z:
        image.requires_grad_()
    for scale, output in enumerate(stirred(any_spec)(z, *rest)):
        heard = torch.autograd.grad(output.sum(), z, retain_graph=True, materialize_grads=True)
        assert [bool(g.any()) for g in heard] == [other <= scale for other in range(len(z))]


def test_lower_scales_alone_are_those_of_the_whole_bit_for_bit(any_spec):
    network = stirred(any_spec)
    z, *rest = inputs_for(any_spec)
    with torch.no_grad():
        whole = network(z, *rest)
        for count in range(1, len(z) + 1):
            found = network(z[:count], *rest)
            assert len(found) == count
            for alone, among in zip(found, whole, strict=False):
                torch.testing.assert_close(alone, among, atol=0, rtol=0)


def test_lower_scales_alone_call_nothing_of_the_higher_ones(network, spec):
    called = []
    for module in (*network.outer, *network.outputs):
        module.register_forward_hook(lambda module, *_: called.append(module))
    z, *rest = inputs_for(spec)
    network(z[:2], *rest)
    assert called == [network.outputs[0], network.outer[0], network.outputs[1]]


def test_a_network_of_no_or_too_many_scales_is_not_called(network, spec):
    z, *rest = inputs_for(spec)
    for wrong in ([], [*z, torch.zeros(2, 3, 64, 64)]):
        with pytest.raises(AssertionError):
            network(wrong, *rest)


def test_a_higher_image_enters_its_own_level_and_no_other_module(network, spec):
    z, *rest = inputs_for(spec)
    z[2].requires_grad_()
    network.requires_grad_(False)  # what needs a gradient now has seen the image
    touched = set()
    for name, module in network.named_modules():
        module.register_forward_hook(
            lambda _, __, out, name=name: (
                touched.add(name) if isinstance(out, torch.Tensor) and out.requires_grad else None
            )
        )
    network(z, *rest)
    assert {name.split(".")[0] for name in touched} == {"outer", "outputs"}
    assert all(name.startswith(("outer.1", "outputs.2")) for name in touched)
    assert "outer.1.enter" in touched


@pytest.mark.parametrize("held", [0.0, 1e4, 3e38, float("inf"), float("nan")])
def test_padding_has_no_say_whatever_it_holds(network, spec, held):
    z, t, text, mask = inputs_for(spec, 4)
    with torch.no_grad():
        expected = network(z, t, text, mask)
        padded = text.masked_fill(~mask[..., None], held)
        for found, wanted in zip(network(z, t, padded, mask), expected, strict=True):
            torch.testing.assert_close(found, wanted, atol=0, rtol=0)


def test_padding_gets_no_gradient_and_what_counts_does(network, spec):
    z, t, text, mask = inputs_for(spec, 3)
    text = text.masked_fill(~mask[..., None], float("nan")).requires_grad_()
    sum(o.sum() for o in network(z, t, text, mask)).backward()
    assert torch.equal(text.grad.ne(0).any(-1), mask)


def test_more_room_for_padding_changes_nothing(network, spec):
    z, t, text, mask = inputs_for(spec)
    with torch.no_grad():
        expected = network(z, t, text, mask)
        longer = torch.cat((text, torch.ones(2, 3, WIDTH)), 1)
        found = network(z, t, longer, torch.cat((mask, torch.zeros(2, 3).bool()), 1))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_every_token_that_counts_reaches_every_scale(network, spec):
    z, t, text, _ = inputs_for(spec)
    text.requires_grad_()
    for output in network(z, t, text, torch.ones(2, TOKENS).bool()):
        (heard,) = torch.autograd.grad(output.sum(), text, retain_graph=True)
        assert heard.abs().amax(-1).min() > 0


def test_a_sample_without_text_is_finite_and_so_are_its_gradients(network, spec):
    z, t, text, mask = inputs_for(spec)
    mask[0] = False
    assert all(o.isfinite().all() for o in network(z, t, text, mask))
    assert all(g.isfinite().all() for g in gradients(network, (z, t, text, mask)).values())


def test_time_reaches_every_scale(network, spec):
    z, t, *text = inputs_for(spec)
    with torch.no_grad():
        for a, b in zip(network(z, t, *text), network(z, (t + 0.3) % 1, *text), strict=True):
            assert (a - b).flatten(1).abs().amax(1).min() > 1e-4


def test_a_batch_gives_each_sample_what_it_gets_alone(network, spec):
    z, t, text, mask = inputs_for(spec, 4)
    with torch.no_grad():
        together = network(z, t, text, mask)
        for i in range(4):
            row = slice(i, i + 1)
            alone = network([image[row] for image in z], t[row], text[row], mask[row])
            for a, b in zip(alone, together, strict=True):
                torch.testing.assert_close(a, b[row], atol=1e-5, rtol=1e-5)


def test_every_parameter_takes_part(any_spec):
    found = gradients(stirred(any_spec), inputs_for(any_spec))
    assert [name for name, g in found.items() if g is None or not g.any()] == []


def test_a_fresh_network_learns_with_every_parameter_within_three_steps(spec):
    torch.manual_seed(0)
    network, inputs = LayeredUNet(spec), inputs_for(spec)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        sum((o - 1).square().mean() for o in network(*inputs)).backward()
        optimiser.step()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recomputed_blocks_give_the_same_gradients_and_drop_the_same(dropout):
    spec = spec_of((8, 16, 32), dropout)
    network, inputs = stirred(spec), inputs_for(spec)
    names = list(network.state_dict())
    torch.manual_seed(5)
    kept = gradients(network, inputs)
    runs = []
    for block in blocks_of(network):
        block.register_forward_pre_hook(lambda *_: runs.append(1))
    network.checkpoint_blocks()
    torch.manual_seed(5)
    recomputed = gradients(network, inputs)
    assert len(runs) == 2 * len(blocks_of(network))
    assert list(network.state_dict()) == names
    for name, gradient in kept.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=0, rtol=0, msg=name)


def test_features_are_dropped_in_the_lowest_level_alone_and_in_training_alone():
    network = stirred(spec_of((8, 16), dropout=0.5))
    rates = {n: m.p for n, m in network.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {n for n, p in rates.items() if p} == {
        n for n in rates if n.startswith(("core.down.1", "core.middle", "core.up.1"))
    }
    inputs = inputs_for(network.spec)
    with torch.no_grad():
        assert (network(*inputs)[0] - network(*inputs)[0]).any()
        network.eval()
        torch.testing.assert_close(network(*inputs), network(*inputs), atol=0, rtol=0)


def test_blocks_are_all_of_them_in_order(network):
    names = {module: name for name, module in network.named_modules()}
    assert [names[block] for block in blocks_of(network)] == [
        "core.down.0.0",
        *(f"core.down.1.{i}" for i in range(2)),
        "core.middle.0",
        "core.up.0.0",
        *(f"core.up.1.{i}" for i in range(2)),
        "outer.0.blocks.0",
        *(f"outer.1.blocks.{i}" for i in range(2)),
    ]


def test_attention_is_in_the_core_alone(network):
    assert not [name for name, _ in network.outer.named_modules() if "attention" in name]
    assert not [name for name, _ in network.outer.named_modules() if "cross" in name]


def test_a_network_holds_those_of_its_lower_scales(spec):
    whole = set(LayeredUNet(spec).state_dict())
    for count in (1, 2):
        lower = LayeredUNet(spec_of(spec.scales[:count])).state_dict()
        assert set(lower) < whole


def test_autocast_gives_predictions_and_gradients_near_those_of_float32(network, spec):
    inputs = inputs_for(spec)
    with torch.no_grad():
        exact = network(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(*inputs)
        found = gradients(network, inputs)
    for a, b in zip(rounded, exact, strict=True):
        assert (a.float() - b).norm() < 0.1 * b.norm()
    assert all(g.isfinite().all() for g in found.values())


def test_a_window_leaves_the_lowest_scale_as_it_is_bit_for_bit(network, spec):
    z, *rest = inputs_for(spec)
    window = torch.tensor([[0, 3], [4, 1]])
    shown = [z[0], cut(z[1], 2 * window, 8), cut(z[2], 4 * window, 16)]
    with torch.no_grad():
        found, whole = network(shown, *rest, window=window), network(z, *rest)
    assert [o.shape for o in found] == [image.shape for image in shown]
    torch.testing.assert_close(found[0], whole[0], atol=0, rtol=0)


def test_a_window_of_everything_is_no_window(network, spec):
    z, *rest = inputs_for(spec)
    window = torch.zeros(2, 2, dtype=torch.int64)
    with torch.no_grad():
        found, whole = network(z, *rest, window=window), network(z, *rest)
    torch.testing.assert_close(found, whole, atol=0, rtol=0)


def test_a_window_shows_what_the_whole_has_there(network, spec):
    for name, module in network.named_modules():
        if name.startswith("outer") and name.endswith("residual"):  # no statistics over the frame
            module.norm_in, module.norm_out = torch.nn.Identity(), torch.nn.Identity()
    for output in network.outputs:
        output.norm = torch.nn.Identity()
    z, *rest = inputs_for(spec)
    window = torch.tensor([[1, 0], [0, 1]])
    shown = [z[0], cut(z[1], 2 * window, 14), cut(z[2], 4 * window, 28)]
    with torch.no_grad():
        found, whole = network(shown, *rest, window=window), network(z, *rest)
    level = 1 + 2 + 1  # convolutions that see the border of the window: rise, block, output
    for scale, margin in ((1, level), (2, 2 * (level - 1) + 1 + 4 + 1)):
        there = cut(whole[scale], 2**scale * window, 7 * 2**scale)
        inside = (..., slice(margin, -margin), slice(margin, -margin))
        assert found[scale][inside].numel()
        torch.testing.assert_close(found[scale][inside], there[inside], atol=1e-5, rtol=1e-5)


def test_rows_and_columns_are_cut_where_each_window_says():
    cells = torch.arange(25.0).reshape(1, 1, 5, 5).expand(2, 1, 5, 5)
    found = cut(cells, torch.tensor([[0, 2], [3, 1]]), 2)
    assert found.tolist() == [[[[2, 3], [7, 8]]], [[[16, 17], [21, 22]]]]


@pytest.mark.slow
def test_its_graph_can_be_exported_for_any_batch():
    level = Level(width=8, blocks=1, attention=True)
    spec = spec_of((4, 8)).model_copy(update={"core": (level,)})
    network = stirred(spec)
    rows = {0: torch.export.Dim("batch", min=1, max=16)}
    graph = torch.export.export(
        network.eval(),
        inputs_for(spec, 2),
        dynamic_shapes={"z": [rows] * 2, "t": rows, "text": rows, "text_mask": rows},
        strict=False,
    )
    with torch.no_grad():
        for count in (1, 5):
            inputs = inputs_for(spec, count)
            found = graph.module()(*inputs)
            torch.testing.assert_close(found, network(*inputs), atol=1e-5, rtol=1e-5)


def test_a_copy_is_its_own(network, spec):
    inputs = inputs_for(spec)
    network.checkpoint_blocks()
    twin = copy.deepcopy(network)
    for parameter in network.parameters():
        parameter.data.zero_()
    assert all(o.any() for o in twin(*inputs))
    assert not any(o.any() for o in network(*inputs))
