import json
import shutil
import sys

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from model.specs.text import TransformersSpec
from model.text.encoder import EncoderRefused
from model.text.pretrained import open_pretrained, pretrained_at
from model.text.prompts import Prompts


def opened(folder):
    return open_pretrained(TransformersSpec(source=str(folder)))


@torch.no_grad()
def test_states_of_a_t5_are_its_encoders_last_ones(t5, t5_folder):
    encoded = opened(t5_folder).encode("Red apple", 8)
    expected = t5.encoder(input_ids=torch.tensor([[4, 6, 3]])).last_hidden_state[0]
    torch.testing.assert_close(encoded.states, expected)
    assert encoded.length == 3


@torch.no_grad()
def test_states_of_a_clip_are_its_text_sides_last_ones(clip, clip_folder):
    encoded = opened(clip_folder).encode("Red apple", 6)
    expected = clip.text_model(input_ids=torch.tensor([[2, 4, 6, 3]])).last_hidden_state[0]
    torch.testing.assert_close(encoded.states, expected)
    assert encoded.length == 4


def test_the_text_side_of_a_clip_may_come_alone(clip, clip_folder, tmp_path):
    alone = tmp_path / "alone"
    clip.text_model.save_pretrained(alone)
    assert json.loads((alone / "config.json").read_text())["model_type"] == "clip_text_model"
    shutil.copy(clip_folder / "tokenizer.json", alone)
    whole, half = (opened(folder).encode("red car", 6) for folder in (clip_folder, alone))
    torch.testing.assert_close(half.states, whole.states, rtol=0, atol=0)


@pytest.fixture(params=["t5_folder", "clip_folder"])
def folder(request):
    """Of either family."""
    return request.getfixturevalue(request.param)


def test_the_identity_is_a_name_a_hash_and_a_width(folder):
    identity = opened(folder).identity
    assert identity.encoder == TransformersSpec(source=folder.name)
    assert (len(identity.sha256), identity.width) == (64, 8)


def test_the_identity_knows_no_path(folder, tmp_path, monkeypatch):
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
    assert opened(moved).identity == opened(folder).identity
    monkeypatch.chdir(moved)
    assert opened(".").identity == opened(folder).identity


def test_weights_in_half_precision_are_run_in_float32(folder):
    for path in folder.glob("*.safetensors"):
        save_file({name: value.half() for name, value in load_file(path).items()}, path)
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config))
    assert opened(folder).encode("red", 6).states.dtype == torch.float32


def test_a_prompt_that_is_cut_off_keeps_its_end(folder):
    encoder = opened(folder)
    (whole, cut) = (encoder.encode(p, 3) for p in ("red", "red apple tree"))
    tokens = len(whole.states)
    again = encoder.encode("red apple tree", tokens)
    torch.testing.assert_close(again.states, whole.states, rtol=0, atol=0)
    assert again.length == cut.length == whole.length + 2


@pytest.mark.parametrize("prompt", ["", "\U0001f34e", "x" * 4000, "red " * 1000, "\ud83c\x00\x1b"])
def test_any_text_has_states(folder, prompt):
    states, mask = Prompts(opened(folder), 6).states([prompt])
    assert states.isfinite().all()
    assert mask.any()


def test_a_prompt_has_the_same_bits_whatever_it_is_asked_with(folder):
    asked = ["red apple", "", "green car"]
    together, _ = Prompts(opened(folder), 6).states(asked)
    for row, prompt in enumerate(asked):
        alone, _ = Prompts(opened(folder), 6).states([prompt])
        torch.testing.assert_close(together[row], alone[0], rtol=0, atol=0)


def test_a_clip_reads_no_more_tokens_than_it_has_positions(clip_folder):
    with pytest.raises(EncoderRefused, match="tokens: got 7; allowed: at most 6"):
        Prompts(opened(clip_folder), 7)


def test_a_t5_reads_as_many_tokens_as_it_is_asked_to(t5_folder):
    _, mask = Prompts(opened(t5_folder), 700).states(["red " * 1000])
    assert mask.sum() == 700


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop_a_tensor(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["encoder.final_layer_norm.weight"]
    save_file(weights, path)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda f: edit(f / "config.json", model_type="bert"), "got 'bert'; allowed: t5, clip"),
        (lambda f: (f / "config.json").write_text("{}"), "model_type: got None; allowed: t5, clip"),
        (lambda f: edit(f / "config.json", d_model="x"), "config.json: .*d_model"),
        (
            lambda f: edit(f / "config.json", d_ff=24),
            r"do not fit: .*wi\.weight is \[16, 8\], and \[24, 8\] by",
        ),
        (lambda f: truncate(f / "model.safetensors"), "model.safetensors cannot be read"),
        (drop_a_tensor, "1 tensors do not fit: .*final_layer_norm.weight is missing"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json cannot be used"),
        (lambda f: edit(f / "tokenizer.json", post_processor=None), "no token ends every prompt"),
        (lambda f: edit(f / "config.json", vocab_size=5), "has a token 8; allowed: below 5"),
    ],
    ids=["family", "no family", "type", "misfit", "cut", "lacking", "tokens", "end", "words"],
)
def test_an_encoder_that_cannot_be_used_is_refused_in_one_line(t5_folder, harm, named):
    harm(t5_folder)
    with pytest.raises(EncoderRefused, match=named) as refused:
        opened(t5_folder)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("text encoder '")


def test_loading_says_nothing(folder, capfd):
    opened(folder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("source", ["nowhere", "/no/such/folder", "a/b/c", "a b/c"])
def test_a_source_that_is_neither_folder_nor_repository_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncoderRefused, match=r"no such folder; allowed: .* OWNER/NAME"):
        opened(source)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The folder where the Hub's files are kept, without a way to fetch more."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def test_a_repository_of_the_hub_is_opened_by_its_name(hub, t5_folder):
    repository, commit = hub / "models--someone--tiny", "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(t5_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    identity = opened("someone/tiny").identity
    assert identity.encoder.source == "someone/tiny"
    assert identity.sha256 == opened(t5_folder).identity.sha256


def test_a_repository_that_cannot_be_fetched_is_refused(hub):
    with pytest.raises(EncoderRefused, match="'no/such': cannot be fetched from the Hub: "):
        opened("no/such")


@pytest.mark.parametrize("package", ["huggingface_hub", "tokenizers", "transformers"])
def test_an_absent_package_is_named(t5_folder, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EncoderRefused, match=rf"'x': {package} is not .*\[encoders\]"):
        pretrained_at(t5_folder, TransformersSpec(source="x"))
