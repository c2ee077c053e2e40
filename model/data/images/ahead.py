"""Work done ahead by threads, handed on in order: decoding releases the interpreter."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

AHEAD = 4  # items a thread


def map_ahead(function: Callable[[A], B], items: Iterable[A], *, threads: int) -> Iterator[B]:
    """`map` by threads, in the order of `items`; at most `AHEAD` x `threads` items wait."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque[Future[B]]()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
