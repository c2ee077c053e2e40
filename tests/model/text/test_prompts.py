import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from model.specs.text import TextEncoderIdentity, TransformersSpec
from model.text.encoder import Encoded, EncoderRefused, require_positions
from model.text.prompts import Prompts


class Letters:
    """One token a letter and one at the end; notes what it was asked."""

    identity = TextEncoderIdentity(
        encoder=TransformersSpec(source="letters"), sha256="0" * 64, width=2
    )

    def __init__(self):
        self.asked = []
        self.calls = []

    def encode(self, prompt, tokens):
        require_positions(tokens, 8)
        self.asked.append(prompt)
        codes = [*map(ord, prompt), 1][:tokens]
        states = torch.tensor([[code, -code] for code in codes], dtype=torch.float32)
        return Encoded(states, len(prompt) + 1)

    def encode_all(self, prompts, tokens):
        self.calls.append(list(prompts))
        return [self.encode(prompt, tokens) for prompt in prompts]


@pytest.fixture
def letters():
    return Letters()


def test_states_are_padded_with_zeros_that_the_mask_leaves_out(letters):
    states, mask = Prompts(letters, 3).states(["A", "", "BCD"])
    expected = [[65.0, 1, 0], [1, 0, 0], [66, 67, 68]]
    torch.testing.assert_close(states, torch.tensor(expected)[..., None] * torch.tensor([1.0, -1]))
    assert mask.tolist() == [[True, True, False], [True, False, False], [True, True, True]]


def test_no_prompts_have_no_states(letters):
    states, mask = Prompts(letters, 3).states([])
    assert (states.shape, mask.shape) == ((0, 3, 2), (0, 3))


def test_a_prompt_is_encoded_once(letters):
    prompts = Prompts(letters, 3)
    prompts.states(["a", "b", "a"])
    prompts.notice("b")
    prompts.states(["b", "a", ""])
    assert letters.asked == ["", "a", "b"]


def test_what_is_new_is_encoded_in_one_call_and_every_row_is_its_own(letters):
    prompts = Prompts(letters, 3)
    prompts.states(["b"])
    states, _ = prompts.states(["ab", "b", "", "c", "ab"])
    assert [asked for asked in letters.calls if asked] == [[""], ["b"], ["ab", "c"]]
    assert states[:, 0, 0].tolist() == [97, 98, 1, 99, 97]


def test_what_is_handed_out_can_be_written_to(letters):
    prompts = Prompts(letters, 3)
    before, mask = (found.clone() for found in prompts.states(["ab"]))
    for found in prompts.states(["ab"]):
        found.zero_()
    states, again = prompts.states(["ab"])
    torch.testing.assert_close(states, before, rtol=0, atol=0)
    assert again.equal(mask)


def room_for(*asked):
    """Bytes of these prompts of up to two letters and of their states, two numbers a token."""
    return sum(sys.getsizeof(prompt) + 8 * (len(prompt) + 1) for prompt in asked)


def test_the_prompt_that_was_not_asked_for_longest_is_forgotten(letters):
    prompts = Prompts(letters, 3, kept_bytes=room_for("", "a"))
    prompts.states(["a"])
    prompts.states([""])
    prompts.states(["b"])  # forgets "a"
    prompts.states(["", "b"])
    assert letters.asked == ["", "a", "b"]
    prompts.states(["a"])
    assert letters.asked == ["", "a", "b", "a"]


def test_a_longer_prompt_takes_the_room_of_several(letters):
    prompts = Prompts(letters, 3, kept_bytes=room_for("", "a", "ab") - 1)
    prompts.states(["a", "ab"])  # forgets ""
    prompts.states(["ab", "a"])
    assert letters.asked == ["", "a", "ab"]
    prompts.states([""])
    assert letters.asked == ["", "a", "ab", ""]


def test_room_is_counted_once_however_often_a_prompt_is_asked_for(letters):
    prompts = Prompts(letters, 3, kept_bytes=room_for("", "a"))
    for _ in range(5):
        prompts.states(["a", "", "a"])
    assert letters.asked == ["", "a"]


@pytest.mark.parametrize("kept_bytes", [0, room_for(""), room_for("", "a")])
def test_more_prompts_than_are_kept_are_answered_all_the_same(letters, kept_bytes):
    asked = ["", "a", "b", "c", "d"]
    few = Prompts(letters, 3, kept_bytes=kept_bytes).states(asked)
    many = Prompts(letters, 3).states(asked)
    torch.testing.assert_close(few, many, rtol=0, atol=0)


def test_only_a_prompt_that_is_cut_off_has_a_notice(letters):
    prompts = Prompts(letters, 3)
    assert prompts.notice("") is None
    assert prompts.notice("ab") is None
    assert prompts.notice("abc") == (
        "prompt: has 4 tokens; the model reads the first 3: the rest is cut off and has no effect"
    )


def test_threads_get_what_one_would(letters):
    prompts = Prompts(letters, 3, kept_bytes=room_for("", "a", "bb"))
    asked = [chr(97 + k % 7) * (k % 5) for k in range(400)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda prompt: prompts.states([prompt]), asked, timeout=60))
    expected = Prompts(Letters(), 3).states(asked)
    torch.testing.assert_close(torch.cat([states for states, _ in found]), expected[0])
    assert torch.cat([mask for _, mask in found]).equal(expected[1])


def test_more_tokens_than_the_encoder_can_read_are_refused_at_once(letters):
    with pytest.raises(EncoderRefused, match="tokens: got 9; allowed: at most 8"):
        Prompts(letters, 9)
