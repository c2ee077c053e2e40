"""A text encoder from its spec."""

from model.specs.text import MiniLMSpec, TextEncoderSpec, TransformersSpec
from model.text.encoder import TextEncoder
from model.text.minilm import open_minilm
from model.text.pretrained import open_pretrained


def open_encoder(spec: TextEncoderSpec) -> TextEncoder:
    """Open the text encoder of a spec, with its weights read.

    Raises:
        EncoderRefused: it is not installed, not there, damaged or of no known kind.
    """
    match spec:
        case MiniLMSpec():
            return open_minilm()
        case TransformersSpec():
            return open_pretrained(spec)
