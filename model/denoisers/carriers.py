"""Which tensors of a stage carry its sizes, in the authors' layout, and what they say together.

Nearly every size is carried by many tensors. It is what most of them say, so that a single
misshapen tensor is the odd one out, never the measure of the others.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import count

from model.specs.networks import ConvNeXtStage, TransformerStage

CONV = "input_layer.1.weight"
POSITION = "input_layer.3.position_embeddings.weight"
CLASSES = "class_embeds.weight"
LIFT_WEIGHT, LIFT_BIAS = "upsample.1.kernel.weight", "upsample.1.kernel.bias"

_NUMBER = r"(0|[1-9][0-9]{0,5})"
IN_STAGE = re.compile(rf"stages\.{_NUMBER}\.(.+)")
_IN_BLOCK = re.compile(rf"blocks\.{_NUMBER}\.(.+)")
_SKIP = re.compile(rf"skip_denses\.{_NUMBER}\.(?:weight|bias)")

# Where a size of a stage stands: names in the stage, the number of their axes, and which of them.
_Carriers = tuple[tuple[re.Pattern[str], int, tuple[int, ...]], ...]
_DIM: _Carriers = (
    (re.compile(r"input_layer\.1\.bias"), 1, (0,)),
    (re.compile(r"input_layer\.1\.weight"), 4, (0,)),
    (re.compile(r"input_layer\.3\.position_embeddings\.weight|class_embeds\.weight"), 2, (1,)),
    (re.compile(r"blocks\.\d+\.block[12]\.norm\..+|(output_layer\.0|upsample\.2)\..+"), 1, (0,)),
    (re.compile(r"blocks\.\d+\.(block1\.query_key_value|block2\.w[01])\.weight"), 2, (1,)),
    (re.compile(r"blocks\.\d+\.block1\.dense\.weight"), 2, (0, 1)),
    (re.compile(r"blocks\.\d+\.block1\.1\.weight"), 4, (0,)),
    (re.compile(r"(blocks\.\d+\.block2\.w2|skip_denses\.\d+)\.weight"), 2, (0,)),
    (re.compile(r"(blocks\.\d+\.(block1\.(dense|1)|block2\.w2)|skip_denses\.\d+)\.bias"), 1, (0,)),
    (re.compile(r"output_layer\.2\.weight"), 4, (1,)),
)
_HIDDEN: _Carriers = (
    (re.compile(r"blocks\.\d+\.block2\.w[01]\.weight"), 2, (0,)),
    (re.compile(r"blocks\.\d+\.block2\.w[01]\.bias"), 1, (0,)),
    (re.compile(r"blocks\.\d+\.block2\.w2\.weight"), 2, (1,)),
)
_KERNEL: _Carriers = ((re.compile(r"blocks\.\d+\.block1\.1\.weight"), 4, (2, 3)),)
CHANNELS: _Carriers = (
    (re.compile(r"input_layer\.1\.weight"), 4, (1,)),
    (re.compile(r"output_layer\.2\.weight"), 4, (0,)),
    (re.compile(r"output_layer\.2\.bias"), 1, (0,)),
)


class LayoutMismatch(ValueError):
    """A state dict is not a DiMR checkpoint, or not a whole one."""


class StageShapes:
    """Shapes of one stage's tensors by their names in it, and the sizes that they carry."""

    def __init__(self, number: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.number = number
        self.shapes = shapes
        attending = sum(".block1.1." not in name for name in shapes if ".block1." in name)
        convolving = sum(".block1.1." in name for name in shapes)
        self.attends = attending > convolving
        self.dim = self._size(_DIM, "input_layer.1.bias", "(dim,)")

    def name(self, name: str) -> str:
        """Its whole name in the checkpoint."""
        return f"stages.{self.number}.{name}"

    def wrong(self, name: str, expected: str) -> LayoutMismatch:
        """The error of a tensor that is missing or does not have this shape."""
        if name not in self.shapes:
            return LayoutMismatch(f"missing {self.name(name)}")
        return LayoutMismatch(
            f"misshapen {self.name(name)}: {self.shapes[name]} instead of {expected}"
        )

    def votes(self, carriers: _Carriers) -> list[int]:
        """What each tensor of the right rank says about a size; nothing of one that is empty."""
        return [
            shape[axis]
            for name, shape in self.shapes.items()
            for pattern, rank, axes in carriers
            if len(shape) == rank and 0 not in shape and pattern.fullmatch(name)
            for axis in axes
        ]

    def axis(self, name: str, rank: int, axis: int) -> int:
        """A single tensor's size along an axis, 0 where it is missing or of another rank."""
        shape = self.shapes.get(name, ())
        return shape[axis] if len(shape) == rank else 0

    @property
    def side(self) -> int:
        """Cells a side by the positions, 0 where they make no square."""
        return root_of(self.axis(POSITION, 2, 0))

    def spec(self, patch: int, pool: int, heads: int | None) -> TransformerStage | ConvNeXtStage:
        """What it is, a ConvNeXt stage where there are no heads."""
        hidden = self._size(_HIDDEN, "blocks.0.block2.w0.weight", f"(hidden, {self.dim})")
        sizes = {"dim": self.dim, "blocks": self._blocks(), "hidden": hidden}
        if heads is not None:
            return TransformerStage(**sizes, patch=patch, pool=pool, heads=heads)
        kernel = most_said(side for side in self.votes(_KERNEL) if side % 2)
        if kernel is None:
            raise self.wrong("blocks.0.block1.1.weight", f"({self.dim}, 1, k, k) with an odd k")
        return ConvNeXtStage(**sizes, patch=patch, pool=pool, kernel=kernel)

    def _size(self, carriers: _Carriers, name: str, expected: str) -> int:
        size = most_said(self.votes(carriers))
        if size is None:
            raise self.wrong(name, expected)
        return size

    def _blocks(self) -> int:
        """How many follow each other with most of their tensors; always odd, as theirs are.

        Whole skips count as well, so that a block that is missing is noticed.
        """
        tensors = Counter(int(match[1]) for match in map(_IN_BLOCK.match, self.shapes) if match)
        most = max(tensors.values(), default=0)
        blocks = run_length({k for k, found in tensors.items() if 2 * found > most})
        halves = Counter(int(match[1]) for match in map(_SKIP.fullmatch, self.shapes) if match)
        skips = run_length({k for k, found in halves.items() if found == 2})
        return max(2 * skips + 1, blocks) // 2 * 2 + 1


def most_said(votes: Iterable[int]) -> int | None:
    """What most say, the first of them when they are even."""
    return next((value for value, _ in Counter(votes).most_common(1)), None)


def root_of(square: int) -> int:
    """The side of a square, 0 where it is none."""
    side = math.isqrt(square)
    return side if side * side == square else 0


def run_length(numbers: Collection[int]) -> int:
    """How many there are from 0 on without a gap."""
    return next(k for k in count() if k not in numbers)
