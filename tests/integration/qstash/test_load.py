from __future__ import annotations

import asyncio

from infra.local.qstash import (
    DeliveryRequest,
    DeliveryResponse,
    Limits,
    QStashOptions,
    QStashServer,
    Send,
)
from tests.integration.qstash.support import sdk


class _Swallow:
    def __init__(self) -> None:
        self.delivered = 0

    async def deliver(self, _send: Send, _request: DeliveryRequest) -> DeliveryResponse:
        self.delivered += 1
        return DeliveryResponse(200, {}, b"")


async def test_thousands_of_messages_come_due_together() -> None:
    count, swallow = 4_000, _Swallow()
    options = QStashOptions(faults=swallow, limits=Limits(max_events=1000))
    async with QStashServer(options) as server, sdk(server) as client:
        for _ in range(4):
            await client.message.batch(
                [
                    {
                        "url": "http://127.0.0.1:9",
                        "delay": 3600,
                        **({"queue": "q"} if n % 4 else {}),
                    }
                    for n in range(count // 4)
                ]
            )
        assert server.pending == count
        server.advance(3601)
        while server.pending:
            # The API stays responsive meanwhile.
            async with asyncio.timeout(30):
                await client.queue.list()
            await asyncio.sleep(0.05)
        assert swallow.delivered == count
        assert len((await client.log.list(count=1000)).logs) == 1000


async def test_thousands_of_canceled_messages_are_no_burden() -> None:
    async with QStashServer(QStashOptions(faults=_Swallow())) as server, sdk(server) as client:
        await client.queue.upsert("q", paused=True)
        for _ in range(2):
            await client.message.batch(
                [{"url": "http://127.0.0.1:9", "queue": "q"} for _ in range(1000)]
            )
        assert await client.message.cancel_all() == 2_000
        await client.queue.resume("q")
        assert (await client.queue.get("q")).lag == 0
