"""Small networks of every named architecture, each traced once a session."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from diffusers import AutoencoderKL
from pydantic import TypeAdapter
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from export.graph.parts import Decoder, Part, TokenStates, denoiser_parts
from export.graph.precision import Precision
from export.graph.trace import to_onnx
from export.parity.rounding import round_all
from model.denoisers.build import build_denoiser
from model.specs.files import read_recipe
from model.specs.networks import NetworkSpec

LARGEST = 16


@dataclass(frozen=True)
class Exported:
    """A part, its graph, and ONNX Runtime on it."""

    part: Part
    model: onnx.ModelProto
    session: onnxruntime.InferenceSession

    def rows(self, count: int) -> Mapping[str, torch.Tensor]:
        """Inputs of this many unlike rows."""
        generator = torch.Generator().manual_seed(count)
        return {
            name: _rows(name, example, count, generator, least=len({"ids"} & set(self.part.inputs)))
            for name, example in self.part.inputs.items()
        }

    def wanted(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """What PyTorch gives."""
        with torch.no_grad():
            wanted: tuple[torch.Tensor, ...] = self.part.module(*inputs.values())
        return wanted

    def found(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """What ONNX Runtime gives."""
        found = self.session.run(None, {name: value.numpy() for name, value in inputs.items()})
        return tuple(torch.from_numpy(value) for value in found)

    def error(self, count: int) -> float:
        """The largest difference at this many rows, of the largest value of an output."""
        inputs = self.rows(count)
        return max(
            ((f - w).abs().max() / w.abs().max()).item()
            for f, w in zip(self.found(inputs), self.wanted(inputs), strict=True)
        )


def _rows(name, example, count, generator, *, least):
    """Like the example; in the first row of a mask `least` tokens count, then one more each."""
    shape = (count, *example.shape[1:])
    if name == "t":
        return torch.linspace(0.02, 0.98, count)
    if name == "mask":
        return torch.arange(shape[1])[None] < least + torch.arange(count)[:, None] % shape[1]
    if example.dtype == torch.int64:
        return torch.randint(0, int(example.max()) + 1, shape, generator=generator)
    return torch.randn(shape, generator=generator)


@pytest.fixture(scope="session")
def exported():
    """Exported(...) of a family by name and precision."""

    @cache
    def traced(name: str, precision: Precision) -> Exported:
        part = _part(name)
        return _opened(part, to_onnx(part, precision=precision, max_batch=LARGEST))

    return traced


@pytest.fixture(scope="session")
def exported_part():
    """Exported(...) of a part and its graph."""
    return _opened


@pytest.fixture(scope="session")
def layered_parts():
    """All parts of a layered network."""
    return denoiser_parts(_network("layered-512"))


@pytest.fixture(scope="session")
def part_of():
    """Part of a family by name."""
    return _part


@pytest.fixture(scope="session")
def run():
    """A session of ONNX Runtime on a model."""
    return session_of


def _opened(part: Part, model: onnx.ModelProto) -> Exported:
    """With every float16 tensor rounded, which ONNX Runtime leaves out on a CPU."""
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    round_all(rounded)
    return Exported(part, model, session_of(rounded))


def session_of(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@cache
def _part(name: str) -> Part:
    match name:
        case "decoder":
            return Part(name, _scattered(Decoder(_autoencoder(), 0.2)), _latents(), ("image",))
        case "t5" | "clip":
            ids = torch.tensor([[39, 2, 3, 4, 5, 6]] * 2)
            inputs = {"ids": ids, "mask": torch.ones(2, 6, dtype=torch.bool)}
            module = TokenStates(_t5() if name == "t5" else _clip())
            return Part("text_encoder", _scattered(module), inputs, ("states",))
        case _:
            return denoiser_parts(_network(name))[-1]


def _network(name: str):
    sizes = _SMALL[name] if name in _SMALL else _shrunk(name)
    spec: Any = TypeAdapter(NetworkSpec).validate_python(sizes)
    return _scattered(build_denoiser(spec))


_TOKENS = {"kind": "transformer", "dim": 24, "blocks": 1, "hidden": 40, "heads": 3, "patch": 2}
_GRID = {"kind": "convnext", "dim": 20, "blocks": 1, "hidden": 28, "kernel": 3}
_IMAGE = {"size": 8, "channels": 3, "classes": 5}
_PLAIN = {**_IMAGE, "dim": 24, "heads": 3, "patch": 2}
_SMALL: Mapping[str, Mapping[str, Any]] = {
    "paper's text": {
        "kind": "dimr",
        **_IMAGE,
        "norm": "td-layernorm",
        "mlp": "gelu",
        "cascade": "concat",
        "features": "last",
        "stages": [_TOKENS, _GRID],
    },
    "time token": {
        "kind": "dimr",
        **_IMAGE,
        "norm": "rmsnorm",
        "time": "token",
        "cascade": "skips",
        "stages": [_TOKENS, {**_GRID, "blocks": 3}],
    },
    "adaln-zero": {
        "kind": "dimr",
        **_IMAGE,
        "norm": "layernorm",
        "time": "adaln-zero",
        "stages": [_TOKENS, _GRID],
    },
    "convolutions alone": {
        "kind": "dimr",
        **_IMAGE,
        "stages": [{**_GRID, "class_input": "added", "pool": 2}, _GRID],
    },
    "uvit": {"kind": "uvit", **_PLAIN, "blocks": 3},
    "uvit with td-ln": {"kind": "uvit", **_PLAIN, "blocks": 1, "time": "norm"},
    "uvit with adaln": {"kind": "uvit", **_PLAIN, "blocks": 1, "time": "adaln-zero"},
    "dit": {"kind": "dit", **_PLAIN, "blocks": 1},
}


def _shrunk(recipe: str) -> Mapping[str, Any]:
    """The network of a recipe, as deep as it must be and narrow, with odd widths."""
    sizes = read_recipe(recipe).network.model_dump()
    if sizes["kind"] == "layered":
        core = [{**level, "width": 16, "blocks": 1} for level in sizes["core"][-2:]]
        outer = [{**level, "width": 8, "blocks": 1} for level in sizes["outer"][:1]]
        small = {"scales": [8, 16], "core": core, "outer": outer, "middle": 1, "head_width": 8}
        return {**sizes, **small, "embedding": 24, "text": {"width": 20, "tokens": 5}}
    narrow = [{"dim": 27, "hidden": 35}, {"dim": 13, "hidden": 17}, {"dim": 11, "hidden": 9}]
    stages = [
        {**stage, **less, "blocks": 1} | ({"heads": 3} if index == 0 else {})
        for index, (stage, less) in enumerate(zip(sizes["stages"], narrow, strict=False))
    ]
    return {**sizes, "size": 8, "classes": 7, "stages": stages}


def _scattered(network):
    """With no parameter at the zero or one that it starts from."""
    generator = torch.Generator().manual_seed(0)
    network.eval().requires_grad_(requires_grad=False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def _autoencoder():
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )


def _latents():
    return {"z": torch.zeros(2, 4, 8, 8)}


def _t5():
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=40, feed_forward_proj="gated-gelu", **sizes))


def _clip():
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
    )
    return CLIPTextModel(config)
