from service.queue import keys
from service.queue.registry import Registry


async def test_nobody_serves_anything_at_first(redis) -> None:
    registry = Registry(redis)

    assert await registry.models() == {}
    assert await registry.known_models() == ()
    assert await registry.rates() == {}


async def test_the_cards_of_all_live_workers_are_listed(redis, card_of) -> None:
    registry = Registry(redis)
    await registry.announce("a", [card_of("emoji")], {"emoji": 3.0})
    await registry.announce("b", [card_of("emoji"), card_of("cats")], {"emoji": 4.0, "cats": 1.5})

    assert await registry.models() == {"emoji": card_of("emoji"), "cats": card_of("cats")}
    assert await registry.rates() == {"emoji": 7.0, "cats": 1.5}


async def test_a_second_look_sees_the_same_cards_and_another_reader_too(redis, card_of) -> None:
    registry = Registry(redis)
    await registry.announce("a", [card_of("emoji")], {})

    assert await registry.models() == await registry.models()
    assert await Registry(redis).models() == {"emoji": card_of("emoji")}


async def test_a_worker_may_change_what_it_serves(redis, card_of) -> None:
    registry = Registry(redis)
    await registry.announce("a", [card_of("emoji")], {})
    await registry.models()
    await registry.announce("a", [card_of("cats")], {})

    assert list(await registry.models()) == ["cats"]


async def test_where_workers_differ_the_first_by_id_decides(redis, card_of) -> None:
    registry = Registry(redis)
    first = card_of("emoji").model_copy(update={"engine": {"device": "cpu"}})
    second = card_of("emoji").model_copy(update={"engine": {"device": "cuda"}})
    await registry.announce("b", [second], {})
    await registry.announce("a", [first], {})

    assert (await registry.models())["emoji"].engine == {"device": "cpu"}


async def test_a_silent_worker_is_forgotten_but_its_models_stay_known(
    redis, card_of, until_true
) -> None:
    registry = Registry(redis, ttl_s=0.1)
    await registry.announce("a", [card_of("emoji")], {"emoji": 1.0})
    assert list(await registry.models()) == ["emoji"]

    async def forgotten() -> bool:
        return await registry.models() == {}

    await until_true(forgotten)
    assert await registry.known_models() == ("emoji",)
    assert await registry.rates() == {}


async def test_a_worker_that_withdraws_is_forgotten_at_once(redis, card_of) -> None:
    registry = Registry(redis)
    await registry.announce("a", [card_of("emoji")], {})
    await registry.withdraw("a")
    await registry.withdraw("a")

    assert await registry.models() == {}
    assert await redis.exists(keys.WORKER + "a", keys.WORKERS) == 0
    assert await registry.known_models() == ("emoji",)


async def test_an_announcement_is_renewed_as_a_whole(redis, card_of) -> None:
    await Registry(redis, ttl_s=1.0).announce("a", [card_of("emoji")], {"emoji": 1.0})
    await Registry(redis, ttl_s=60.0).announce("a", [card_of("emoji")], {"emoji": 2.0})

    assert 50_000 < await redis.pttl(keys.WORKER + "a") <= 60_000
    assert await redis.zscore(keys.WORKERS, "a") > (await redis.time())[0] + 50
    assert await Registry(redis).rates() == {"emoji": 2.0}


async def test_dead_workers_leave_nothing_behind_once_another_announces(
    redis, card_of, until_true
) -> None:
    await Registry(redis, ttl_s=0.01).announce("dead", [card_of("emoji")], {})

    async def cleared():
        await Registry(redis).announce("live", [card_of("emoji")], {})
        listed = await redis.zrange(keys.WORKERS, 0, -1)
        return listed == [b"live"] and not await redis.exists(keys.WORKER + "dead")

    await until_true(cleared)
