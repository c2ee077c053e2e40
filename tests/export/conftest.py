"""A checkpoint of the authors' implementation, and an autoencoder small enough for a test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

FIXTURE = Path(__file__).parents[1] / "fixtures" / "official" / "dimr_two_branches.npz"


@pytest.fixture(scope="session")
def recorded():
    with np.load(FIXTURE) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture
def state_dict(recorded):
    prefix = "state_dict/"
    return {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}


@pytest.fixture(scope="session")
def autoencoder_folder(tmp_path_factory):
    """Latents of 4 channels, 8 pixels a cell: the sizes of Stable Diffusion's."""
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=2,
    )
    folder = tmp_path_factory.mktemp("autoencoder")
    autoencoder.save_pretrained(folder)
    return folder
