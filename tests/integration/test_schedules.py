"""Schedules as code: declared beside the job, reconciled with QStash, each firing a job."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from infra.local.qstash import QStashOptions, QStashServer
from stashjobs.delivery import handler
from stashjobs.errors import InvalidPayload
from stashjobs.producer import qstash_client, schedules
from stashjobs.producer.schedules import Schedule
from tests.deliveries import handle, lambda_context, probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stashjobs.job import Job
    from tests.deliveries import Table


@pytest.fixture
async def qstash(table: Table, settings: pytest.MonkeyPatch) -> AsyncIterator[QStashServer]:
    async with QStashServer(QStashOptions()) as server:
        for name, value in server.environment.items():
            settings.setenv(name, value)
        yield server


def schedule(name: str = "nightly", cron: str = "0 3 * * *", **fields: Any) -> Schedule:
    return Schedule(
        name,
        fields.get("job", probe()),
        cron,
        fields.get("timezone", "Europe/Rome"),
        fields.get("payload", {"retention": 90}),
    )


def own_id(name: str) -> str:
    """The id at QStash of a schedule of this app."""
    return schedules.prefix("https://jobs.example.test") + name


async def sync(*wanted: Schedule, dry_run: bool = False) -> schedules.Changes:
    return await asyncio.to_thread(schedules.sync, wanted, dry_run=dry_run)


async def remote() -> dict[str, Any]:
    found = await asyncio.to_thread(schedules.remote)
    return {each.schedule_id: each for each in found}


async def test_a_declared_schedule_is_created_with_its_time_zone(qstash: QStashServer) -> None:
    assert (await sync(schedule())).created == ["nightly"]

    found = (await remote())[own_id("nightly")]
    assert found.cron == "CRON_TZ=Europe/Rome 0 3 * * *"
    assert found.destination == "https://jobs.example.test/api/jobs/probe"
    assert json.loads(found.body) == {
        "type": "probe",
        "payload": {"retention": 90},
        "metadata": {"schedule": "nightly"},
    }
    assert found.retries == 2


async def test_a_schedule_never_asks_for_more_retries_than_qstash_allows(
    qstash: QStashServer,
) -> None:
    await sync(schedule(job=probe(retries=20)))
    assert (await remote())[own_id("nightly")].retries == 5


async def test_what_a_schedule_fires_is_held_back_with_all_of_its_type(
    qstash: QStashServer,
) -> None:
    await sync(schedule(job=probe(parallelism=3)))
    found = (await remote())[own_id("nightly")]
    limit = found.flow_control
    assert (limit.key, limit.parallelism) == ("jobs.example.test-probe", 3)


async def test_a_second_sync_changes_nothing(qstash: QStashServer) -> None:
    await sync(schedule())
    assert await sync(schedule()) == schedules.Changes([], [], [], ["nightly"])
    assert len(await remote()) == 1


@pytest.mark.parametrize(
    "other",
    [
        schedule(cron="0 4 * * *"),
        schedule(timezone="UTC"),
        schedule(payload={"retention": 30}),
        schedule(job=probe(retries=5)),
        schedule(job=probe(timeout=99)),
        schedule(job=probe(retry_delay="1000")),
        schedule(job=probe(rate=5)),
    ],
)
async def test_whatever_changes_in_a_declaration_changes_at_qstash_and_is_not_doubled(
    qstash: QStashServer, other: Schedule
) -> None:
    await sync(schedule())
    assert (await sync(other)).changed == ["nightly"]
    assert (await sync(other)).unchanged == ["nightly"]
    assert len(await remote()) == 1


async def test_what_somebody_changed_at_qstash_is_changed_back(qstash: QStashServer) -> None:
    await sync(schedule())
    message = schedule().message() | {"cron": "* * * * *"}
    await asyncio.to_thread(lambda: qstash_client.qstash().schedule.create_json(**message))
    assert (await sync(schedule())).changed == ["nightly"]


async def test_what_is_not_declared_any_more_is_deleted(qstash: QStashServer) -> None:
    await sync(schedule("old"), schedule("kept"))
    assert (await sync(schedule("kept"))).deleted == ["old"]
    assert list(await remote()) == [own_id("kept")]


async def test_schedules_of_others_and_of_other_stages_are_left_alone(
    qstash: QStashServer, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("STAGE", "staging")
    await sync(schedule())
    staging = schedule().schedule_id
    settings.setenv("STAGE", "local")
    message = schedule().message() | {"schedule_id": "somebody-elses"}
    await asyncio.to_thread(lambda: qstash_client.qstash().schedule.create_json(**message))

    await sync()

    found = await asyncio.to_thread(qstash_client.qstash().schedule.list)
    assert {each.schedule_id for each in found} == {staging, "somebody-elses"}


async def test_a_dry_run_only_tells(qstash: QStashServer) -> None:
    await sync(schedule("old"))
    changes = await sync(schedule("new"), dry_run=True)
    assert (changes.created, changes.deleted) == (["new"], ["old"])
    assert list(await remote()) == [own_id("old")]


async def create(schedule_id: str, **fields: Any) -> None:
    message = schedule().message() | {"schedule_id": schedule_id, **fields}
    await asyncio.to_thread(lambda: qstash_client.qstash().schedule.create_json(**message))


async def everything() -> dict[str, Any]:
    """All that the account has."""
    found = await asyncio.to_thread(qstash_client.qstash().schedule.list)
    return {each.schedule_id: each for each in found}


async def test_two_apps_with_one_account_and_the_same_stage_leave_each_other_alone(
    qstash: QStashServer, settings: pytest.MonkeyPatch
) -> None:
    await sync(schedule(), schedule("mine"))
    settings.setenv("BASE_URL", "https://other.example.test")
    assert (await sync(schedule(cron="0 4 * * *"))).created == ["nightly"]
    assert (await sync()).deleted == ["nightly"]
    settings.setenv("BASE_URL", "https://jobs.example.test")
    assert (await sync(schedule(), schedule("mine"))).unchanged == ["nightly", "mine"]


async def test_a_schedule_of_an_earlier_version_gets_an_id_of_this_app(
    qstash: QStashServer,
) -> None:
    await create("stashjobs-local-nightly")
    await create("stashjobs-local-gone")
    others = "https://other.example.test/api/jobs/probe"
    await create("stashjobs-local-theirs", destination=others)

    changes = await sync(schedule())

    assert (changes.created, changes.changed, changes.deleted) == ([], ["nightly"], ["gone"])
    assert set(await everything()) == {own_id("nightly"), "stashjobs-local-theirs"}
    assert (await sync(schedule())).unchanged == ["nightly"]


async def test_after_a_move_the_schedules_of_the_address_before_are_this_app_s(
    qstash: QStashServer, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("BASE_URL", "https://before.example.test")
    await sync(schedule(), schedule("old"))
    settings.setenv("BASE_URL", "https://jobs.example.test")
    moved = await asyncio.to_thread(
        schedules.sync, [schedule()], moved_from="https://before.example.test/"
    )
    assert (moved.changed, moved.deleted) == (["nightly"], ["old"])
    assert set(await everything()) == {own_id("nightly")}


async def pause(schedule_id: str) -> None:
    await asyncio.to_thread(qstash_client.qstash().schedule.pause, schedule_id)


@pytest.mark.parametrize("its_id", ["of this app", "of an earlier version"])
async def test_a_paused_schedule_changes_when_it_is_resumed_and_never_runs_before(
    qstash: QStashServer, its_id: str
) -> None:
    here = own_id("nightly") if its_id == "of this app" else "stashjobs-local-nightly"
    await create(here)
    await pause(here)
    other = schedule(cron="0 4 * * *")

    # There is no moment at which QStash could fail and leave it running.
    changes = await sync(other)
    assert (changes.paused, changes.changed, changes.deleted) == (["nightly"], [], [])
    assert (await everything())[here].paused

    [found] = await asyncio.to_thread(schedules.remote)
    await asyncio.to_thread(schedules.resume, found, other)
    [(found_id, now)] = (await everything()).items()
    assert (found_id, now.paused, now.cron) == (own_id("nightly"), False, other.message()["cron"])
    assert (await sync(other)).unchanged == ["nightly"]


async def test_a_paused_schedule_that_is_as_declared_stays_so(qstash: QStashServer) -> None:
    await sync(schedule())
    await pause(own_id("nightly"))
    assert (await sync(schedule())).unchanged == ["nightly"]
    assert (await remote())[own_id("nightly")].paused


async def test_each_firing_is_a_job_of_its_own(
    table: Table, settings: pytest.MonkeyPatch, qstash: QStashServer
) -> None:
    job = probe()
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        await received.put({"headers": dict(request.headers), "body": body})
        return web.Response()

    app = web.Application()
    app.router.add_post("/api/jobs/probe", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    settings.setenv("BASE_URL", f"http://127.0.0.1:{runner.addresses[0][1]}")
    own = schedule(cron="* * * * *", job=job)
    try:
        await sync(own)
        for _ in range(2):
            qstash.advance(60)
            took = await asyncio.wait_for(received.get(), 60)
            for _redelivery in range(2):
                _deliver(job, took, runner.addresses[0][1])
    finally:
        await runner.cleanup()

    rows = table.rows()
    assert [(row["status"], row["attempt"]) for row in rows] == [("completed", 1)] * 2
    assert {row["schedule_id"] for row in rows} == {own.schedule_id}
    assert {row["metadata"]["schedule"] for row in rows} == {"nightly"}


def _deliver(job: Job[Any, Any], took: dict[str, Any], port: int) -> None:
    headers = {name.lower(): value for name, value in took["headers"].items()}
    event = {
        "routeKey": "POST /api/jobs/probe",
        "rawPath": "/api/jobs/probe",
        "rawQueryString": "",
        "headers": headers | {"x-forwarded-proto": "http", "x-forwarded-port": str(port)},
        "requestContext": {
            "domainName": "127.0.0.1",
            "http": {"method": "POST", "path": "/api/jobs/probe"},
        },
        "body": took["body"],
        "isBase64Encoded": False,
    }
    assert handle(job, event).status == 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cron": "every day"}, "must have five fields"),
        ({"timezone": "Europe/Nowhere"}, "unknown time zone"),
        ({"name": "no spaces"}, "use letters"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(fields: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        probe().schedule(
            fields.get("cron", "0 3 * * *"),
            {},
            name=fields.get("name", "refused"),
            timezone=fields.get("timezone", "UTC"),
        )
    assert "refused" not in [each.name for each in schedules.declared()]


def test_a_name_belongs_to_one_job() -> None:
    probe(type="first").schedule("0 3 * * *", {}, name="taken")
    with pytest.raises(ValueError, match="declared twice: for first and for second"):
        probe(type="second").schedule("0 3 * * *", {}, name="taken")


def test_a_schedule_in_the_template_invokes_the_lambda_directly(table: Table) -> None:
    job = probe()
    event = {"type": "probe", "jobId": "4f1e", "payload": {"retention": 90}}
    for _ in range(2):
        handler.deliver(job, event, lambda_context())
    row = table.row("4f1e")
    assert (row["status"], row["attempt"], row["result"]) == ("completed", 1, {"retention": 90})


async def test_one_that_qstash_refuses_keeps_no_other_from_being_synced(
    qstash: QStashServer,
) -> None:
    """Made past `declare`, which would have refused it."""
    await sync(schedule("gone"))
    changes = await sync(schedule("a"), schedule("bad", cron="99 9 * * *"), schedule("c"))
    assert (changes.created, changes.deleted) == (["a", "c"], ["gone"])
    assert list(changes.refused) == ["bad"]
    assert "Invalid cron expression" in changes.refused["bad"]
    assert set(await remote()) == {own_id("a"), own_id("c")}


@pytest.mark.parametrize(
    "cron", ["0 9 * * 7", "99 9 * * *", "a b c d e", "0 0 L * *", "0 0 30 2 *"]
)
def test_a_cron_expression_that_qstash_refuses_is_refused_where_it_is_declared(cron: str) -> None:
    with pytest.raises(ValueError, match="nightly: "):
        probe().schedule(cron, {}, name="nightly")


@pytest.mark.parametrize(
    "payload", [{"a": "b\0"}, {"\ud800": 1}, {"a": ["\udfff"]}, {"a": float("inf")}]
)
def test_a_schedule_s_payload_that_no_row_can_hold_is_refused_where_it_is_declared(
    payload: dict[str, Any],
) -> None:
    with pytest.raises(InvalidPayload):
        probe().schedule("0 3 * * *", payload, name="unstorable")
    assert "unstorable" not in {each.name for each in schedules.declared()}
