"""A tree of pictures with their captions beside them, in texts or in metadata.jsonl.

Captions of DIR/**/name.jpg stand in name.txt beside it, one a line, and in the lines of any
metadata.jsonl whose "file_name" leads to it from where that file is, as Hugging Face's imagefolder
has it. A picture may have both: all are its captions. Pictures are sorted by path.
"""

import os
from pathlib import Path

import numpy as np

from model.data.errors import ExampleUnreadable, LocationRefused
from model.data.images.annotations import field_captions, text_captions
from model.data.images.bad import BadExamples
from model.data.images.classes import NO_CLASSES
from model.data.images.decoding import Record
from model.data.images.folder import files_below, is_picture
from model.data.images.metadata import MetadataLines

METADATA = "metadata.jsonl"


class SidecarRecords:
    """The captioned pictures of a tree by index; captions are read with the picture."""

    classes = NO_CLASSES

    def __init__(self, folder: Path, bad: BadExamples) -> None:
        """List the tree and find the lines of its metadata.

        Args:
            folder: holds pictures, at any depth.
            bad: is told of pictures without any caption, and of lines of metadata without a
                picture.

        Raises:
            LocationRefused: it cannot be listed, or holds no picture with a caption.
        """
        self.location = str(folder)
        self._folder = folder
        if not folder.is_dir():
            raise LocationRefused(self.location, "there is no such folder")
        files = sorted(files_below(folder, bad))
        pictures = [path for path in files if is_picture(path)]
        metadata = [path for path in files if os.path.basename(path) == METADATA]  # noqa: PTH119 - a million times
        self._lines = MetadataLines(folder, metadata, pictures, bad)
        texts = {path for path in files if path.endswith(".txt")}
        self._has_text = np.asarray([_text(path) in texts for path in pictures], dtype=bool)
        captioned = self._has_text | self._lines.known
        for place in np.flatnonzero(~captioned).tolist():
            reason = f"it has no caption; allowed: {_text(pictures[place])} or a line of {METADATA}"
            bad.meet(ExampleUnreadable(str(folder / pictures[place]), reason))
        self._pictures = pictures
        self._kept = np.flatnonzero(captioned)
        if not len(self._kept):
            raise LocationRefused(self.location, "it holds no picture with a caption")

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Record:
        """Read a picture and its captions; raises `ExampleUnreadable` where that fails."""
        place = int(self._kept[index])
        picture = self._pictures[place]
        where = str(self._folder / picture)
        captions: list[str] = []
        try:
            content = (self._folder / picture).read_bytes()
            if self._has_text[place]:
                captions += text_captions(where, (self._folder / _text(picture)).read_bytes())
            for document in self._lines.of(place):
                captions += field_captions(where, document)
        except OSError as error:
            raise ExampleUnreadable(where, error.strerror or str(error)) from error
        return Record(where, content, captions=tuple(dict.fromkeys(captions)))


def _text(picture: str) -> str:
    """The text that belongs to a picture."""
    return os.path.splitext(picture)[0] + ".txt"  # noqa: PTH122 - a million times
