"""An HTTP client that calls the application in this process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest


@pytest.fixture
async def make_client(make_app) -> AsyncIterator[Callable[..., Awaitable[httpx.AsyncClient]]]:
    """Clients of applications with settings as keywords."""
    async with AsyncExitStack() as stack:

        async def make(**choices) -> httpx.AsyncClient:
            # As a real server, answer 500 where the application raises.
            transport = httpx.ASGITransport(await make_app(**choices), raise_app_exceptions=False)
            client = httpx.AsyncClient(transport=transport, base_url="http://api.test")
            return await stack.enter_async_context(client)

        yield make


@pytest.fixture
async def client(make_client: Callable[..., Awaitable[httpx.AsyncClient]]) -> httpx.AsyncClient:
    return await make_client()
