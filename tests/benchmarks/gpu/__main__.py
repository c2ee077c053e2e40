"""One section in a process of its own: `python -m tests.benchmarks.gpu SECTION ...`.

`python -m tests.benchmarks gpu` starts it; what crashes or hangs here costs that run one section.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.benchmarks.gpu.sections import SECTIONS, carry_out
from tests.benchmarks.gpu.setting import Setting, ceilings_of


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the section's JSON goes")
    parser.add_argument("--scratch", type=Path, required=True, help="shared with other sections")
    parser.add_argument(
        "--ends", type=float, required=True, help="when no case begins any more, by time.monotonic"
    )
    given = parser.parse_args(argv)
    ceilings = ceilings_of(given.scratch)
    device = torch.device(given.device)
    carry_out(given.section, Setting(device, given.out, given.scratch, ceilings, given.ends))
    return 0


if __name__ == "__main__":
    sys.exit(main())
