from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from qstash.errors import QStashError

if TYPE_CHECKING:
    from qstash import AsyncQStash

    from tests.integration.qstash.support import Receiver


@pytest.fixture
async def group(client: AsyncQStash, receiver: Receiver) -> str:
    await client.url_group.upsert_endpoints(
        "group",
        [{"url": f"{receiver.url}/1", "name": "one"}, {"url": f"{receiver.url}/2"}],
    )
    return "group"


async def test_a_message_goes_to_every_endpoint(
    client: AsyncQStash, receiver: Receiver, group: str
) -> None:
    published = await client.message.publish(url_group=group, body="x")
    assert isinstance(published, list)
    assert [one.url for one in published] == [f"{receiver.url}/1", f"{receiver.url}/2"]
    requests = {one.path: one for one in await receiver.wait(2)}
    assert set(requests) == {"/1", "/2"}
    for request, one in zip((requests["/1"], requests["/2"]), published, strict=True):
        assert request.headers["Upstash-Topic-Name"] == "group"
        assert request.headers["Upstash-Message-Id"] == one.message_id
    message = await client.message.get(published[0].message_id)
    assert (message.url_group, message.endpoint) == ("group", "one")


async def test_deduplication_is_per_endpoint(
    client: AsyncQStash, receiver: Receiver, group: str
) -> None:
    first = await client.message.publish(url_group=group, deduplication_id="d")
    again = await client.message.publish(url_group=group, deduplication_id="d")
    assert isinstance(first, list)
    assert isinstance(again, list)
    assert [one.message_id for one in again] == [one.message_id for one in first]
    assert all(one.deduplicated for one in again)
    assert not any(one.deduplicated for one in first)
    assert await receiver.quiet() == 2


async def test_endpoints_are_upserted_by_url_and_by_name(
    client: AsyncQStash, receiver: Receiver, group: str
) -> None:
    await client.url_group.upsert_endpoints(
        group, [{"url": f"{receiver.url}/3", "name": "one"}, {"url": f"{receiver.url}/2"}]
    )
    [found] = await client.url_group.list()
    assert {(e.url, e.name) for e in found.endpoints} == {
        (f"{receiver.url}/3", "one"),
        (f"{receiver.url}/2", None),
    }


async def test_a_group_without_endpoints_is_gone(
    client: AsyncQStash, receiver: Receiver, group: str
) -> None:
    await client.url_group.remove_endpoints(group, [{"name": "one"}])
    [left] = (await client.url_group.get(group)).endpoints
    await client.url_group.remove_endpoints(group, [{"url": left.url}])
    with pytest.raises(QStashError, match="404"):
        await client.url_group.get(group)
    assert await receiver.quiet(0.01) == 0


async def test_deleting_an_unknown_group_is_no_error(client: AsyncQStash) -> None:
    await client.url_group.delete("nobody")


async def test_an_endpoint_must_be_a_url(client: AsyncQStash) -> None:
    with pytest.raises(QStashError, match="invalid endpoint url"):
        await client.url_group.upsert_endpoints("group", [{"url": "nowhere"}])
