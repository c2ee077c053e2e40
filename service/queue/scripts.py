"""The Lua transitions of this package: read from their files, each run as one atomic command."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from service.queue import keys
from service.queue.connection import answered

if TYPE_CHECKING:
    from redis.commands.core import AsyncScript

Argument = str | bytes | int | float
Reply = bytes | int | list["Reply"] | None  # RESP2: what a script can answer


class Scripts:
    """Runs scripts by the name of their file; the server is sent a text only when it lacks it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._scripts: dict[str, AsyncScript] = {}

    async def run(self, name: str, *arguments: Argument) -> Reply:
        """Run `lua/<name>.lua` and return its reply.

        Raises:
            QueueUnavailable: Redis cannot be reached or refuses to serve.
        """
        if name not in self._scripts:
            self._scripts[name] = self._redis.register_script(_text(name))
        async with answered():
            reply: Reply = await self._scripts[name](keys=[keys.TAG], args=arguments)
        return reply


@cache
def _text(name: str) -> str:
    folder = resources.files("service.queue") / "lua"
    parts = (folder / "prelude.lua", folder / f"{name}.lua")
    return "\n".join([keys.lua_header(), *(part.read_text("utf-8") for part in parts)])


def as_list(reply: Reply) -> Sequence[Reply]:
    """The reply of a script that answers with a list."""
    assert isinstance(reply, list), reply
    return reply


def as_bytes(reply: Reply) -> bytes:
    """The reply of a script that answers with a string."""
    assert isinstance(reply, bytes), reply
    return reply


def as_int(reply: Reply) -> int:
    """The reply of a script that answers with a number."""
    assert isinstance(reply, int), reply
    return reply


def as_hash(reply: Reply) -> Mapping[bytes, bytes]:
    """The reply of a script that answers with HGETALL."""
    flat = [as_bytes(item) for item in as_list(reply)]
    return dict(zip(flat[::2], flat[1::2], strict=True))
