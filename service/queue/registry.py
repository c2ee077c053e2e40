"""Which models are served: workers announce their cards, the API reads them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import cast

from pydantic import TypeAdapter
from redis.asyncio import Redis

from service.cards import ModelCard
from service.queue import keys
from service.queue.connection import answered
from service.queue.scripts import Scripts, as_bytes, as_list

_CARDS = TypeAdapter(list[ModelCard])


class Registry:
    """Announcements of workers; each holds for `ttl_s` and is renewed well before that.

    Every method raises `QueueUnavailable` where Redis does not serve.
    """

    def __init__(self, redis: Redis, *, ttl_s: float = 3.0) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._ttl_ms = round(ttl_s * 1000)
        self._cards: dict[bytes, dict[str, ModelCard]] = {}  # of the live workers, by digest

    async def announce(
        self, worker_id: str, cards: Sequence[ModelCard], rates: Mapping[str, float]
    ) -> None:
        """Declare a worker alive and what it serves; replaces what it announced before.

        Args:
            worker_id: unique among workers.
            cards: one for each model.
            rates: measured sample-steps a second by model id; models not measured may be absent.
        """
        text = json.dumps([card.model_dump(mode="json") for card in cards], sort_keys=True)
        await self._scripts.run(
            "announce",
            worker_id,
            self._ttl_ms,
            hashlib.sha256(text.encode()).hexdigest(),
            text,
            json.dumps(dict(rates)),
            *(card.id for card in cards),
        )

    async def withdraw(self, worker_id: str) -> None:
        """Declare a worker gone; withdrawing an unknown one does nothing."""
        await self._scripts.run("withdraw", worker_id)

    async def models(self) -> dict[str, ModelCard]:
        """Return the cards of live workers by model id.

        Where workers differ about a model, the one whose id sorts first decides.
        """
        known = self._cards
        live: dict[bytes, dict[str, ModelCard]] = {}
        served: dict[str, ModelCard] = {}
        for row in as_list(await self._scripts.run("live_cards", *known)):
            digest, text = map(as_bytes, as_list(row))
            live[digest] = known[digest] if digest in known else _parse(text)
            served = {**live[digest], **served}
        self._cards = live
        return served

    async def known_models(self) -> tuple[str, ...]:
        """Return the ids of all models ever announced, sorted."""
        async with answered():
            members = cast("set[bytes]", await self._redis.smembers(keys.MODELS))
        return tuple(sorted(member.decode() for member in members))

    async def rates(self) -> dict[str, float]:
        """Return sample-steps a second by model id, summed over live workers."""
        total: dict[str, float] = {}
        for rates in as_list(await self._scripts.run("live_rates")):
            for model, rate in json.loads(as_bytes(rates)).items():
                total[model] = total.get(model, 0.0) + rate
        return total


def _parse(text: bytes) -> dict[str, ModelCard]:
    return {card.id: card for card in _CARDS.validate_json(text)}
