import pytest

from model.specs.text import MiniLMSpec, TransformersSpec
from model.text.encoder import EncoderRefused
from model.text.open import open_encoder


def test_each_kind_of_encoder_opens(t5_folder, clip_folder):
    opened = [
        open_encoder(spec)
        for spec in (
            MiniLMSpec(),
            TransformersSpec(source=str(t5_folder)),
            TransformersSpec(source=str(clip_folder)),
        )
    ]
    assert [encoder.identity.width for encoder in opened] == [384, 8, 8]
    assert [encoder.encode("", 4).length for encoder in opened] == [2, 1, 2]


def test_an_encoder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(EncoderRefused, match="lacks"):
        open_encoder(TransformersSpec(source=str(tmp_path)))
