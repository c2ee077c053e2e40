"""Examples read in the background: the same whatever reads them, and after every pause."""

import signal
from itertools import islice

import numpy as np
import pytest
import torch

from model.autoencoder import draw_latent
from model.data.errors import DataError, SharesRefused
from model.data.images.locations import open_images
from model.data.images.sources import ImageSource, ImageStream
from model.data.order import batch_indices
from model.data.source import Example
from model.specs.data import ImagesData, OnBad
from model.training.distributed import World
from model.training.readers import ByIndex, InSequence, ShareEmpty

ALONE = World(0, 1, torch.device("cpu"))
PAIR = [World(rank, 2, torch.device("cpu")) for rank in range(2)]
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # 1 CPU
IMAGES = {"kind": "images", "size": 16, "flip": True}


@pytest.fixture
def image_recipe(varied):
    return varied(data=IMAGES, network={"classes": 2}, steps=7, batch=4)


@pytest.fixture
def by_index(pictures, image_recipe):
    def build(world=ALONE, workers=0, on_bad=OnBad.STOP):
        source = open_images(str(pictures), ImagesData(size=16, flip=True, on_bad=on_bad))
        assert isinstance(source, ImageSource)
        return ByIndex(source, image_recipe, world, workers)

    return build


@pytest.fixture
def in_sequence(shards, image_recipe):
    location, names = shards

    def build(world=ALONE, workers=0, on_bad=OnBad.STOP):
        spec = ImagesData(size=16, flip=True, on_bad=on_bad)
        stream = open_images(location, spec, class_index=names)
        assert isinstance(stream, ImageStream)
        return InSequence(stream, image_recipe, world, workers)

    return build


def steps_of(data, count, start=0, position=None):
    examples = data.examples(start, position)
    found = list(islice(examples, count))
    examples.close()
    return found


def assert_same(one, other):
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=0, rtol=0)


def joined(parts):
    """The steps of a single process, from those of several."""
    return [tuple(torch.cat(tensors) for tensors in zip(*step, strict=True)) for step in parts]


def test_the_order_of_an_index_follows_from_seed_and_step(by_index, pictures, image_recipe):
    labels = [label for _, label in steps_of(by_index(), 7)]
    assert len(labels) == 7
    for step, found in enumerate(labels):
        chosen = batch_indices(step, 4, 12, image_recipe.training.seed)
        torch.testing.assert_close(found, (chosen >= 6).long())


def test_reading_ahead_and_starting_late_change_nothing(by_index):
    whole = steps_of(by_index(), 7)
    assert_same(steps_of(by_index(workers=2), 7), whole)
    assert_same(steps_of(by_index(workers=2), 4, start=3), whole[3:])
    assert_same(steps_of(by_index(), 4, start=3), whole[3:])


def test_the_parts_of_two_processes_make_up_the_batch_of_one(by_index):
    whole = steps_of(by_index(), 7)
    parts = zip(*(steps_of(by_index(world), 7) for world in PAIR), strict=True)
    assert_same(joined(parts), whole)


def test_about_half_of_the_images_are_mirrored_and_no_image_always(by_index, image_recipe):
    unflipped = image_recipe.model_copy(update={"data": ImagesData(size=16)})
    plain = ByIndex(by_index().source, unflipped, ALONE, 0)
    mirrored = 0
    for (x, _), (straight, _) in zip(steps_of(by_index(), 7), steps_of(plain, 7), strict=True):
        for image, original in zip(
            torch.nn.functional.pixel_shuffle(x, 2),
            torch.nn.functional.pixel_shuffle(straight, 2),
            strict=True,
        ):
            assert torch.equal(image, original) != torch.equal(image, original.flip(-1))
            mirrored += torch.equal(image, original.flip(-1))
    assert 7 <= mirrored <= 21


class Moments:
    """Moments of five latents in memory."""

    classes = ("cat", "dog")
    aliases: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - never written to
    bad: dict[str, str] = {}  # noqa: RUF012 - never written to

    def __len__(self):
        return 5

    def __getitem__(self, index):
        random = np.random.default_rng(index)
        return Example(random.standard_normal((8, 8, 8)).astype(np.float32), index % 2)


def test_latents_are_drawn_anew_at_each_step_and_alike_for_any_reader(varied):
    recipe = varied(
        data={"kind": "latents"},
        network={"classes": 2, "channels": 4},
        process={"codec": {"kind": "latents"}},
        steps=6,
        batch=4,
    )
    whole = steps_of(ByIndex(Moments(), recipe, ALONE, 0), 6)
    assert_same(steps_of(ByIndex(Moments(), recipe, ALONE, 2), 6), whole)
    assert_same(steps_of(ByIndex(Moments(), recipe, ALONE, 0), 2, start=4), whole[4:])
    parts = zip(*(steps_of(ByIndex(Moments(), recipe, w, 0), 6) for w in PAIR), strict=True)
    assert_same(joined(parts), whole)

    drawn: dict[int, list[torch.Tensor]] = {}
    for step, (x0, _) in enumerate(whole):
        for index, latent in zip(batch_indices(step, 4, 5, 0).tolist(), x0, strict=True):
            drawn.setdefault(index, []).append(latent)
    for index, latents in drawn.items():
        moments = torch.from_numpy(Moments()[index].value)
        mean = draw_latent(moments, torch.zeros(4, 8, 8), 0.18215)
        for latent in latents:
            noise = (latent - mean) / (moments[4:] / 2).exp() / 0.18215
            assert abs(noise.mean()) < 0.3
            assert 0.8 < noise.std() < 1.2
        assert len(torch.stack(latents).flatten(1).unique(dim=0)) == len(latents) > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_continues_where_it_was(in_sequence, workers):
    whole = steps_of(in_sequence(workers=workers), 9)
    for stopped in (0, 1, 4, 7):
        first = in_sequence(workers=workers)
        examples = first.examples(0, None)
        before = list(islice(examples, stopped))
        position = [list(share) for share in first.position]  # as JSON gives it back
        examples.close()
        after = steps_of(
            in_sequence(workers=workers), 9 - stopped, start=stopped, position=position or None
        )
        assert_same(before + after, whole)


def test_every_example_of_a_stream_comes_once_an_epoch(in_sequence, by_index):
    first = {image.sum().item() for x, _ in steps_of(in_sequence(), 3) for image in x.abs()}
    images = {image.sum().item() for x, _ in steps_of(by_index(), 3) for image in x.abs()}
    assert {round(s, 2) for s in first} == {round(s, 2) for s in images}
    assert len(first) == 12


def test_two_processes_read_disjoint_shares_of_a_stream(in_sequence):
    parts = [[x for x, _ in steps_of(in_sequence(world), 4)] for world in PAIR]
    of_one, of_other = (
        {round(image.abs().sum().item(), 2) for x in part[:2] for image in x} for part in parts
    )
    assert not of_one & of_other


def test_a_stream_refuses_another_number_of_readers(in_sequence):
    with pytest.raises(ValueError, match=r"^--workers: got 0; allowed: 2, as the stream began"):
        next(in_sequence().examples(4, [[0, 8], [0, 8]]))


def test_more_readers_than_shards_are_refused(in_sequence):
    with pytest.raises(SharesRefused, match="got 4 processes for 3 shards"):
        next(in_sequence(PAIR[0]).stream.read(epoch=0, share=0, shares=4))
    with pytest.raises(DataError, match="got 4 processes for 3 shards"):
        steps_of(in_sequence(PAIR[0], workers=2), 1)


class Hollow:
    """A stream whose second share has nothing in it."""

    classes = ("cat", "dog")
    aliases: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - never written to
    bad: dict[str, str] = {}  # noqa: RUF012 - never written to

    def read(self, *, epoch, share, shares, start=0):
        picture = np.zeros((16, 16, 3), np.uint8)
        return iter([Example(picture, 0)] * (4 * (share == 0)))


def test_a_share_without_an_example_is_refused_and_not_waited_for(image_recipe):
    with pytest.raises(DataError, match="part 1 of 2 of the stream has no example; allowed: fewer"):
        steps_of(InSequence(Hollow(), image_recipe, PAIR[1], 0), 1)
    assert str(ShareEmpty(1, 2)).startswith("--data: part 1 of 2")


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_named_in_one_line_by_whoever_reads(by_index, pictures, workers):
    path = pictures / "dog" / "8.png"
    path.write_bytes(b"no picture")
    with pytest.raises(DataError) as refusal:
        steps_of(by_index(workers=workers), 7)
    assert str(refusal.value).startswith(f"{path} cannot be used: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_left_out_is_logged_and_counted_once(by_index, pictures, workers, caplog):
    for name in ("cat/1.png", "dog/8.png"):
        (pictures / name).write_bytes(b"no picture")
    data = by_index(workers=workers, on_bad=OnBad.SKIP)
    assert len(steps_of(data, 7)) == 7
    assert data.left_out.keys() == {str(pictures / "cat/1.png"), str(pictures / "dog/8.png")}
    assert sorted(record.getMessage() for record in caplog.records) == sorted(
        f"example left out: {where}: {reason}" for where, reason in data.left_out.items()
    )


def test_a_bad_example_of_a_stream_is_named_and_its_place_taken(in_sequence, pictures, shards):
    whole = steps_of(in_sequence(workers=1), 5)
    archive = pictures.parent / "shards" / "1.tar"
    content = archive.read_bytes()
    picture = (pictures / "cat" / "4.png").read_bytes()
    archive.write_bytes(content.replace(picture, bytes(len(picture))))
    with pytest.raises(DataError, match=r"1\.tar:4 cannot be used: "):
        steps_of(in_sequence(workers=1), 5)
    data = in_sequence(workers=1, on_bad=OnBad.SKIP)
    assert len(steps_of(data, 5)) == len(whole)
    assert [where.rpartition("/")[2] for where in data.left_out] == ["1.tar:4"]


@pytest.mark.slow
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_saves_and_ends_those_that_read(
    write_recipe, launcher, pictures, steps_saved, tmp_path, asked
):
    recipe = write_recipe(data=IMAGES, network={"classes": 2}, steps=100_000)
    run = tmp_path / "run"
    process = launcher.start(recipe, run, "--workers", "2", data=pictures)
    launcher.wait_until(process, (run / "log.jsonl").is_file)
    readers = launcher.children(process)
    assert len(readers) == 2
    launcher.signal_group(process, asked)
    stopped = launcher.finished(process)
    assert stopped.returncode == 0, stopped.stderr
    assert "Traceback" not in stopped.stderr
    (step,) = steps_saved(run)
    assert stopped.stdout == f"stopped at step {step}; continue with --resume\n"
    assert not launcher.living(readers)
