"""The bundles that come with the project: emoji-32 itself, in the precision that is harder.

A graph of it in float32 is built by the command's own test; families in float32, the layered one of
emoji-layered-64 among them, are small networks of the same modules in `test_families`.
"""

from pathlib import Path

import pytest

from export.graph.parts import parts_of
from export.graph.precision import Precision
from export.graph.trace import count_attentions, count_td_norms, to_onnx
from model.bundle import load_bundle

EMOJI_32 = Path(__file__).parents[3] / "deploy" / "models" / "emoji-32"
LARGEST = 16
FLOAT16 = 2e-3  # of the largest value: float16 rounds by 5e-4; 8e-4 was measured

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("graph")]


@pytest.fixture(scope="module")
def emoji(exported_part):
    """The denoiser of emoji-32 in float16."""
    (part,) = parts_of(load_bundle(EMOJI_32))
    assert part.name == "denoiser"
    return exported_part(part, to_onnx(part, precision=Precision.FP16, max_batch=LARGEST))


def test_a_shipped_model_gives_what_pytorch_gives(emoji):
    for count in (1, 3, LARGEST):
        assert emoji.error(count) < FLOAT16


def test_its_norms_and_attentions_are_counted(emoji):
    assert count_td_norms(emoji.model) == 16
    assert count_attentions(emoji.model) == 5
