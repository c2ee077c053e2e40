import sys

import pytest

from model.text.encoder import (
    EncoderRefused,
    refusal,
    require_packages,
    require_positions,
    shortened,
    well_formed,
)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(9, [1, 2, 3, 4]), (4, [1, 2, 3, 4]), (3, [1, 2, 4]), (2, [1, 4]), (1, [4])],
)
def test_what_is_cut_off_leaves_the_token_that_ends_the_prompt(tokens, expected):
    assert shortened([1, 2, 3, 4], tokens) == expected


def test_lone_surrogates_are_replaced_and_all_else_is_kept():
    assert well_formed("a\ud83c red \U0001f34e\x00\udf4e") == "a\ufffd red \U0001f34e\x00\ufffd"


def test_an_encoder_reads_as_many_tokens_as_it_has_positions():
    require_positions(5, 5)
    require_positions(10**6, None)
    with pytest.raises(EncoderRefused, match="tokens: got 6; allowed: at most 5"):
        require_positions(6, 5)


def test_an_absent_package_is_named_with_what_installs_it(monkeypatch):
    require_packages("x", ("json", "pathlib"), "text")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(EncoderRefused, match=r"'x': tokenizers is not .*'dimr-serve\[text\]'"):
        require_packages("x", ("json", "tokenizers"), "text")


def test_a_refusal_is_one_short_line():
    said = str(refusal("x", "first\n  second" + 1000 * "."))
    assert said.startswith("text encoder 'x': first second.")
    assert len(said) < 450
