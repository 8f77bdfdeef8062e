from __future__ import annotations

from typing import TYPE_CHECKING

from infra.local.qstash import (
    DeliveryError,
    DeliveryRequest,
    DeliveryResponse,
    QStashOptions,
    QStashServer,
    Send,
)
from tests.integration.qstash.support import Receiver, sdk

if TYPE_CHECKING:
    import pytest


class _Twice:
    async def deliver(self, send: Send, request: DeliveryRequest) -> DeliveryResponse:
        await send(request)
        return await send(request)


class _LostOnce:
    async def deliver(self, send: Send, request: DeliveryRequest) -> DeliveryResponse:
        response = await send(request)
        if request.retried == 0:
            raise DeliveryError("lost")
        return response


class _Unavailable:
    async def deliver(self, _send: Send, request: DeliveryRequest) -> DeliveryResponse:
        return DeliveryResponse(503 if request.retried == 0 else 200, {}, b"")


async def test_a_delivery_can_be_doubled(receiver: Receiver) -> None:
    async with QStashServer(QStashOptions(faults=_Twice())) as server, sdk(server) as client:
        await client.message.publish(url=receiver.url)
        first, second = await receiver.wait(2)
    assert first.headers["Upstash-Message-Id"] == second.headers["Upstash-Message-Id"]
    assert second.headers["Upstash-Retried"] == "0"


async def test_a_response_can_be_lost(receiver: Receiver) -> None:
    async with QStashServer(QStashOptions(faults=_LostOnce())) as server, sdk(server) as client:
        await client.message.publish(url=receiver.url, retry_delay="0")
        requests = await receiver.wait(2)
    assert [one.headers["Upstash-Retried"] for one in requests] == ["0", "1"]


async def test_a_response_can_be_made_up(receiver: Receiver) -> None:
    async with QStashServer(QStashOptions(faults=_Unavailable())) as server, sdk(server) as client:
        await client.message.publish(url=receiver.url, retry_delay="0")
        assert await receiver.quiet(0.05) == 0


async def test_time_can_run_faster(receiver: Receiver, recwarn: pytest.WarningsRecorder) -> None:
    async with QStashServer(QStashOptions(time_scale=600)) as server, sdk(server) as client:
        await client.message.publish(url=receiver.url, delay="1m")
        await receiver.wait(1)
    assert not recwarn.list
