"""Queue calls that outlast an outage of Redis."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.errors import QueueUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 0.5  # pause after Redis did not answer


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a queue call until Redis answers; the lease decides what that is still worth."""
    while True:
        try:
            return await call()
        except QueueUnavailable as error:
            logger.warning("queue unavailable", extra={"reason": str(error)})
            await asyncio.sleep(RETRY_S)
