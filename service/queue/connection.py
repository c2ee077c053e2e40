"""The boundary to Redis: how it is reached, and what its failures are called here."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.errors import QueueUnavailable

ANSWER_S = 5.0  # for one command, its repetitions included
MAX_CONNECTIONS = 50

# Replies of a server that is up but may not serve: full, unable to persist, or not the primary.
# The client has classes for some; from inside a script, 6.2 sends any of them as plain text.
_REFUSALS = (OutOfMemoryError, ReadOnlyError, MasterDownError, ClusterDownError)
_REFUSAL_CODES = re.compile(r"\b(OOM|MISCONF|READONLY|MASTERDOWN|CLUSTERDOWN|NOREPLICAS)\b")


def connect(url: str) -> Redis:
    """Return a client for a redis://, rediss:// or unix:// address; it connects when first used.

    Commands beyond `MAX_CONNECTIONS` at once wait for each other. A command is repeated up to
    three times within a second where the connection breaks; every transition can bear that.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=ANSWER_S,
        protocol=2,
        socket_connect_timeout=2.0,
        # With a socket timeout the client sends through asyncio.wait_for, which before Python
        # 3.12 can swallow a cancellation: a task that never ends. `answered` bounds commands.
        socket_timeout=None,
        health_check_interval=10,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=3),
    )
    return Redis.from_pool(pool)


async def ping(redis: Redis) -> None:
    """Return when Redis answers.

    Raises:
        QueueUnavailable: it does not.
    """
    async with answered():
        await redis.ping()


@asynccontextmanager
async def answered() -> AsyncIterator[None]:
    """Bound a command by `ANSWER_S`, and let it fail as `QueueUnavailable`."""
    try:
        with translated():
            async with asyncio.timeout(ANSWER_S):
                yield
    except TimeoutError as error:
        msg = f"Redis has not answered for {ANSWER_S:g} s"
        raise QueueUnavailable(msg) from error


@contextmanager
def translated() -> Iterator[None]:
    """Turn what Redis cannot do at the moment into `QueueUnavailable`; let our mistakes through."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError) as error:
        msg = f"Redis cannot be reached: {error}"
        raise QueueUnavailable(msg) from error
    except ResponseError as error:
        if isinstance(error, _REFUSALS) or _REFUSAL_CODES.search(str(error)):
            msg = f"Redis refuses to serve: {error}"
            raise QueueUnavailable(msg) from error
        raise
