"""How many CPU threads the numerics may use."""

import torch


def limit_threads(threads: int) -> None:
    """Use at most this many threads for each operation of PyTorch in this process."""
    torch.set_num_threads(threads)
