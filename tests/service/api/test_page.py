"""The playground page needs nothing but this server."""

import re


async def test_the_page_is_served_and_loads_nothing_from_elsewhere(client):
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "//" not in re.sub(r"https?://www\.w3\.org\S*", "", answer.text)


async def test_every_route_the_page_asks_for_exists(client):
    page = (await client.get("/")).text
    document = (await client.get("/openapi.json")).json()
    asked = set(re.findall(r'ask\("(/[^"]+)"|href="(/[^"]+)"', page))
    paths = {a or b for a, b in asked} - {"/openapi.json"}
    assert paths == {"/v1/models", "/v1/jobs", "/metrics"}
    assert paths <= set(document["paths"])
