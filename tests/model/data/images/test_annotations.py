import json

import pytest

from model.data.errors import ExampleUnreadable
from model.data.images.annotations import (
    MAX_CAPTION,
    Captions,
    Labels,
    checked_captions,
    json_captions,
    text_captions,
)
from model.data.images.classes import Classes


@pytest.mark.parametrize(
    ("content", "captions"),
    [
        (b"a red apple", ("a red apple",)),
        (b"\xef\xbb\xbfan owl \r\n\r\n  two owls\n", ("an owl", "two owls")),
        ("grün\u2028blau\nrot".encode(), ("grün\u2028blau", "rot")),
    ],
)
def test_a_text_has_a_caption_on_each_line_that_is_not_blank(content, captions):
    assert text_captions("x", content) == captions


@pytest.mark.parametrize(
    ("document", "captions"),
    [
        ({"caption": " an owl "}, ("an owl",)),
        ({"text": "an owl", "width": 3}, ("an owl",)),
        ({"captions": ["an owl", "a bird"], "caption": "unused"}, ("an owl", "a bird")),
        ({"caption": ["an owl"], "text": "unused"}, ("an owl",)),
    ],
)
def test_an_object_has_captions_in_the_first_of_its_fields(document, captions):
    assert json_captions("x", json.dumps(document).encode()) == captions


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has no caption"),
        (b" \n \n", "it has no caption"),
        (b"\xff\xfe", "its caption is no UTF-8: "),
        (b"x" * (MAX_CAPTION + 1), "a caption has 10001 characters; allowed: at most 10000"),
    ],
)
def test_a_text_that_cannot_be_used_says_why(content, reason):
    with pytest.raises(ExampleUnreadable) as refusal:
        text_captions("owl.txt", content)
    assert str(refusal.value).startswith(f"owl.txt cannot be used: {reason}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "its .json cannot be read: "),
        (b'{"caption": "\xff"}', "its .json cannot be read: "),
        (b"[" * 100_000, "its .json cannot be read: "),
        (b'["an owl"]', "it has no caption; allowed: an object with one of captions, caption, te"),
        (b'{"title": "an owl"}', "it has no caption; allowed: an object with one of captions"),
        (b'{"caption": null}', "it has no caption"),
        (b'{"captions": []}', "it has no caption"),
        (b'{"caption": 3}', "its caption is 3; allowed: a text or a list of texts"),
        (b'{"captions": ["an owl", 3]}', "a caption is 3; allowed: a text"),
        (b'{"captions": ["an owl", " "]}', "a caption is empty; allowed: at least one character"),
        (b'{"caption": ""}', "a caption is empty"),
        (rb'{"caption": "half \ud83d"}', "a caption is no Unicode text: it has half of a char"),
    ],
)
def test_an_object_that_cannot_be_used_says_why(content, reason):
    with pytest.raises(ExampleUnreadable) as refusal:
        json_captions("owl.json", content)
    assert str(refusal.value).startswith(f"owl.json cannot be used: {reason}")


def test_the_longest_caption_is_allowed():
    assert checked_captions("x", "é" * MAX_CAPTION) == ("é" * MAX_CAPTION,)


def test_whole_characters_beyond_the_basic_plane_are_unicode():
    assert json_captions("x", rb'{"caption": "owl \ud83e\udd89"}') == ("owl \U0001f989",)


def test_captions_and_labels_make_records_of_the_same_members():
    members = {"txt": b"an owl", "json": b'{"caption": "unused", "label": 1}', "png": b"picture"}
    captioned = Captions().of_members("x", b"picture", members)
    assert (captioned.label, captioned.captions) == (None, ("an owl",))
    labelled = Labels(Classes(("ant", "owl"))).of_members("x", b"picture", members)
    assert (labelled.label, labelled.captions) == (1, ())
    assert captioned.content == labelled.content == b"picture"


def test_an_example_without_a_member_for_captions_says_what_it_needs():
    with pytest.raises(ExampleUnreadable, match=r"no caption; allowed: a \.txt or a \.json beside"):
        Captions().of_members("x", b"picture", {"cls": b"0"})
