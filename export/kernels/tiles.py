"""How rows of channels are dealt to programs: by class of row length, not by length.

One compiled kernel serves every width of its class. A tile is `rows` x `block` channels of rows of
one sample, so that the time-dependent weights of a channel are evaluated once for all its rows.
"""

from dataclasses import dataclass

LONGEST_WHOLE = 4096  # channels; beyond, a row is walked in blocks and read twice
LONG_BLOCK = 1024
ELEMENTS = 4096  # of a tile: 32 in each of 128 threads
MOST_ROWS = 64
CHANNELS, SAMPLES = 64, 16  # of a tile of the parameters' gradients


@dataclass(frozen=True, slots=True)
class Tile:
    """A class of row length.

    Attributes:
        rows: rows of one sample that a program takes at a time, a power of two.
        block: channels that it takes at a time, a power of two.
        whole: whether `block` covers the row.
        tiles_a_program: of a backward pass; the more, the fewer partial sums to store.
        warps: of 32 threads.
    """

    rows: int
    block: int
    whole: bool
    tiles_a_program: int
    warps: int = 4

    @property
    def name(self) -> str:
        """What tells classes apart in the names of compiled files."""
        return f"{'whole' if self.whole else 'long'}{self.block}"

    def tiles(self, rows_per_sample: int) -> int:
        """Tiles that a sample is cut into."""
        return -(-rows_per_sample // self.rows)


def tile_for(width: int) -> Tile:
    """The class of rows of `width` channels, at least 1."""
    if width > LONGEST_WHOLE:
        return Tile(ELEMENTS // LONG_BLOCK, LONG_BLOCK, whole=False, tiles_a_program=1)
    block = 1 << (width - 1).bit_length()
    return Tile(min(MOST_ROWS, ELEMENTS // block), block, whole=True, tiles_a_program=8)
