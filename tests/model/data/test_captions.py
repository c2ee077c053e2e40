import pytest

from model.data.captions import read_captions
from model.data.errors import ExampleUnreadable, LocationRefused


@pytest.fixture
def write(tmp_path):
    def to_file(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return to_file


def test_a_text_is_one_caption_a_line(write):
    path = write("prompts.txt", b"\xef\xbb\xbfa red apple\n\n an owl \r\nan owl")
    assert read_captions(path) == ["a red apple", "an owl", "an owl"]


def test_json_lines_have_their_first_caption(write):
    lines = b'{"caption": "an owl"}\n\n{"text": "a fox"}\n{"captions": ["a cat", "a pet"], "x": 1}'
    assert read_captions(write("prompts.jsonl", lines)) == ["an owl", "a fox", "a cat"]


def test_captioned_images_give_the_first_caption_of_each(write_shard, picture, tmp_path):
    members = {
        "a.png": picture,
        "a.txt": b"an owl\na bird",
        "b.png": picture,
        "b.json": b'{"caption": "a fox"}',
    }
    shard = write_shard("x.tar", members)
    assert read_captions(str(shard)) == ["an owl", "a fox"]
    assert sorted(read_captions(f"pipe:cat {shard}")) == ["a fox", "an owl"]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "1.png").write_bytes(picture)
    (folder / "1.txt").write_text("a cat")
    assert read_captions(str(folder)) == ["a cat"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", b"an owl\n\xff\n", ":2 cannot be used: its caption is no UTF-8"),
        ("x.txt", b"\n" + b"x" * 10_001, ":2 cannot be used: a caption has 10001 characters; allo"),
        ("x.jsonl", b'{"caption": "an owl"}\n{}', ":2 cannot be used: it has no caption; allowed"),
        ("x.jsonl", b"an owl", ":1 cannot be used: its .json cannot be read"),
    ],
)
def test_a_wrong_line_is_named(name, content, reason, write):
    path = write(name, content)
    with pytest.raises(ExampleUnreadable) as refusal:
        read_captions(path)
    assert str(refusal.value).startswith(f"{path}{reason}")


def test_a_wrong_example_of_a_stream_is_named(write_shard, picture):
    shard = write_shard("x.tar.gz", {"a.png": picture})
    with pytest.raises(ExampleUnreadable, match=f"{shard}:a cannot be used: it has no caption"):
        read_captions(str(shard))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", b"\n \n", "it holds no caption"),
        ("x.jsonl", b"", "it holds no caption"),
        ("x.csv", b"an owl", "its suffix is '.csv'; allowed: .txt, .jsonl or .tar"),
    ],
)
def test_what_holds_no_captions_is_refused(name, content, reason, write):
    path = write(name, content)
    with pytest.raises(LocationRefused) as refusal:
        read_captions(path)
    assert reason in str(refusal.value)


def test_what_is_not_there_is_refused(tmp_path):
    for name in ("none", "none.txt", "none.jsonl"):
        with pytest.raises(LocationRefused, match=f"{name}"):
            read_captions(str(tmp_path / name))
