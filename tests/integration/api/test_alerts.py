"""The conditions on the page of alerts: each crosses its threshold, which is its alarm's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from functions.api.dashboard import alerts
from infra.local.template import _Loader
from stashjobs.config import settings
from stashjobs.operators import health
from stashjobs.producer import qstash_client
from tests.integration import conditions
from tests.translation import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.local.qstash import QStashServer
    from tests.deliveries import Table

ARRANGE: dict[str, Callable[..., None]] = {
    "failing": conditions.failing,
    "stuck": conditions.stuck,
    "standstill": conditions.standstill,
    "depth": conditions.depth,
    "oldest": conditions.oldest,
    "slow": conditions.slow,
    "unpublished": conditions.unpublished,
}


def states(table: Table) -> dict[str, str]:
    return {one.key: one.state for one in alerts.read(table.other)}


def test_without_jobs_nothing_fires(table: Table) -> None:
    assert states(table) == dict.fromkeys(ARRANGE, alerts.OK)


@pytest.mark.parametrize("key", ARRANGE)
def test_a_condition_fires_beyond_its_threshold_and_not_within_it(table: Table, key: str) -> None:
    for beyond, state in ((False, alerts.OK), (True, alerts.FIRING), (False, alerts.OK)):
        table.run("DELETE FROM job_executions")
        ARRANGE[key](table, beyond=beyond)
        assert states(table)[key] == state


async def test_dead_letters_fire_as_long_as_there_are_any(
    table: Table, qstash: QStashServer, aside: Callable[..., Any]
) -> None:
    def publish() -> None:
        qstash_client.qstash().message.publish(url=settings.base_url() + "/", body="x", retries=0)

    def delete() -> None:
        [letter] = qstash_client.qstash().dlq.list().messages
        qstash_client.qstash().dlq.delete(letter.dlq_id)

    async def becomes(state: str) -> bool:
        for _ in range(100):
            if (await aside(alerts.dead_letters)).state == state:
                return True
            await asyncio.sleep(0.05)
        return False

    assert (await aside(alerts.dead_letters)).state == alerts.OK
    await aside(publish)
    assert await becomes(alerts.FIRING)
    await aside(delete)
    assert await becomes(alerts.OK)


def test_the_thresholds_are_those_of_the_alarms() -> None:
    text = (ROOT / "infra" / "alarms.yaml").read_text()
    document = yaml.load(text, Loader=_Loader)  # noqa: S506
    parameters = {name: each.get("Default") for name, each in document["Parameters"].items()}
    assert parameters["FailurePercent"] == health.DEFAULT_FAILURE_PERCENT
    assert parameters["DepthLimit"] == alerts.MAX_DEPTH
    assert parameters["WaitSeconds"] == alerts.MAX_WAIT_SECONDS
