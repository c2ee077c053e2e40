"""The gate of emoji-layered-64; that of emoji-32 is the build of the README (`test_readme`)."""

import shutil
from pathlib import Path

import pytest

from export.compilers.build import build
from export.compilers.compiler import open_compiler
from export.compilers.options import Options, Silence
from export.graph.precision import Precision

SHIPPED = Path(__file__).parents[3] / "deploy" / "models"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # a build takes all of a core
    pytest.mark.xdist_group("compilers"),
]


def test_every_attention_of_the_shipped_prompt_model_is_one_kernel(tmp_path):
    """Those of all its scales are in the part of the lowest; its norms do not depend on time."""
    folder = shutil.copytree(SHIPPED / "emoji-layered-64", tmp_path / "bundle")
    options = Options(arch="sm80", precision=Precision.FP16, buckets=(2,))
    compiler, names = open_compiler("tensorrt-rtx"), ("denoiser-1",)
    report = build(folder, compiler, options, Silence(), names=names).document()
    assert report["td_norms"] == 0
    assert report["attentions"] == report["attentions_fused"] == 10
