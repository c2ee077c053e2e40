"""Captioned data: the same captions whoever reads them, and after every pause."""

import io
import tarfile
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.specs.recipe import Recipe
from model.training.data import CaptionedTensors, InMemory, open_data
from model.training.distributed import World
from model.training.readers import ByIndex, InSequence

ALONE = World(0, 1, torch.device("cpu"))
PAIR = [World(rank, 2, torch.device("cpu")) for rank in range(2)]
EMOJI = str(Path(__file__).parents[3] / "deploy" / "data" / "emoji")
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # 1 CPU


@pytest.fixture
def recipe_of(layered_recipe):
    """The layered recipe with other data and steps."""

    def build(data=None, *, steps=8):
        values = layered_recipe.model_dump(mode="json")
        values["data"] = data or values["data"]
        values["training"]["steps"] = steps
        return Recipe.model_validate(values)

    return build


@pytest.fixture
def image_recipe(recipe_of):
    return recipe_of({"kind": "captioned-images", "size": 32})


@pytest.fixture
def folder(tmp_path):
    """Pictures 0 to 11, each of one brightness and with captions that begin with its number."""
    root = tmp_path / "captioned"
    root.mkdir()
    for k in range(12):
        Image.new("RGB", (40, 36), (20 * k, 20 * k, 20 * k)).save(root / f"{k:02d}.png")
        captions = [f"{k} {word}" for word in ("owl", "fox", "cat")[: k % 3 + 1]]
        (root / f"{k:02d}.txt").write_text("\n".join(captions))
    return root


@pytest.fixture
def streamed(folder, tmp_path):
    """The same as three piped shards."""
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(3):
        with tarfile.open(shards / f"{number}.tar", "w") as archive:
            for path in sorted(folder.iterdir()):
                if int(path.stem) % 3 == number:
                    member = tarfile.TarInfo(path.name)
                    member.size = path.stat().st_size
                    archive.addfile(member, io.BytesIO(path.read_bytes()))
    return f"pipe:cat {shards}/{{0..2}}.tar"


def steps_of(data, count, start=0, position=None):
    examples = data.examples(start, position)
    found = list(islice(examples, count))
    examples.close()
    return found


def assert_same(one, other):
    assert [captions for _, captions in one] == [captions for _, captions in other]
    for (mine, _), (theirs, _) in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, atol=0, rtol=0)


def shared(data_of):
    """The steps of two processes, joined."""
    parts = zip(*(steps_of(data_of(world), 8) for world in PAIR), strict=True)
    return [(torch.cat([one, other]), mine + theirs) for (one, mine), (other, theirs) in parts]


def test_captioned_emoji_come_with_one_of_their_captions(recipe_of):
    data = open_data(recipe_of(), EMOJI, ALONE, workers=0)
    assert isinstance(data, InMemory)
    assert isinstance(data.tensors, CaptionedTensors)
    assert (data.classes, data.count) == ((), 6)
    for x0, captions in steps_of(data, 8):
        assert x0.shape == (4, 3, 32, 32)
        assert -1 <= x0.min() < x0.max() <= 1
        assert isinstance(captions, tuple)
        for image, caption in zip(x0, captions, strict=True):
            (place,) = [k for k, own in enumerate(data.tensors.x) if torch.equal(own, image)]
            assert caption in data.tensors.captions[place]


def test_the_bare_name_is_drawn_half_of_the_time(recipe_of):
    data = open_data(recipe_of(steps=200), EMOJI, ALONE, workers=0)
    drawn = Counter(caption for _, captions in data.examples(0, None) for caption in captions)
    assert drawn.total() == 800
    bare = drawn["star"] + drawn["red apple"]
    assert bare == pytest.approx(400, abs=70)  # five standard deviations
    assert {"a red apple", "red apple, flat style", "a star, noto style"} <= set(drawn)


def test_captions_in_memory_are_the_same_for_any_number_of_processes(recipe_of, captioned_data):
    def data_of(world=ALONE):
        return InMemory(captioned_data, recipe_of(), world)

    whole = steps_of(data_of(), 8)
    assert {"red apple", "an apple"} <= {caption for _, captions in whole for caption in captions}
    assert_same(shared(data_of), whole)
    assert_same(steps_of(data_of(), 3, start=5), whole[5:])


def test_a_captioned_folder_is_the_same_for_any_reader(image_recipe, folder):
    def data_of(world=ALONE, workers=0):
        return open_data(image_recipe, str(folder), world, workers=workers)

    data = data_of()
    assert isinstance(data, ByIndex)
    assert (data.classes, data.count) == ((), 12)
    whole = steps_of(data, 8)
    for x0, captions in whole:
        assert x0.shape == (4, 3, 32, 32)
        brightness = ((x0.mean(dim=(1, 2, 3)) + 1) * 127.5 / 20).round().long().tolist()
        assert [int(caption.split()[0]) for caption in captions] == brightness
    assert_same(steps_of(data_of(workers=2), 8), whole)
    assert_same(steps_of(data_of(), 3, start=5), whole[5:])
    assert_same(shared(data_of), whole)


def test_another_caption_is_drawn_at_another_visit(recipe_of, folder):
    recipe = recipe_of({"kind": "captioned-images", "size": 32}, steps=60)
    data = open_data(recipe, str(folder), ALONE, workers=0)
    drawn = {caption for _, captions in data.examples(0, None) for caption in captions}
    assert len(drawn) == 4 * (1 + 2 + 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_captioned_stream_continues_where_it_was(image_recipe, streamed, workers):
    def data_of():
        return open_data(image_recipe, streamed, ALONE, workers=workers)

    data = data_of()
    assert isinstance(data, InSequence)
    whole = steps_of(data, 8)
    assert len({caption for _, captions in whole[:3] for caption in captions}) == 12
    first = data_of()
    examples = first.examples(0, None)
    before = list(islice(examples, 5))
    position = [list(share) for share in first.position]  # as JSON gives it back
    examples.close()
    assert_same(before + steps_of(data_of(), 3, start=5, position=position), whole)


def test_flips_are_an_option(recipe_of, folder):
    random = np.random.default_rng(0)
    for path in folder.glob("*.png"):
        Image.fromarray(random.integers(0, 256, (36, 40, 3), dtype=np.uint8)).save(path)

    def images(**option):
        recipe = recipe_of({"kind": "captioned-images", "size": 32, **option})
        steps = steps_of(open_data(recipe, str(folder), ALONE, workers=0), 8)
        return torch.cat([x0 for x0, _ in steps])

    straight, flipped = images(), images(flip=True)
    mirrored = 0
    for image, original in zip(flipped, straight, strict=True):
        assert torch.equal(image, original) != torch.equal(image, original.flip(-1))
        mirrored += torch.equal(image, original.flip(-1))
    assert 6 <= mirrored <= 26


def test_a_class_index_is_refused_for_captions(image_recipe, folder, tmp_path):
    index = tmp_path / "names.txt"
    index.write_text("owl\n")
    with pytest.raises(ValueError, match=r"^--class-index: got .*names.txt for captioned-images; "):
        open_data(image_recipe, str(folder), ALONE, workers=0, class_index=index)
