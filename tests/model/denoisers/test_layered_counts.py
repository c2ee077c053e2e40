"""What the parts of a layered network cost, against closed forms."""

import pytest

from model.denoisers.counting import count_network
from model.specs.files import read_recipe
from model.specs.layered import LayeredSpec, Level, TextInput

LAYERED, BASELINE = "layered-512", "layered-512-single"
EMBEDDING, TOKENS, TEXT_WIDTH, FREQUENCIES = 16, 4, 6, 256
HIGH, LOW, OUTER, BLOCKS = 16, 24, 8, 2
SPEC = LayeredSpec(
    scales=(8, 24),
    core=(Level(width=HIGH, blocks=1), Level(width=LOW, blocks=BLOCKS, attention=True)),
    middle=3,
    outer=(Level(width=OUTER, blocks=2),),
    head_width=8,
    embedding=EMBEDDING,
    text=TextInput(width=TEXT_WIDTH, tokens=TOKENS),
)


def residual(cells, width_in, width):
    skip = 0 if width_in == width else width_in * width
    return cells * (9 * width_in * width + 9 * width * width + skip) + EMBEDDING * 2 * width


def attention(cells, width):
    """To itself, then to the prompt's tokens and the learnt one."""
    tokens = TOKENS + 1
    own = cells * 4 * width**2 + 2 * cells**2 * width
    keys_and_values = tokens * EMBEDDING * 2 * width
    return own + cells * 2 * width**2 + keys_and_values + 2 * cells * tokens * width


def transformer(cells, width):
    return attention(cells, width) + EMBEDDING * 2 * width + cells * 8 * width**2


MACS = {
    "time": FREQUENCIES * EMBEDDING + EMBEDDING**2,
    "text": TOKENS * TEXT_WIDTH * EMBEDDING,
    "pooled": EMBEDDING**2,
    "core 8 in": 64 * 9 * 3 * HIGH,
    "core 8 down": residual(64, HIGH, HIGH),
    "core 4 down": BLOCKS * (residual(16, LOW, LOW) + attention(16, LOW)),
    "core 8 to 4": 16 * 9 * HIGH * LOW,
    "core 4 middle": 3 * transformer(16, LOW),
    "core 8 up": residual(64, 2 * HIGH, HIGH),
    "core 4 up": BLOCKS * (residual(16, 2 * LOW, LOW) + attention(16, LOW)),
    "core 4 to 8": 64 * 9 * LOW * HIGH,
    "24 in": 576 * 9 * 3 * OUTER,
    "8 to 24": 576 * 9 * HIGH * OUTER,
    "24 blocks": 2 * residual(576, 2 * OUTER, OUTER),
    "output 8": 64 * 9 * HIGH * 3,
    "output 24": 576 * 9 * OUTER * 3,
}


@pytest.fixture(scope="module")
def count():
    return count_network(SPEC)


def test_multiply_adds_of_every_part_follow_from_its_sizes(count):
    assert {part.name: part.macs for part in count.parts} == MACS


def test_parameters_of_parts_follow_from_their_sizes(count):
    found = {part.name: part.parameters for part in count.parts}
    assert found["24 in"] == 9 * 3 * OUTER + OUTER
    assert found["8 to 24"] == 9 * HIGH * OUTER + OUTER
    assert found["output 24"] == 2 * OUTER + 9 * OUTER * 3 + 3
    assert found["text"] == 2 * TEXT_WIDTH + (TEXT_WIDTH + 1) * EMBEDDING + EMBEDDING


def test_a_stage_is_a_scale_and_the_text_belongs_to_all(count):
    shared = {part.name for part in count.parts if part.stage is None}
    assert shared == {"time", "text", "pooled"}
    own = sum(MACS[name] for name in ("24 in", "8 to 24", "24 blocks", "output 24"))
    rest = sum(MACS[name] for name in shared)
    assert count.stage_macs == (sum(MACS.values()) - rest - own, own)


def test_a_lower_scale_costs_what_it_costs_alone(count):
    alone = count_network(SPEC.model_copy(update={"scales": (8,), "outer": ()}))
    assert alone.stage_macs == count.stage_macs[:1]


def test_a_prompt_of_more_tokens_costs_more_attention(count):
    longer = SPEC.model_copy(update={"text": TextInput(width=TEXT_WIDTH, tokens=TOKENS + 1)})
    keys_and_values, product = EMBEDDING * 2 * LOW, 2 * 16 * LOW
    readers = 2 * BLOCKS + 3
    assert count_network(longer).macs - count.macs == (
        readers * (keys_and_values + product) + TEXT_WIDTH * EMBEDDING
    )


@pytest.fixture(scope="module")
def named():
    """The 512 network and its baseline."""
    return [count_network(read_recipe(name).network) for name in (LAYERED, BASELINE)]


def test_the_layered_network_differs_from_its_baseline_in_ways_down_and_ways_in_and_out(named):
    layered, single = (
        {
            part.name.removeprefix("core ").replace("blocks", "up"): (part.parameters, part.macs)
            for part in count.parts
        }
        for count in named
    )
    assert single.keys() - layered.keys() == {"512 down", "256 down", "512 to 256", "256 to 128"}
    assert layered.keys() - single.keys() == {"128 in", "256 in", "output 128", "output 256"}
    assert all(layered[part] == single[part] for part in layered.keys() & single.keys())


def test_the_layered_network_takes_seven_eighths_of_its_baseline(named):
    layered, single = named
    assert layered.macs / single.macs == pytest.approx(0.8773, abs=1e-4)
