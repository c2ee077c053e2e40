"""Three plain drawings in two styles, an untrained bundle that names them, invented Inceptions."""

import hashlib
import importlib
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from model.bundle import write_bundle
from model.data.emoji.index import INDEX_NAME, Concept, Index, Sheet, dump_index
from model.data.emoji.mosaic import encode_sheet, join_tiles
from model.denoisers.build import build_denoiser
from model.denoisers.dimr import DiMR
from model.evaluation.inception import CLASSES, POOL, SPATIAL, Features, extractors
from model.specs.recipe import Recipe

KEYS = ("61", "62", "63")
STYLE_DIFFERENCE = 20  # levels of every dark pixel


def drawings(dark):
    """A dark top, a dark left and a red square, each (16, 16, 3)."""
    tiles = np.full((3, 16, 16, 3), 255, dtype=np.uint8)
    tiles[0, :8] = dark
    tiles[1, :, :8] = dark
    tiles[2, 4:12, 4:12, 1:] = dark
    return tiles


def write_drawings(folder, names):
    """A data set of the three drawings, whose names and other spellings are given by key."""
    folder.mkdir()
    sheets = []
    for style, dark in (("plain", 0), ("pale", STYLE_DIFFERENCE)):
        content = encode_sheet(join_tiles(drawings(dark), 2))
        (folder / f"{style}.webp").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        sheets.append(Sheet(style, f"{style}.webp", digest, columns=2, keys=KEYS))
    concepts = tuple(
        Concept(key, name, "g", "s", tuple(others))
        for key, (name, *others) in zip(KEYS, names, strict=True)
    )
    (folder / INDEX_NAME).write_text(dump_index(Index(16, concepts, tuple(sheets))))
    (folder / "NOTICE").write_text("Drawn by nobody, free for all.\n")
    return folder


@pytest.fixture
def data_folder(tmp_path):
    return write_drawings(tmp_path / "data", (("a",), ("b",), ("c",)))


@pytest.fixture
def named_folder(tmp_path):
    """The drawings by the names of things that a prompt model may be asked for."""
    names = (("red apple", "apple"), ("frog",), ("banana",))
    return write_drawings(tmp_path / "named", names)


@pytest.fixture
def bundle_folder(tiny_recipe, tmp_path):
    network = DiMR(tiny_recipe.network)
    return write_bundle(tmp_path / "bundle", tiny_recipe, network, ("a", "b", "c"), steps=6)


@pytest.fixture
def prompt_bundle_folder(layered_recipe, prompts, tmp_path):
    """A prompt model of two scales, 8 and 16, on which prompts have an effect."""
    values = layered_recipe.model_dump()
    values["data"] |= {"concepts": ["red apple", "frog", "banana"], "size": 16}
    values["network"] |= {"scales": [8, 16], "outer": values["network"]["outer"][:1]}
    recipe = Recipe.model_validate(values)
    network = build_denoiser(recipe.network)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.02, 0.3, generator=generator)
    return write_bundle(tmp_path / "prompted", recipe, network, (), steps=6, prompts=prompts)


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory):
    """Random weights in the format of the published ones; a filter weighs all its inputs alike."""
    folder = tmp_path_factory.mktemp("inception")
    torch.save({}, folder / "none.pth")
    with extractors() as module:
        original = module.FeatureExtractorInceptionV3
        # Keeps what its constructor drew.
        untrained = type("Untrained", (original,), {"load_state_dict": lambda *_: None})
        network = untrained("", ["2048"], feature_extractor_weights_path=folder / "none.pth")
    generator = torch.Generator().manual_seed(0)
    weights = network.state_dict()
    for name, value in weights.items():
        if value.ndim > 1:
            gains = torch.randn(len(value), *(1,) * (value.ndim - 1), generator=generator)
            weights[name] = (2.5 / value[0].numel() * gains).expand(value.shape)
    torch.save(weights, folder / "weights.pth")
    return folder / "weights.pth"


class Projection:
    """A stand-in for Inception: fixed random projections of the mean colours of 4 x 4 places."""

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        self._maps = [torch.randn(48, w, generator=generator) for w in (POOL, SPATIAL, CLASSES)]
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        places = torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 4).flatten(1)
        return Features(*(places @ projection for projection in self._maps))


@pytest.fixture
def projection():
    return Projection()


@pytest.fixture(scope="session")
def fidelity():
    """The foreign library's metrics; nothing that they compute touches torchvision."""
    names = {
        "torchvision": (),
        "torchvision.datasets": ("CIFAR10", "STL10", "CIFAR100"),
        "torchvision.transforms": ("functional",),
        "torchvision.transforms.functional": (),
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, contents in names.items():
            stand_in = ModuleType(module)
            for name in contents:
                setattr(stand_in, name, type(name, (), {}))
            patch.setitem(sys.modules, module, stand_in)
        return {
            name: importlib.import_module(f"torch_fidelity.metric_{name}")
            for name in ("fid", "isc", "prc")
        }


@pytest.fixture
def pictures():
    """Random pictures, uint8 (N, 16, 16, 3), each of a colour of its own."""

    def draw(count, seed=0, side=16):
        source = np.random.default_rng(seed)
        base = source.integers(0, 200, (count, 1, 1, 3))
        return (base + source.integers(0, 56, (count, side, side, 3))).astype(np.uint8)

    return draw
