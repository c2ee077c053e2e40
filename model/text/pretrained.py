"""Text encoders of pretrained models, by the transformers library.

T5 and FLAN-T5 (arXiv:1910.10683, 2210.11416): the encoder's last states. CLIP (arXiv:2103.00020):
the text side's last states, after its final layer norm. Both run in float32 on the CPU; a service
meets a prompt once, and keeps its states. Training may have many: see `model.text.batched`.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.specs.text import TextEncoderIdentity, TransformersSpec
from model.text.encoder import (
    Encoded,
    refusal,
    require_packages,
    require_positions,
    shortened,
    well_formed,
)
from model.text.folder import READ, TOKENIZER, EncoderFolder, encoder_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedConfig, PreTrainedModel

PACKAGES = ("huggingface_hub", "tokenizers", "transformers")
UNSEEN = "\N{RED APPLE}"  # in few vocabularies, yet any prompt has an answer


@dataclass(frozen=True, slots=True)
class Network:
    """A family of networks and one configuration of it.

    Attributes:
        family: the class that is built.
        config: what it is built from.
        positions: most tokens that it can read; None where positions are relative.
    """

    family: "type[PreTrainedModel]"
    config: "PreTrainedConfig"
    positions: int | None


class Pretrained:
    """Token states of a T5 or CLIP text encoder."""

    def __init__(
        self,
        network: "PreTrainedModel",
        tokenizer: "Tokenizer",
        identity: TextEncoderIdentity,
        *,
        positions: int | None,
        folder: EncoderFolder,
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.positions = positions
        self.folder = folder
        self._identity = identity

    @property
    def identity(self) -> TextEncoderIdentity:
        """The hash is over all files that were read."""
        return self._identity

    def read(self, prompt: str, tokens: int) -> tuple[Tensor, int]:
        """Ids (n,) of at most `tokens` tokens of a prompt, and how many it has.

        Raises:
            EncoderRefused: see `TextEncoder.encode`.
        """
        require_positions(tokens, self.positions)
        whole = self.tokenizer.encode(well_formed(prompt)).ids
        return torch.tensor(shortened(whole, tokens)), len(whole)

    @torch.no_grad()
    def encode(self, prompt: str, tokens: int) -> Encoded:
        """See `TextEncoder`."""
        ids, length = self.read(prompt, tokens)
        return Encoded(self.network(input_ids=ids[None]).last_hidden_state[0], length)

    def encode_all(self, prompts: Sequence[str], tokens: int) -> list[Encoded]:
        """One after the other, so that none has a say in the bits of another."""
        return [self.encode(prompt, tokens) for prompt in prompts]


def open_pretrained(spec: TransformersSpec) -> Pretrained:
    """Open a pretrained encoder from a folder, or from the Hub if there is no such folder.

    Raises:
        EncoderRefused: see `pretrained_at`; or there is neither folder nor repository.
    """
    require_packages(spec.source, PACKAGES, "encoders")
    folder = Path(spec.source)
    if folder.is_dir():
        named = TransformersSpec(source=folder.resolve().name)  # no path of this machine
        return pretrained_at(folder, named)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", spec.source):
        return pretrained_at(_snapshot(spec.source), spec)
    reason = "no such folder; allowed: one that exists, or a repository of the Hugging Face Hub"
    raise refusal(spec.source, f"{reason}, OWNER/NAME")


def pretrained_at(folder: Path, spec: TransformersSpec) -> Pretrained:
    """Open the pretrained encoder that lies in a folder.

    Args:
        folder: in the form that the transformers library writes.
        spec: what to call it.

    Raises:
        EncoderRefused: the library is not installed; a file is missing or damaged; the network is
            of another family.
    """
    require_packages(spec.source, PACKAGES, "encoders")
    found = encoder_folder(folder, spec.source)
    network = _network(found)
    tokenizer = _tokenizer(found, network.config.vocab_size)
    identity = TextEncoderIdentity(
        encoder=spec, sha256=found.sha256, width=network.config.hidden_size
    )
    return Pretrained(
        _built(found, network), tokenizer, identity, positions=network.positions, folder=found
    )


def _snapshot(repository: str) -> Path:
    """Folder of a Hub repository on this machine, fetched if need be."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=list(READ)))
    except (OSError, ValueError) as error:
        raise refusal(repository, f"cannot be fetched from the Hub: {error}") from error


def _network(folder: EncoderFolder) -> Network:
    """Family and configuration as config.json says."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CLIPConfig, CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    raw = folder.config()
    try:
        match raw.get("model_type"):
            case "t5":
                return Network(T5EncoderModel, T5Config.from_dict(raw), None)
            case "clip":
                text = CLIPConfig.from_dict(raw).text_config
            case "clip_text_model":
                text = CLIPTextConfig.from_dict(raw)
            case other:
                reason = (
                    f"config.json: model_type: got {other!r}; allowed: t5, clip, clip_text_model"
                )
                raise refusal(folder.title, reason)
    except (AttributeError, KeyError, StrictDataclassError, TypeError) as error:
        raise refusal(folder.title, f"config.json: {error}") from error
    return Network(CLIPTextModel, text, text.max_position_embeddings)


def _tokenizer(folder: EncoderFolder, words: int) -> "Tokenizer":
    """The tokeniser, which must end every prompt and know no more than the network's words."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder.files[TOKENIZER]))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ends = [tokenizer.encode(prompt).ids[-1:] for prompt in ("", UNSEEN)]
    except Exception as error:  # the library raises nothing narrower
        raise refusal(folder.title, f"{TOKENIZER} cannot be used: {error}") from error
    if not ends[0] or ends[0] != ends[1]:
        reason = f"{TOKENIZER}: no token ends every prompt; allowed: one that does, as </s> of T5"
        raise refusal(folder.title, reason)
    last = max(tokenizer.get_vocab().values())
    if last >= words:
        reason = f"{TOKENIZER}: has a token {last}; allowed: below {words}, the network's words"
        raise refusal(folder.title, reason)
    return tokenizer


def _built(folder: EncoderFolder, network: Network) -> "PreTrainedModel":
    """The network with every tensor taken from the folder."""
    try:
        with _quiet():
            built, found = network.family.from_pretrained(
                None,
                config=network.config,
                state_dict=folder.weights(),
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are named below
                output_loading_info=True,
            )
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise refusal(folder.title, f"cannot be built: {error}") from error
    misfits = [
        f"{name} is {list(stored)}, and {list(wanted)} by config.json"
        for name, stored, wanted in sorted(found["mismatched_keys"])
    ]
    missing = [f"{name} is missing" for name in sorted(found["missing_keys"])]
    if misfits or missing:
        reason = f"{len(misfits + missing)} tensors do not fit: {'; '.join(misfits + missing)}"
        raise refusal(folder.title, reason)
    return built.eval().requires_grad_(requires_grad=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """No report and no bar of the library: what goes wrong is one line."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
