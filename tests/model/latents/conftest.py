"""A tiny autoencoder in the format of diffusers, and pictures for it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from model.latents.__main__ import main


@pytest.fixture(scope="session")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Randomly initialised: latents of 2 channels, 4 pixels a cell each way."""
    folder = tmp_path_factory.mktemp("autoencoder")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(4, 4, 4),
            layers_per_block=1,
            latent_channels=2,
            norm_num_groups=2,
        ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def _pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for k in range(11):
        path = folder / ("ant" if k < 5 else "bee") / f"{k:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture
def pictures(_pictures: Path, tmp_path: Path) -> Path:
    """Class folders of 5 ants and 6 bees."""
    return Path(shutil.copytree(_pictures, tmp_path / "pictures"))


@pytest.fixture(scope="session")
def _latents(_pictures: Path, autoencoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latents") / "whole"
    assert main([*options(_pictures, autoencoder), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def latents(_latents: Path, tmp_path: Path) -> Path:
    """The pictures encoded at 16 px: shards of 4, 4 and 3."""
    return Path(shutil.copytree(_latents, tmp_path / "latents"))


def options(pictures: Path, autoencoder: Path) -> list[str]:
    words = "--size 16 --channels 2 --factor 4 --batch 3 --shard-size 4 --threads 2"
    return ["encode", str(pictures), "--autoencoder", str(autoencoder), *words.split()]


@pytest.fixture
def encode(pictures: Path, autoencoder: Path) -> list[str]:
    """The command that encodes the pictures, but for --out."""
    return options(pictures, autoencoder)


@pytest.fixture
def class_index(tmp_path: Path) -> Path:
    path = tmp_path / "names.json"
    path.write_text(json.dumps([{"name": "ant", "aliases": ["emmet"]}, {"name": "bee"}]))
    return path
