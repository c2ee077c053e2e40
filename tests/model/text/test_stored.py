import json
import shutil

import pytest

from model.specs.text import MiniLMSpec, TransformersSpec
from model.text.encoder import EncoderRefused
from model.text.open import open_encoder
from model.text.stored import open_stored, store


def test_an_encoder_of_a_package_is_not_copied_but_compared(tmp_path):
    encoder = open_encoder(MiniLMSpec())
    assert store(encoder, tmp_path / "text_encoder") == []
    assert not (tmp_path / "text_encoder").exists()
    again = open_stored(encoder.identity, tmp_path / "text_encoder", [])
    assert again.identity == encoder.identity
    other = encoder.identity.model_copy(update={"sha256": "1" * 64})
    with pytest.raises(EncoderRefused, match=r"'minilm': has .*f98e6977ba0b.*with 111111111111.*"):
        open_stored(other, tmp_path / "text_encoder", [])


@pytest.fixture(params=["t5_folder", "clip_folder"])
def encoder(request):
    """Of either family."""
    source = str(request.getfixturevalue(request.param))
    return open_encoder(TransformersSpec(source=source))


def test_a_pretrained_encoder_is_copied_and_opened_under_its_name(encoder, tmp_path):
    copy = tmp_path / "text_encoder"
    names = store(encoder, copy)
    assert sorted(path.name for path in copy.iterdir()) == sorted(names)
    shutil.rmtree(next(iter(encoder.folder.files.values())).parent)
    again = open_stored(encoder.identity, copy, names)
    assert again.identity == encoder.identity
    assert again.encode("red", 6).states.equal(again.encode("red", 6).states)


def test_another_encoder_in_its_place_is_refused(encoder, tmp_path):
    names = store(encoder, tmp_path / "text_encoder")
    path = tmp_path / "text_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 2}))
    wanted = encoder.identity.sha256[:12]
    with pytest.raises(
        EncoderRefused, match=f"has sha256 .*trained with {wanted}.*restore the bundle"
    ):
        open_stored(encoder.identity, tmp_path / "text_encoder", names)


def test_a_file_that_was_not_checked_is_refused(encoder, tmp_path):
    names = store(encoder, tmp_path / "text_encoder")
    with pytest.raises(EncoderRefused, match=f"{names[-1]} is not among"):
        open_stored(encoder.identity, tmp_path / "text_encoder", names[:-1])


def test_files_that_changed_since_they_were_read_are_refused(encoder, tmp_path):
    path = encoder.folder.files["config.json"]
    path.write_text(path.read_text() + " ")
    with pytest.raises(EncoderRefused, match="were changed since it was opened"):
        store(encoder, tmp_path / "changed")
    path.unlink()
    with pytest.raises(EncoderRefused, match=r"config\.json was removed; put it back"):
        store(encoder, tmp_path / "removed")
