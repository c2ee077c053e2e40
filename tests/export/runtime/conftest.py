"""Bundles small enough to sample within a test, with networks on which everything has effect."""

import hashlib
import weakref

import onnx
import pytest
import torch
from onnx import parser

from export.graph.parts import denoiser_parts
from export.graph.precision import Precision
from export.graph.trace import to_onnx
from export.runtime.bindings import Binding, Profile
from export.runtime.plan import PlanFault
from model.autoencoder import load_autoencoder
from model.bundle import (
    DENOISER,
    Bundle,
    load_bundle,
    put_bundle,
    put_files,
    read_manifest,
    write_bundle,
    write_manifest,
)
from model.denoisers.build import build_denoiser
from model.denoisers.official import from_state_dict
from model.specs.manifest import EngineEntry
from model.specs.process import (
    DiscreteScheduleSpec,
    LatentsSpec,
    Prediction,
    ProcessSpec,
    SamplingDefaults,
)
from model.specs.recipe import Recipe
from model.specs.text import MiniLMSpec
from model.text.open import open_encoder
from model.text.prompts import Prompts

COMMON = {
    "description": "for tests",
    "licence": "Apache-2.0",
    "training": {"steps": 1, "batch": 1, "optimiser": {"rate": 1e-3}},
}
PROCESS = {
    "codec": {"kind": "pixels"},
    "schedule": {"kind": "cosine"},
    "prediction": "velocity",
    "t_min": 0.01,
    "t_max": 0.99,
}

COUNTS = (
    "plan_bytes",
    "td_norms",
    "td_norms_single_kernel",
    "attentions",
    "attentions_fused",
)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    recipe = Recipe.model_validate(
        COMMON
        | {
            "id": "tiny",
            "data": {"kind": "emoji", "concepts": ["a", "b", "c"], "size": 16},
            "network": {
                "kind": "dimr",
                "size": 8,
                "channels": 12,
                "classes": 3,
                "stages": [
                    {"kind": "transformer", "dim": 32, "blocks": 3, "hidden": 64, "heads": 2}
                    | {"patch": 2},
                    {"kind": "convnext", "dim": 24, "blocks": 3, "hidden": 48, "kernel": 3},
                ],
            },
            "process": PROCESS | {"codec": {"kind": "pixels", "factor": 2}},
        }
    )
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_bundle(folder, recipe, trained(recipe, 0.05), ("a", "b", "c"), steps=0)
    return load_bundle(folder)


@pytest.fixture(scope="session")
def layered_bundle(tmp_path_factory):
    """Prompts to images of 8, 16 and 32 pixels; the last data prediction is the image."""
    recipe = Recipe.model_validate(
        COMMON
        | {
            "id": "tiny-layered",
            "data": {"kind": "captioned-emoji", "concepts": ["a", "b"], "size": 32},
            "network": {
                "kind": "layered",
                "scales": [8, 16, 32],
                "core": [
                    {"width": 16, "blocks": 1},
                    {"width": 16, "blocks": 1, "attention": True},
                ],
                "middle": 1,
                "outer": [{"width": 8, "blocks": 1}, {"width": 8, "blocks": 1}],
                "head_width": 8,
                "embedding": 16,
                "text": {"width": 384, "tokens": 6},
            },
            "process": PROCESS | {"scales": {"reference": 8}},
            "text": {"kind": "minilm"},
            "sampling": {"final": "clean"},
        }
    )
    prompts = Prompts(open_encoder(MiniLMSpec()), 6)
    folder = tmp_path_factory.mktemp("bundles") / "tiny-layered"
    write_bundle(folder, recipe, trained(recipe, 0.0), (), steps=0, prompts=prompts)
    return load_bundle(folder)


@pytest.fixture(scope="session")
def t5_bundle(tmp_path_factory, t5_encoder):
    """Prompts that a pretrained encoder reads, to images of 8 pixels."""
    recipe = Recipe.model_validate(
        COMMON
        | {
            "id": "tiny-t5",
            "data": {"kind": "captioned-emoji", "concepts": ["a", "b"], "size": 32},
            "network": {
                "kind": "layered",
                "scales": [8],
                "core": [{"width": 16, "blocks": 1, "attention": True}],
                "middle": 1,
                "head_width": 8,
                "embedding": 16,
                "text": {"width": 16, "tokens": 5},
            },
            "process": PROCESS | {"scales": {"reference": 8}},
            "text": {"kind": "transformers", "source": "tiny-t5"},
            "sampling": {"final": "clean"},
        }
    )
    folder = tmp_path_factory.mktemp("bundles") / "tiny-t5"
    prompts = Prompts(t5_encoder, 5)
    write_bundle(folder, recipe, trained(recipe, 0.0), (), steps=0, prompts=prompts)
    return load_bundle(folder)


def trained(recipe, mean):
    """A network none of whose parts is as it starts."""
    torch.manual_seed(0)
    network = build_denoiser(recipe.network)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, mean, 0.15)
    return network


@pytest.fixture
def latent_bundle(tiny_bundle, state_dict, autoencoder_folder):
    network = from_state_dict(state_dict, num_heads=4).requires_grad_(requires_grad=False)
    spec = LatentsSpec()
    process = ProcessSpec(
        codec=spec,
        schedule=DiscreteScheduleSpec(),
        prediction=Prediction.NOISE,
        t_min=0.001,
        t_max=1,
    )
    changes = {
        "sizes": (128,),
        "network": network.spec,
        "process": process,
        "sampling": SamplingDefaults(grid="time"),
    }
    manifest = tiny_bundle.manifest.model_copy(update=changes)
    codec = load_autoencoder(str(autoencoder_folder), spec)
    return Bundle(manifest, tiny_bundle.labels, network, codec)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, tiny_bundle):
    """The tiny bundle on disk with an engine for ONNX Runtime."""
    (part,) = denoiser_parts(tiny_bundle.network)
    model = to_onnx(part, precision=Precision.FP32, max_batch=64)
    folder = tmp_path_factory.mktemp("with-onnx") / "tiny"
    return with_onnx(folder, tiny_bundle, {part.name: model})


@pytest.fixture(scope="session")
def layered_folder(tmp_path_factory, layered_bundle):
    """The layered bundle on disk, with graphs that predict half of what they are given."""
    graphs = {
        part.name: parser.parse_model(_halving(part))
        for part in denoiser_parts(layered_bundle.network)
    }
    return with_onnx(tmp_path_factory.mktemp("with-onnx") / "tiny-layered", layered_bundle, graphs)


def _halving(part):
    types = {torch.float32: "float", torch.bool: "bool"}
    states = [name for name in part.inputs if name.startswith("z")]

    def declared(name, like):
        sides = ", ".join(("N", *map(str, like.shape[1:])))
        return f"{types[like.dtype]}[{sides}] {name}"

    inputs = ", ".join(declared(name, value) for name, value in part.inputs.items())
    pairs = list(zip(part.outputs, states, strict=True))
    outputs = ", ".join(declared(name, part.inputs[state]) for name, state in pairs)
    lines = "\n".join(f"{name} = Mul ({state}, half)" for name, state in pairs)
    return (
        f'<ir_version: 10, opset_import: ["": 23]> g ({inputs}) => ({outputs}) '
        f"{{ half = Constant <value_float = 0.5> ()\n{lines} }}"
    )


def with_onnx(folder, bundle, graphs):
    """Write a bundle with engines, as `dimr-export build` does."""
    encoder = None if bundle.prompts is None else bundle.prompts.encoder
    manifest = bundle.manifest.model_copy(update={"files": {}})
    put_bundle(folder, manifest, bundle.labels, bundle.network.state_dict(), None, encoder)
    manifest = read_manifest(folder)
    files, entries = {}, []
    for part, model in graphs.items():
        file = f"engines/onnx-fp32/{part}.onnx"
        files[file] = model.SerializeToString(deterministic=True)
        entries.append(
            EngineEntry(
                part=part,
                backend="onnx",
                precision="fp32",
                arch=None,
                library=f"onnx {onnx.__version__}",
                key=hashlib.sha256(files[file]).hexdigest(),
                sources={DENOISER: manifest.files[DENOISER].sha256},
                batch_buckets=(1, 2, 4, 8, 16),
                report=dict.fromkeys(COUNTS, 0),
                file=file,
            )
        )
    (folder / "engines" / "onnx-fp32").mkdir(parents=True)
    listed = put_files(folder, manifest, files)
    write_manifest(folder, listed.model_copy(update={"engines": tuple(entries)}))
    return folder


class CpuContext:
    """Computes by a PyTorch module on the memory that it is bound to."""

    def __init__(self, plan, capturable):
        self._plan = plan
        self._places = {}
        self.capturable = capturable

    def bind(self, name, tensor):
        self._places[name] = tensor

    def enqueue(self):
        if self._plan.broken:
            raise PlanFault("the library refuses a call")
        given = [self._places[name] for name in self._plan.part.inputs]
        results = self._plan.part.module(*given)
        for name, result in zip(self._plan.part.outputs, results, strict=True):
            self._places[name].copy_(result)


class CpuPlan:
    """What TensorRT does with a plan, done by PyTorch."""

    scratch_bytes = 1000

    def __init__(self, part, buckets=(1, 2, 4), *, capturable=True, broken=False):
        self.part = part
        self.broken = broken
        self.capturable = capturable
        self.inputs = {name: Binding.like(value) for name, value in part.inputs.items()}
        with torch.inference_mode():
            results = part.module(*part.inputs.values())
        self.outputs = {n: Binding.like(v) for n, v in zip(part.outputs, results, strict=True)}
        self.profiles = [Profile(1, most, most) for most in buckets]
        self.contexts = []
        self.alive: weakref.WeakSet[CpuContext] = weakref.WeakSet()

    def context(self, profile, scratch):
        self.contexts.append((profile, scratch))
        context = CpuContext(self, self.capturable)
        self.alive.add(context)
        return context


class Recorder:
    """Counts what is captured, and repeats it."""

    def __init__(self):
        self.captured = 0

    def capture(self, run):
        self.captured += 1
        return run(), run


@pytest.fixture
def cpu_plan():
    return CpuPlan


@pytest.fixture
def recorder():
    return Recorder()
