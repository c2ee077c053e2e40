"""Messages between processes that make things quick; what is true stands in the keys."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Self

from redis.asyncio import Redis

from service.errors import QueueUnavailable
from service.queue import keys
from service.queue.connection import translated

logger = logging.getLogger(__name__)

SILENCE_S = 10.0  # one read at most; between reads the connection is checked
RECONNECT_S = 0.5


class Wakeups:
    """Tells a worker, on one connection, that there may be work. Entering needs no Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._work = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        await end(self._listener)
        self._listener = None

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return at once if work came in since the last return, else when it does or time is up."""
        assert self._listener is not None, "wait_for_work() needs `async with wakeups`"
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._work.wait()
        self._work.clear()

    async def _listen(self) -> None:
        async for _ in listen(self._redis, keys.WORK):
            self._work.set()


async def cancellations(redis: Redis) -> AsyncGenerator[str, None]:
    """Yield the id of every running job that is cancelled or expires, for ever.

    Messages lost while Redis is away are not made up for: `Leases.renew` reports those jobs.
    """
    async for job_id in listen(redis, keys.STOPPED):
        if job_id is not None:
            yield job_id


async def end(listener: asyncio.Task[None]) -> None:
    """Cancel a listening task, wait until it is over, and raise what may have broken it before."""
    listener.cancel()
    await asyncio.wait([listener])
    if not listener.cancelled():
        listener.result()


async def listen(redis: Redis, channel: str) -> AsyncGenerator[str | None, None]:
    """Yield what is published on a channel, for ever, over as many connections as it takes.

    Yields None whenever a subscription begins: messages before that may have been missed.
    """
    while True:
        try:
            with translated():
                async with redis.pubsub() as pubsub:
                    await pubsub.subscribe(channel)
                    while True:
                        message = await pubsub.get_message(timeout=SILENCE_S)
                        if message is not None and message["type"] == "subscribe":
                            yield None
                        elif message is not None and message["type"] == "message":
                            yield message["data"].decode()
        except QueueUnavailable as error:
            logger.warning("subscription lost", extra={"channel": channel, "reason": str(error)})
        await asyncio.sleep(RECONNECT_S)
