"""Many prompts a call, as training on an accelerator has them; here on the CPU."""

import pytest
import torch

from model.specs.text import MiniLMSpec, TransformersSpec
from model.text import batched
from model.text.batched import Batched, for_training
from model.text.open import open_encoder
from model.text.pretrained import open_pretrained
from model.text.prompts import Prompts
from model.text.stored import open_stored, store

CPU = torch.device("cpu")
ASKED = ("red apple", "", "red", "green car tree red apple", "green", "tree " * 30)


def assert_agreed(found, wanted):
    """Equal but for rounding; states are of variance 1, by the last norm of their encoder."""
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.fixture(params=["t5_folder", "clip_folder"])
def spec(request):
    """Of either family."""
    return TransformersSpec(source=str(request.getfixturevalue(request.param)))


@pytest.fixture
def together(spec):
    return Batched(open_pretrained(spec), CPU)


@pytest.mark.parametrize("tokens_a_call", [1, 9, 4096])
def test_states_are_those_of_a_prompt_alone_whatever_its_neighbours(
    spec, together, tokens_a_call, monkeypatch
):
    monkeypatch.setattr(batched, "TOGETHER", tokens_a_call)
    alone = open_encoder(spec)
    for asked in (ASKED, ASKED[::-1], ASKED[:1], ASKED[2:4]):
        for prompt, found in zip(asked, together.encode_all(asked, 6), strict=True):
            wanted = alone.encode(prompt, 6)
            assert found.length == wanted.length
            assert_agreed(found.states, wanted.states)


def test_one_prompt_is_answered_as_among_many(together):
    (among, *_), alone = together.encode_all(ASKED, 6), together.encode(ASKED[0], 6)
    assert alone.length == among.length
    assert_agreed(alone.states, among.states)


def test_no_prompts_have_no_states(together):
    assert together.encode_all([], 6) == []


def test_states_keep_no_memory_of_the_padding(together):
    for encoded in together.encode_all(ASKED, 6):
        assert encoded.states.untyped_storage().nbytes() == encoded.states.nbytes


def test_calls_hold_as_many_tokens_as_allowed_and_every_prompt_once(together, monkeypatch):
    monkeypatch.setattr(batched, "TOGETHER", 12)
    shapes = []
    together.network.register_forward_pre_hook(
        lambda network, args, named: shapes.append(tuple(named["input_ids"].shape)),
        with_kwargs=True,
    )
    together.encode_all(ASKED, 6)
    assert all(rows * longest <= 12 for rows, longest in shapes)
    assert sum(rows for rows, _ in shapes) == len(ASKED)
    assert len(shapes) < len(ASKED)


def test_prompts_have_their_states_by_it(spec, together):
    found, wanted = (Prompts(each, 6).states(ASKED) for each in (together, open_encoder(spec)))
    assert_agreed(found[0], wanted[0])
    assert found[1].equal(wanted[1])


def test_it_goes_into_a_bundle_as_the_encoder_it_was_made_of(spec, together, tmp_path):
    identity = open_encoder(spec).identity
    assert together.identity == identity
    names = store(together, tmp_path / "stored")
    assert open_stored(identity, tmp_path / "stored", names).identity == identity


def test_a_run_on_the_cpu_encodes_prompts_alone_so_that_it_resumes_bit_for_bit(spec):
    encoder = open_encoder(spec)
    assert for_training(encoder, CPU) is encoder


def test_a_run_elsewhere_has_the_network_there(spec):
    encoder = for_training(open_encoder(spec), torch.device("meta"))
    assert isinstance(encoder, Batched)
    assert {parameter.device.type for parameter in encoder.network.parameters()} == {"meta"}


def test_an_encoder_that_runs_on_the_cpu_alone_stays_there():
    encoder = open_encoder(MiniLMSpec())
    assert for_training(encoder, torch.device("meta")) is encoder
