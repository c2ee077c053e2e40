from service.cards import ModelCard


async def test_models_are_listed_in_openais_shape_with_their_cards(client, served, card):
    answer = (await client.get("/v1/models")).json()
    assert answer["object"] == "list"
    (entry,) = answer["data"]
    assert entry["id"] == card.id
    assert entry["object"] == "model"
    assert entry["created"] == card.created
    assert entry["owned_by"] == "dimr-serve"
    assert entry["conditioning"] == ["class"]
    assert entry["samplers"] == ["ddim", "dpmpp_2m"]
    assert entry["limits"]["max_steps"] == 100
    assert entry["defaults"]["steps"] == 20
    assert entry["engine"]["device"] == "cpu"
    assert ModelCard.model_validate(entry) == card


async def test_one_model_is_shown_by_its_id(client, served, card):
    listed = (await client.get("/v1/models")).json()["data"][0]
    assert (await client.get(f"/v1/models/{card.id}")).json() == listed


async def test_no_model_is_an_empty_list(client):
    assert (await client.get("/v1/models")).json() == {"object": "list", "data": []}


async def test_a_model_nobody_knows_is_404(client, served, card):
    response = await client.get("/v1/models/unheard-of")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:dimr:problem:model-not-found"
    assert response.json()["errors"] == [
        {"field": "model", "value": "unheard-of", "allowed": card.id}
    ]


async def test_a_model_that_nobody_serves_any_more_is_503(client, served, card):
    await served.withdraw("idle")
    response = await client.get(f"/v1/models/{card.id}")
    assert response.status_code == 503
    assert response.json()["type"] == "urn:dimr:problem:model-unserved"
    assert int(response.headers["retry-after"]) >= 1


async def test_the_first_model_serves_where_none_is_named(client, served, card):
    earlier = card.model_copy(update={"id": "an-earlier-one"})
    await served.announce("other", [earlier], {})
    named = await client.post("/v1/jobs", json={"prompt": "tiger", "model": card.id})
    unnamed = await client.post("/v1/jobs", json={"prompt": "tiger"})
    assert named.json()["model"] == card.id
    assert unnamed.json()["model"] == "an-earlier-one"


async def test_without_any_worker_a_job_is_503(client):
    response = await client.post("/v1/jobs", json={"prompt": "tiger"})
    assert response.status_code == 503
    assert response.json()["type"] == "urn:dimr:problem:model-unserved"
    assert int(response.headers["retry-after"]) >= 1
