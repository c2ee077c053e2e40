import json

import pytest

from model.data.errors import ExampleUnreadable, LocationRefused
from model.data.images.bad import BadExamples
from model.data.images.sidecars import SidecarRecords
from model.specs.data import OnBad


@pytest.fixture
def strict():
    return BadExamples(OnBad.STOP)


@pytest.fixture
def lenient():
    return BadExamples(OnBad.SKIP)


@pytest.fixture
def tree(tmp_path, picture):
    """Writes files of a folder: pictures where no content is given."""
    root = tmp_path / "captioned"
    root.mkdir()

    def write(*pictures, **texts):
        for name in pictures:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(picture)
        for name, text in texts.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return root

    return write


def lines(*documents):
    return "\n".join(json.dumps(document) for document in documents) + "\n"


def captions_of(records, root):
    found = [records[k] for k in range(len(records))]
    return {record.where.removeprefix(f"{root}/"): record.captions for record in found}


def test_texts_beside_pictures_are_their_captions_at_any_depth(tree, strict, picture):
    root = tree(
        "b.png",
        "a/deep/er.x.JPG",
        **{"b.txt": "an owl\na bird\n", "a/deep/er.x.txt": "a fox", "notes.txt": "no picture"},
    )
    records = SidecarRecords(root, strict)
    assert captions_of(records, root) == {
        "a/deep/er.x.JPG": ("a fox",),
        "b.png": ("an owl", "a bird"),
    }
    assert records[0].content == picture
    assert records[0].label is None
    assert records.classes.names == ()


def test_lines_of_metadata_name_pictures_from_where_they_are(tree, strict):
    root = tree(
        "train/1.png",
        "train/more/2.png",
        "other/3.png",
        **{
            "train/metadata.jsonl": "\n"
            + lines(
                {"file_name": "1.png", "text": "an owl"},
                {"file_name": "./more/2.png", "captions": ["a fox", "a red fox"]},
                {"file_name": "1.png", "caption": "a bird"},
            ),
            "metadata.jsonl": "\ufeff" + lines({"file_name": "other/3.png", "caption": "a cat"}),
        },
    )
    assert captions_of(SidecarRecords(root, strict), root) == {
        "other/3.png": ("a cat",),
        "train/1.png": ("an owl", "a bird"),
        "train/more/2.png": ("a fox", "a red fox"),
    }


def test_a_text_and_metadata_together_are_the_captions_each_once(tree, strict):
    metadata = lines({"file_name": "1.png", "captions": ["an owl", "a bird"]})
    root = tree("1.png", **{"1.txt": "an owl\nit is an owl", "metadata.jsonl": metadata})
    (found,) = captions_of(SidecarRecords(root, strict), root).values()
    assert found == ("an owl", "it is an owl", "a bird")


def test_hidden_names_are_passed_over(tree, strict):
    root = tree("1.png", ".cache/2.png", ".3.png", **{"1.txt": "an owl"})
    assert len(SidecarRecords(root, strict)) == 1


def test_a_picture_without_a_caption_stops_or_is_left_out_by_name(tree, strict, lenient):
    root = tree("1.png", "2.png", **{"2.txt": "an owl"})
    with pytest.raises(ExampleUnreadable) as refusal:
        SidecarRecords(root, strict)
    reason = "it has no caption; allowed: 1.txt or a line of metadata.jsonl"
    assert str(refusal.value) == f"{root}/1.png cannot be used: {reason}"
    assert list(captions_of(SidecarRecords(root, lenient), root)) == ["2.png"]
    assert lenient.reasons == {f"{root}/1.png": reason}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "its .json cannot be read: "),
        ('["1.png"]', 'it names no picture; allowed: an object with "file_name"'),
        ('{"caption": "an owl"}', "it names no picture"),
        ('{"file_name": 3, "caption": "an owl"}', "it names no picture"),
        ('{"file_name": "2.png", "caption": "an owl"}', "there is no picture '2.png'"),
        ('{"file_name": "../1.png", "caption": "an owl"}', "there is no picture '../1.png'"),
    ],
)
def test_a_line_of_metadata_that_leads_to_nothing_is_named(tree, strict, lenient, line, reason):
    metadata = f'{{"file_name": "1.png", "caption": "an owl"}}\n{line}\n'
    root = tree("1.png", **{"metadata.jsonl": metadata})
    with pytest.raises(ExampleUnreadable) as refusal:
        SidecarRecords(root, strict)
    assert str(refusal.value).startswith(f"{root}/metadata.jsonl:2 cannot be used: {reason}")
    assert captions_of(SidecarRecords(root, lenient), root) == {"1.png": ("an owl",)}
    assert list(lenient.reasons) == [f"{root}/metadata.jsonl:2"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("1.txt", b"", "it has no caption"),
        ("1.txt", b"\xff", "its caption is no UTF-8"),
        ("metadata.jsonl", b'{"file_name": "1.png"}', "it has no caption; allowed: an object"),
        ("metadata.jsonl", b'{"file_name": "1.png", "text": " "}', "a caption is empty"),
    ],
)
def test_a_wrong_caption_is_named_by_its_picture_when_it_is_read(
    tree, strict, name, content, reason
):
    root = tree("1.png", **{name: content})
    records = SidecarRecords(root, strict)
    with pytest.raises(ExampleUnreadable) as refusal:
        records[0]
    assert str(refusal.value).startswith(f"{root}/1.png cannot be used: {reason}")


def test_files_that_vanished_are_named(tree, strict):
    root = tree("1.png", "2.png", **{"1.txt": "an owl", "2.txt": "a fox"})
    records = SidecarRecords(root, strict)
    (root / "1.txt").unlink()
    (root / "2.png").unlink()
    for place in range(2):
        with pytest.raises(ExampleUnreadable, match=rf"{place + 1}\.png cannot be used: No such"):
            records[place]


def test_a_folder_without_captioned_pictures_is_refused(tree, lenient, tmp_path):
    with pytest.raises(LocationRefused, match="it holds no picture with a caption"):
        SidecarRecords(tree(), lenient)
    with pytest.raises(LocationRefused, match="it holds no picture with a caption"):
        SidecarRecords(tree("1.png"), lenient)
    with pytest.raises(LocationRefused, match="there is no such folder"):
        SidecarRecords(tmp_path / "none", lenient)
