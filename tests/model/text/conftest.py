"""Tiny pretrained encoders with random weights, as the transformers library writes them."""

import shutil

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ("<pad>", "<unk>", "<s>", "</s>", "red", "green", "apple", "car", "tree")


def tokenizer(template):
    built = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    built.normalizer = normalizers.Lowercase()
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    built.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    built.enable_truncation(2)  # published files have such settings; cutting off is ours
    built.enable_padding(length=7)
    return built


@pytest.fixture(scope="session")
def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=12, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2, dropout_rate=0.5
    )
    return T5ForConditionalGeneration(config).eval()


@pytest.fixture(scope="session")
def clip():
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(1)
    layers = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2}
    text = {"vocab_size": 12, "max_position_embeddings": 6, "num_hidden_layers": 2}
    ends = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    vision = {"image_size": 8, "patch_size": 4, "num_hidden_layers": 1}
    config = CLIPConfig(text_config=layers | text | ends, vision_config=layers | vision)
    return CLIPModel(config).eval()


@pytest.fixture(scope="session")
def _t5_folder(t5, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders") / "tiny-t5"
    t5.save_pretrained(folder)
    tokenizer("$A </s>").save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def _clip_folder(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders") / "tiny-clip"
    clip.save_pretrained(folder, max_shard_size="4KB")
    tokenizer("<s> $A </s>").save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def t5_folder(_t5_folder, tmp_path):
    """A T5 in one file of weights; a test may harm it."""
    return shutil.copytree(_t5_folder, tmp_path / "tiny-t5")


@pytest.fixture
def clip_folder(_clip_folder, tmp_path):
    """A CLIP in several files of weights; a test may harm it."""
    return shutil.copytree(_clip_folder, tmp_path / "tiny-clip")
