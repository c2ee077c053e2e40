import pytest

from service.errors import PreviewNotReady
from service.queue import keys
from service.queue.previews import Preview, Previews


@pytest.fixture
def previews(redis) -> Previews:
    return Previews(redis)


@pytest.fixture
async def job(submit, worker):
    """A running job of three images with previews of the first two."""
    await submit(n=3)
    running = await worker.claim(["emoji"])
    assert await worker.store_preview(running, 0, 4, b"early")
    assert await worker.store_preview(running, 1, 5, b"other")
    return running


async def test_the_newest_preview_of_an_image_replaces_the_one_before(
    previews, worker, job, queue
) -> None:
    assert await worker.store_preview(job, 0, 9, b"late")

    assert await previews.present(job) == {0: 9, 1: 5}
    assert await previews.newest(job, 0) == Preview(b"late", 9)
    shown = [e for _, e in await queue.events(job.id) if e["type"] == "preview"]
    assert [(e["index"], e["calls_done"]) for e in shown] == [(0, 4), (1, 5), (0, 9)]


async def test_a_stored_image_takes_the_place_of_its_preview(previews, worker, job) -> None:
    assert await worker.store_image(job, 0, b"image")

    assert not await worker.store_preview(job, 0, 9, b"late")
    assert await previews.present(job) == {1: 5}
    with pytest.raises(PreviewNotReady, match="it is drawn already"):
        await previews.newest(job, 0)


@pytest.mark.parametrize("end", ["cancel", "fail", "finish", "requeue", "retry"])
async def test_previews_go_when_the_job_ends_or_is_given_back(
    end, previews, worker, job, queue, redis
) -> None:
    for index in range(3 if end == "finish" else 0):
        await worker.store_image(job, index, b"image")
    acts = {
        "cancel": lambda: queue.cancel(job.id),
        "fail": lambda: worker.fail(job, "broken"),
        "finish": lambda: worker.finish(job),
        "requeue": lambda: worker.requeue(job),
        "retry": lambda: worker.retry(job, "again"),
    }
    assert await acts[end]()

    assert not await worker.store_preview(job, 2, 9, b"stale")
    assert not await redis.exists(keys.PREVIEWS + job.id)
    assert await previews.present(await queue.get(job.id)) == {}


async def test_a_worker_that_lost_the_job_shows_nothing_of_it(
    previews, worker, other_worker, job
) -> None:
    await worker.requeue(job)
    again = await other_worker.claim(["emoji"])

    assert not await worker.store_preview(job, 0, 9, b"stale")
    assert await previews.present(again) == {}


async def test_previews_expire_by_themselves_where_nobody_ends_the_job(redis, job) -> None:
    assert 0 < await redis.pttl(keys.PREVIEWS + job.id) <= 60_000


async def test_what_is_no_image_of_the_job_has_no_preview(previews, job) -> None:
    with pytest.raises(PreviewNotReady, match="its images are 0 to 2"):
        await previews.newest(job, 3)
