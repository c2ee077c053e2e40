"""A text encoder beside the network that was trained with it."""

import shutil
from collections.abc import Container
from pathlib import Path

from model.specs.text import MiniLMSpec, TextEncoderIdentity, TransformersSpec
from model.text.encoder import TextEncoder, refusal
from model.text.folder import encoder_folder
from model.text.minilm import open_minilm
from model.text.pretrained import Pretrained, pretrained_at


def store(encoder: TextEncoder, folder: Path) -> list[str]:
    """Copy what a text encoder was read from, if it does not come with a package.

    Args:
        encoder: of which kind ever.
        folder: made here if anything is copied; must not exist.

    Returns:
        Names of the files that lie in the folder then.

    Raises:
        EncoderRefused: the files were changed or removed since it was opened.
    """
    if not isinstance(encoder, Pretrained):
        return []
    title = encoder.folder.title
    folder.mkdir()
    try:
        for name, path in encoder.folder.files.items():
            shutil.copyfile(path, folder / name)
    except FileNotFoundError as error:
        raise refusal(title, f"{error.filename} was removed; put it back") from error
    if encoder_folder(folder, title).sha256 != encoder.identity.sha256:
        raise refusal(title, "its files were changed since it was opened; restore them")
    return list(encoder.folder.files)


def open_stored(identity: TextEncoderIdentity, folder: Path, listed: Container[str]) -> TextEncoder:
    """Open the text encoder that a network was trained with.

    Args:
        identity: which one that is.
        folder: what `store` made of it, if anything.
        listed: names of the files in it whose hashes have been checked.

    Raises:
        EncoderRefused: it cannot be opened, or what is there is another one.
    """
    encoder: TextEncoder
    match identity.encoder:
        case MiniLMSpec():
            title, encoder = "minilm", open_minilm()
            remedy = "restore the bundle, or install the version of dimr-serve it was trained by"
        case TransformersSpec() as spec:
            title, encoder = spec.source, _listed(pretrained_at(folder, spec), listed)
            remedy = f"restore the bundle with its {folder.name}/"
    found, wanted = encoder.identity.sha256, identity.sha256
    if found != wanted:
        reason = (
            f"has sha256 {found[:12]}..., but the network was trained with {wanted[:12]}..., "
            f"whose states mean other things; {remedy}"
        )
        raise refusal(title, reason)
    return encoder


def _listed(encoder: Pretrained, listed: Container[str]) -> Pretrained:
    """The encoder, unless it was read from a file that is not listed."""
    for name in encoder.folder.files:
        if name not in listed:
            raise refusal(encoder.folder.title, f"{name} is not among the files that were checked")
    return encoder
