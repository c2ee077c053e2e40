"""The files of a pretrained text encoder, in the form that the transformers library writes."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.files import file_sha256
from model.text.encoder import refusal

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
WEIGHTS, SHARDS = "model.safetensors", "model.safetensors.index.json"
READ = (CONFIG, TOKENIZER, WEIGHTS, SHARDS, "model-*-of-*.safetensors")
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")


@dataclass(frozen=True, slots=True)
class EncoderFolder:
    """What is read of a folder, and nothing else of it.

    Attributes:
        title: the encoder in messages.
        files: every file that is read, by its name.
    """

    title: str
    files: Mapping[str, Path]

    @property
    def sha256(self) -> str:
        """Over the names and contents of all files: the same wherever they lie."""
        lines = [f"{file_sha256(path)}  {name}\n" for name, path in sorted(self.files.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def config(self) -> dict[str, Any]:
        """The network's configuration."""
        return _document(self.title, self.files[CONFIG])

    def weights(self) -> dict[str, Tensor]:
        """Every tensor, mapped from the files."""
        tensors: dict[str, Tensor] = {}
        for name, path in self.files.items():
            if name.endswith(".safetensors"):
                try:
                    tensors |= load_file(path)
                except (SafetensorError, OSError) as error:
                    raise refusal(self.title, f"{name} cannot be read: {error}") from error
        return tensors


def encoder_folder(folder: Path, title: str) -> EncoderFolder:
    """Look up what a folder consists of.

    Raises:
        EncoderRefused: a file is missing, or the list of weights is damaged.
    """
    names = [CONFIG, TOKENIZER]
    if (folder / WEIGHTS).is_file() or not (folder / SHARDS).is_file():
        names.append(WEIGHTS)
    else:
        names += [SHARDS, *_shards(title, folder / SHARDS)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        reason = (
            f"lacks {', '.join(missing[:4])}; allowed: a folder with {CONFIG}, {TOKENIZER} and "
            f"safetensors, as save_pretrained of the model and of its AutoTokenizer write them"
        )
        raise refusal(title, reason)
    return EncoderFolder(title, {name: folder / name for name in names})


def _shards(title: str, path: Path) -> list[str]:
    """Names of the files that the weights are spread over."""
    places = _document(title, path).get("weight_map")
    if not (isinstance(places, dict) and places):
        raise refusal(title, f"{path.name}: weight_map: got {places!r:.80}; allowed: files by name")
    names = sorted({str(name) for name in places.values()})
    for name in names:
        if not _SHARD.fullmatch(name):
            reason = f"{path.name}: weight_map: got {name!r}; allowed: safetensors beside it"
            raise refusal(title, reason)
    return names


def _document(title: str, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise refusal(title, f"{path.name} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise refusal(title, f"{path.name}: got {document!r:.80}; allowed: an object")
    return document
