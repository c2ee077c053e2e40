"""A checkpoint of the authors' implementation, and coders small enough for a test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import T5Config, T5EncoderModel

from model.specs.text import TransformersSpec
from model.text.pretrained import pretrained_at

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


@pytest.fixture(scope="session")
def t5_encoder(tmp_path_factory):
    """A T5 of one block that knows eight words."""
    folder = tmp_path_factory.mktemp("t5")
    words = ("<pad>", "</s>", "<unk>", "red", "green", "apple", "car", "tree")
    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    T5EncoderModel(T5Config(vocab_size=len(words), **sizes)).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return pretrained_at(folder, TransformersSpec(source="tiny-t5"))
