from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from qstash.errors import QStashError
from qstash.schedule import ScheduleState

from infra.local.qstash.cron import Cron
from tests.integration.qstash.support import Receiver, call, eventually

if TYPE_CHECKING:
    from qstash import AsyncQStash
    from qstash.schedule import Schedule

    from infra.local.qstash import QStashServer


async def _every_minute(client: AsyncQStash, receiver: Receiver, **options: str) -> str:
    return await client.schedule.create(
        destination=receiver.url,
        cron="* * * * *",
        body="x",
        **options,  # type: ignore[arg-type]
    )


async def test_a_schedule_is_shown_as_it_was_created(
    client: AsyncQStash, receiver: Receiver
) -> None:
    schedule_id = await client.schedule.create_json(
        destination=f"{receiver.url}/",
        cron="*/10 * * * *",
        body={"hello": "world"},
        method="PATCH",
        headers={"test-header": "v"},
        callback=f"{receiver.url}/callback",
        retries=5,
        retry_delay="5000 * retried",
        delay=10,
        timeout="1m",
        queue="q",
        label="mine",
        flow_control={"key": "k", "parallelism": 2},
    )
    assert schedule_id.startswith("scd_")
    schedule = await client.schedule.get(schedule_id)
    assert schedule.cron == "*/10 * * * *"
    assert schedule.destination == f"{receiver.url}/"
    assert schedule.headers == {"Content-Type": ["application/json"], "Test-Header": ["v"]}
    assert schedule.body == '{"hello": "world"}'
    assert (schedule.method, schedule.retries, schedule.delay) == ("PATCH", 5, 10)
    assert (schedule.timeout, schedule.queue, schedule.label) == (60, "q", "mine")
    assert schedule.retry_delay_expression == "5000 * retried"
    assert schedule.flow_control is not None
    assert (schedule.flow_control.parallelism, schedule.flow_control.period) == (2, 1)
    assert not schedule.paused
    assert schedule.next_schedule_time is not None
    assert schedule.next_schedule_time % 600_000 == 0
    assert await client.schedule.list() == [schedule]


async def test_a_schedule_fires_again_and_again(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    schedule_id = await _every_minute(client, receiver)
    for firing in (1, 2, 3):
        assert await receiver.quiet(0.02) == firing - 1
        server.advance(60)
        request = (await receiver.wait(firing))[-1]
        assert request.headers["Upstash-Schedule-Id"] == schedule_id
        assert request.text == "x"
    ids = {one.headers["Upstash-Message-Id"] for one in receiver.requests}
    assert len(ids) == 3


async def test_the_last_firing_is_reported(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    receiver.answer(500)
    schedule_id = await _every_minute(client, receiver)
    await client.schedule.create(
        schedule_id=schedule_id, destination=receiver.url, cron="* * * * *", retries=0
    )
    server.advance(60)

    async def ended() -> Schedule | None:
        schedule = await client.schedule.get(schedule_id)
        states = (schedule.last_schedule_states or {}).values()
        return schedule if list(states) == [ScheduleState.FAIL] else None

    schedule = await eventually(ended)
    assert schedule.next_schedule_time > schedule.last_schedule_time


async def test_a_paused_schedule_does_not_fire(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    schedule_id = await _every_minute(client, receiver)
    await client.schedule.pause(schedule_id)
    assert (await client.schedule.get(schedule_id)).paused
    server.advance(60)
    assert await receiver.quiet(0.05) == 0
    await client.schedule.resume(schedule_id)
    assert not (await client.schedule.get(schedule_id)).paused
    server.advance(60)
    await receiver.wait(1)


async def test_a_deleted_schedule_does_not_fire(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    schedule_id = await _every_minute(client, receiver)
    await client.schedule.delete(schedule_id)
    assert await client.schedule.list() == []
    server.advance(60)
    assert await receiver.quiet(0.05) == 0


async def test_the_same_id_replaces_the_settings(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    for path in ("/old", "/new"):
        await client.schedule.create(
            schedule_id="mine", destination=receiver.url + path, cron="* * * * *"
        )
    [schedule] = await client.schedule.list()
    assert schedule.destination == f"{receiver.url}/new"
    assert schedule.body in {None, ""}
    server.advance(60)
    assert await receiver.quiet() == 1
    assert receiver.requests[0].path == "/new"


async def test_a_schedule_can_feed_a_queue_and_a_url_group(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    await client.url_group.upsert_endpoints(
        "group", [{"url": f"{receiver.url}/1"}, {"url": f"{receiver.url}/2"}]
    )
    await client.schedule.create(destination="group", cron="* * * * *", queue="q", delay="5s")
    server.advance(60)
    assert await receiver.quiet(0.05) == 0
    server.advance(5.1)
    assert [one.path for one in await receiver.wait(2)] == ["/1", "/2"]
    assert (await client.queue.get("q")).parallelism == 1


@pytest.mark.parametrize(
    ("cron", "error"),
    [
        ("", "Invalid cron expression empty spec string"),
        ("* * *", "Invalid cron expression expected exactly 5 fields, found 3"),
        ("61 * * * *", "Invalid cron expression"),
        ("0 0 L * *", "Invalid cron expression failed to parse int from L"),
        ("0 0 * * 7", "Invalid cron expression end of range"),
        ("CRON_TZ=Mars/Olympus * * * * *", "unknown time zone Mars/Olympus"),
    ],
)
async def test_a_bad_cron_expression_is_refused(
    client: AsyncQStash, receiver: Receiver, cron: str, error: str
) -> None:
    with pytest.raises(QStashError, match=f"400.*{error}"):
        await client.schedule.create(destination=receiver.url, cron=cron)


async def test_a_bad_schedule_id_is_refused(client: AsyncQStash, receiver: Receiver) -> None:
    with pytest.raises(QStashError, match="schedule id is invalid"):
        await client.schedule.create(destination=receiver.url, cron="* * * * *", schedule_id="a b")


def test_cron_follows_its_time_zone() -> None:
    cron = Cron("CRON_TZ=America/New_York 0 4 * * *")
    start = datetime(2026, 3, 7, 12, tzinfo=UTC).timestamp() * 1000
    before = cron.after_ms(int(start))
    assert before is not None
    # The clocks in New York go forward on 8 March 2026: 04:00 there is 08:00 UTC from then on.
    local = datetime.fromtimestamp(before / 1000, tz=ZoneInfo("America/New_York"))
    assert (local.day, local.hour) == (8, 4)
    assert before == datetime(2026, 3, 8, 8, tzinfo=UTC).timestamp() * 1000


@pytest.mark.parametrize(
    ("after", "times"),
    [
        # 29 March 2026 has no 02:30 in Rome.
        ("2026-03-28T12:00", ["2026-03-30T00:30", "2026-03-31T00:30"]),
        # 25 October 2026 has it twice.
        ("2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-26T01:30"]),
    ],
    ids=["left out", "twice"],
)
def test_a_time_that_the_clock_leaves_out_is_skipped_and_one_that_it_has_twice_fires_twice(
    after: str, times: list[str]
) -> None:
    cron = Cron("CRON_TZ=Europe/Rome 30 2 * * *")
    moment = int(datetime.fromisoformat(after).replace(tzinfo=UTC).timestamp() * 1000)
    for expected in times:
        moment = cron.after_ms(moment) or 0
        found = datetime.fromtimestamp(moment / 1000, UTC)
        assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_a_question_mark_stands_for_any_value() -> None:
    noon = int(datetime(2026, 3, 7, 12, tzinfo=UTC).timestamp() * 1000)
    assert Cron("0 0 ? JUL WED").after_ms(noon) == Cron("0 0 * 7 3").after_ms(noon)


async def test_a_schedule_has_no_absolute_delay(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    """Docs, "Delays in Schedules"."""
    headers = {"Upstash-Cron": "* * * * *", "Upstash-Not-Before": str(2**31)}
    status, created = await call(server, "POST", f"/v2/schedules/{receiver.url}", headers=headers)
    assert status == 200
    shown = await call(server, "GET", f"/v2/schedules/{created['scheduleId']}")
    assert shown[1]["callerIp"] == shown[1]["callerIP"] == "127.0.0.1"
    server.advance(60)
    await receiver.wait()
