"""Waiting for something only as long as the client that asked for it is still there."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection before its answer was ready."""


class ServerStops(Exception):
    """The server is to stop and cannot wait any longer."""


async def unless_gone(request: Request, stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, or cancel it when the client leaves or the server must stop.

    The body of the request must have been read, so that only a disconnect can still arrive.

    Raises:
        ClientGone: the client left first.
        ServerStops: `stopping` was set first.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnect(request))
    ending = asyncio.create_task(stopping.wait())
    tasks = (working, leaving, ending)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone if leaving.done() else ServerStops
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
