"""Keys: what two engines must have in common to stand for each other."""

from dataclasses import replace

import pytest

from export.compilers.graphs import GraphKeeper
from export.compilers.keys import key_of
from export.graph.precision import Precision

SOURCES = {"denoiser.safetensors": "0" * 64}


class Timed(GraphKeeper):
    """One that times kernels on a GPU."""

    made_with = {"gpu": "NVIDIA L4"}  # noqa: RUF012 - of a class for tests


@pytest.fixture
def key(tmp_path, onnx_options):
    """Of a build as usual, but for what is given."""
    (graph := tmp_path / "graph.onnx").write_bytes(b"graph")

    def found(*, sources=SOURCES, compiler=None, content=b"graph", **options):
        graph.write_bytes(content)
        asked = replace(onnx_options, **options)
        return key_of(sources, [graph], compiler or GraphKeeper(), asked)

    return found


def test_the_same_has_the_same_key(key):
    assert key() == key()


@pytest.mark.parametrize(
    "other",
    [
        {"sources": {"denoiser.safetensors": "1" * 64}},
        {"content": b"another graph"},
        {"precision": Precision.FP16},
        {"buckets": (1, 2)},
        {"workspace_mib": 64},
        {"arch": "sm80"},
        {"compiler": Timed()},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_decides_the_engine_changes_the_key(key, other):
    assert key(**other) != key()
