"""Steps: each is done once in the life of a job, whatever happens between two attempts."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from stashjobs import Cancelled, NotPossible, encryption
from stashjobs.delivery import steps
from stashjobs.encryption import Place
from stashjobs.operators import key_rotation, retry_and_cancel, search, story
from stashjobs.store import database
from tests.deliveries import deliver, probe
from tests.integration.test_round_trips import counted_round_trips

if TYPE_CHECKING:
    from collections.abc import Callable

    from stashjobs import Context, Job
    from tests.deliveries import Answer, Table


@pytest.fixture
def calls() -> list[str]:
    """What the functions of steps were called for."""
    return []


@pytest.fixture(autouse=True)
def effects(table: Table) -> Callable[[], list[str]]:
    """The table that steps write to, and what is in it."""
    table.run("CREATE TABLE effects (name text)")
    return lambda: [row["name"] for row in table.run("SELECT name FROM effects ORDER BY name")]


def kept(table: Table, job_id: str) -> list[tuple[int, str, Any]]:
    rows = table.run("SELECT * FROM job_steps WHERE job_id = %s ORDER BY position", job_id)
    return [(row["position"], row["name"], row["result"]) for row in rows]


def run(
    table: Table, function: Callable[[Any, Context], Any], **options: Any
) -> tuple[str, Answer]:
    job = probe(function, **options)
    job_id = table.add(job)
    return job_id, deliver(job, job_id)


def due(table: Table, job_id: str) -> None:
    table.run("UPDATE job_executions SET available_at = now() WHERE job_id = %s", job_id)


def failing_first(calls: list[str], *names: str) -> Callable[[Any, Context], Any]:
    """A job of these steps that fails after the last one, in its first attempt."""

    def write(name: str, context: Context) -> dict[str, str]:
        calls.append(name)
        context.connection.execute("INSERT INTO effects VALUES (%s)", [name])
        return {"did": name}

    def function(_payload: Any, context: Context) -> Any:
        results = [context.step(name, write, name, context) for name in names]
        if context.attempt == 1:
            raise OSError("no")
        return results

    return function


def test_a_kept_result_is_the_answer_and_the_function_is_not_called_again(
    table: Table, calls: list[str], effects: Callable[[], list[str]]
) -> None:
    job = probe(failing_first(calls, "fetch", "store"))
    job_id = table.add(job)
    assert deliver(job, job_id).status == 500
    assert kept(table, job_id) == [(1, "fetch", {"did": "fetch"}), (2, "store", {"did": "store"})]
    assert effects() == ["fetch", "store"]
    due(table, job_id)
    assert deliver(job, job_id).document["status"] == "completed"
    assert table.row(job_id)["result"] == [{"did": "fetch"}, {"did": "store"}]
    assert calls == effects() == ["fetch", "store"]


def test_the_answer_is_the_same_json_in_the_first_attempt_as_in_later_ones(table: Table) -> None:
    seen = []

    def function(_payload: Any, context: Context) -> None:
        seen.append(context.step("pair", lambda: (1, {"at": 2.5})))
        if len(seen) == 1:
            raise OSError("no")

    job = probe(function)
    job_id = table.add(job)
    deliver(job, job_id)
    due(table, job_id)
    deliver(job, job_id)
    assert seen == [[1, {"at": 2.5}], [1, {"at": 2.5}]]


@pytest.mark.parametrize("caught", [False, True], ids=["passed on", "caught"])
def test_a_step_that_fails_is_undone_and_not_kept(
    table: Table, caught: bool, effects: Callable[[], list[str]]
) -> None:
    def fail(context: Context) -> None:
        context.connection.execute("INSERT INTO effects VALUES ('half')")
        context.enqueue(probe(), {})
        raise OSError("no")

    def function(_payload: Any, context: Context) -> None:
        try:
            context.step("fail", fail, context)
        except OSError:
            if not caught:
                raise

    job_id, answer = run(table, function)
    assert answer.document["status"] == ("completed" if caught else "retrying")
    assert not kept(table, job_id)
    assert not effects()
    assert len(table.rows()) == 1


def test_a_step_with_another_name_at_its_place_is_refused_with_both_names(
    table: Table, calls: list[str]
) -> None:
    job_id, _ = run(table, failing_first(calls, "fetch", "store"))
    due(table, job_id)
    changed = probe(failing_first(calls, "check", "fetch", "store"))
    assert deliver(changed, job_id).stops_qstash
    error = table.row(job_id)["error"]
    assert error.startswith("StepRefused: step 1 is 'check' now, and it was 'fetch' when attempt 1")
    assert f"stashjobs retry {job_id} --from-step 'fetch'" in error
    assert calls == ["fetch", "store"]
    # As the message says.
    retry_and_cancel.retry(job_id, actor="ada", from_step="fetch")
    assert deliver(changed, job_id).document["status"] == "completed"
    assert calls == ["fetch", "store", "check", "fetch", "store"]


def test_steps_that_were_added_behind_the_kept_ones_are_taken(
    table: Table, calls: list[str]
) -> None:
    job_id, _ = run(table, failing_first(calls, "fetch"))
    due(table, job_id)
    changed = probe(failing_first(calls, "fetch", "store"))
    assert deliver(changed, job_id).document["status"] == "completed"
    assert calls == ["fetch", "store"]


# ------------------------------------------------------------------ the job's transaction


def write(context: Context, name: str) -> None:
    context.connection.execute("INSERT INTO effects VALUES (%s)", [name])


def enqueue(context: Context, _name: str) -> None:
    context.enqueue(probe(), {})


def write_by_an_old_connection(context: Context, name: str) -> None:
    connection = context.connection
    context.step("first", lambda: None)
    connection.execute("INSERT INTO effects VALUES (%s)", [name])


def test_what_was_written_outside_of_a_step_is_not_committed_with_one(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    ways = [write, enqueue, write_by_an_old_connection]

    def function(payload: Any, context: Context) -> None:
        ways[payload](context, "outside")
        context.step("step", write, context, "inside")

    job = probe(function)
    for number in range(len(ways)):
        job_id = table.add(job, number)
        assert deliver(job, job_id).stops_qstash
        error = table.row(job_id)["error"]
        assert "before the step 'step' the job has written or enqueued" in error
    assert effects() == []
    assert len(table.rows()) == len(ways)


def test_what_was_only_read_outside_of_a_step_is_no_matter(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def function(_payload: Any, context: Context) -> None:
        context.connection.execute("SELECT count(*) FROM effects")
        context.step("step", write, context, "inside")
        with pytest.raises(psycopg.errors.UndefinedTable):
            context.connection.execute("SELECT FROM nowhere")
        context.step("another", write, context, "too")
        write(context, "with the completion")

    _, answer = run(table, function)
    assert answer.document["status"] == "completed"
    assert effects() == ["inside", "too", "with the completion"]


def test_a_step_that_writes_by_the_connection_of_another_step_is_refused(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def function(_payload: Any, context: Context) -> None:
        connection = context.step("first", lambda: None) or context.connection
        context.step("second", write, context, "second")
        context.step("third", lambda: connection.execute("INSERT INTO effects VALUES ('x')") and 1)

    job_id, answer = run(table, function)
    assert answer.stops_qstash
    assert "the step 'third' left a transaction open" in table.row(job_id)["error"]
    assert effects() == ["second"]
    assert [name for _, name, _ in kept(table, job_id)] == ["first", "second"]


def test_what_a_step_enqueues_is_committed_with_it(table: Table) -> None:
    def function(_payload: Any, context: Context) -> None:
        context.step("enqueue", lambda: context.enqueue(probe(type="child"), {}).job_id)
        raise OSError("no")

    job_id, _ = run(table, function)
    [(_, _, child_id)] = kept(table, job_id)
    assert table.row(child_id)["job_type"] == "child"


def test_a_step_whose_commit_was_not_acknowledged_is_found_kept(
    table: Table, calls: list[str], effects: Callable[[], list[str]]
) -> None:
    def once(context: Context) -> None:
        calls.append("write")
        write(context, "once")

    def function(_payload: Any, context: Context) -> Any:
        original = context.commit

        def commit() -> None:
            context.commit = original  # type: ignore[method-assign]
            own = context.recording_connection
            original()
            table.run("SELECT pg_terminate_backend(%s)", own.info.backend_pid)
            context._own = own
            own.execute("SELECT")

        context.commit = commit  # type: ignore[method-assign]
        return context.step("write", once, context)

    job_id, answer = run(table, function)
    assert (answer.document["status"], calls, effects()) == ("completed", ["write"], ["once"])
    assert len(kept(table, job_id)) == 1


def test_a_step_without_writes_is_kept_over_a_lost_connection(table: Table) -> None:
    def lose() -> int:
        table.run("SELECT pg_terminate_backend(%s)", database.connection().info.backend_pid)
        return 1

    job_id, answer = run(table, lambda _payload, context: context.step("lose", lose))
    assert answer.document["status"] == "completed"
    assert kept(table, job_id) == [(1, "lose", 1)]


# ------------------------------------------------------------------ refusals and bounds


def test_a_result_that_cannot_be_kept_ends_the_job(table: Table) -> None:
    results = [
        ("x" * 262_143, "is 262145 bytes, the limit is 262144 bytes"),
        (object(), "is not JSON"),
        ("\0", "contains the character U+0000"),
        ({"$sealed": 1}, "has the reserved member $sealed"),
    ]
    job = probe(lambda payload, context: context.step("large", lambda: results[payload][0]))
    for number, (_, why) in enumerate(results):
        job_id = table.add(job, number)
        assert deliver(job, job_id).stops_qstash
        error = table.row(job_id)["error"]
        assert error.startswith("PermanentError: the step 'large' ran, but its result")
        assert why in error
        assert kept(table, job_id) == []


def test_all_results_of_a_job_have_a_bound(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MAX_ALL_BYTES", 100)

    def function(_payload: Any, context: Context) -> None:
        context.step("first", lambda: "x" * 60)
        if context.attempt == 1:
            raise OSError("no")
        context.step("second", lambda: "y" * 60)

    job = probe(function)
    job_id = table.add(job)
    deliver(job, job_id)
    due(table, job_id)
    assert deliver(job, job_id).stops_qstash
    assert "makes 124 bytes with those before, the limit of one job" in table.row(job_id)["error"]


def test_the_number_of_steps_has_a_bound(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MAX_STEPS", 2)

    def function(_payload: Any, context: Context) -> None:
        for number in range(3):
            context.step(f"part {number}", lambda: None)

    job_id, answer = run(table, function)
    assert answer.stops_qstash
    assert table.row(job_id)["error"] == ("StepRefused: 'part 2' is step 3, the limit is 2 steps")


def test_a_step_within_a_step_is_refused(table: Table) -> None:
    def function(_payload: Any, context: Context) -> None:
        context.step("outer", lambda: context.step("inner", lambda: None))

    job_id, _ = run(table, function)
    assert "'inner' was called while the step 'outer' is running" in table.row(job_id)["error"]


def test_a_name_that_is_none_is_refused(table: Table) -> None:
    names = [(1, TypeError), ("", ValueError), ("\0", ValueError), ("x" * 201, ValueError)]

    def function(_payload: Any, context: Context) -> None:
        for name, error in names:
            with pytest.raises(error, match="the name of a step"):
                context.step(name, lambda: None)  # type: ignore[arg-type]

    assert run(table, function)[1].document["status"] == "completed"


def test_a_step_of_an_attempt_that_has_lost_its_lease_is_not_kept(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def function(_payload: Any, context: Context) -> None:
        table.expire_lease(context.job_id)
        claim = "SELECT FROM stashjobs.claim(job_id => %s, type => 'probe', lease_seconds => 60)"
        table.run(claim, context.job_id)
        context.step("late", write, context, "late")

    job_id, answer = run(table, function)
    assert answer.status == 409
    assert not kept(table, job_id)
    assert not effects()


def test_a_cancelled_job_hears_of_it_after_its_step_which_is_kept(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def function(_payload: Any, context: Context) -> None:
        retry_and_cancel.cancel(context.job_id, actor="ada")
        with pytest.raises(Cancelled, match="cancelled by ada"):
            context.step("step", write, context, "kept")
        raise OSError("stopped")

    job_id, _ = run(table, function)
    assert table.status(job_id) == "cancelled"
    assert effects() == ["kept"]
    assert len(kept(table, job_id)) == 1


# ------------------------------------------------------------------ longer than one delivery


def slow(_payload: Any, context: Context) -> list[int]:
    """Two steps of a delivery each; the time of the first attempt is over in the second one."""

    def part(number: int) -> int:
        if context.attempt < number:
            time.sleep(60)
        return number

    return [context.step(f"part {number}", part, number) for number in (1, 2, 3)]


def test_an_attempt_that_kept_a_step_goes_on_in_the_next_delivery(table: Table) -> None:
    job = probe(slow, timeout=0.2, retries=0)
    job_id = table.add(job)
    answers = [deliver(job, job_id).document["status"] for _ in range(3)]
    assert answers == ["snoozed", "snoozed", "completed"]
    row = table.row(job_id)
    assert (row["result"], row["attempt"], row["max_attempts"]) == ([1, 2, 3], 3, 3)
    assert row["errors"][0]["message"] == (
        "its time was over after the step 'part 1'; it goes on from there"
    )


def test_an_attempt_that_kept_no_new_step_is_one_that_failed(table: Table) -> None:
    def stuck(_payload: Any, context: Context) -> None:
        context.step("first", lambda: 1)
        context.step("stuck", time.sleep, 60)

    job = probe(stuck, timeout=0.2, retries=1)
    job_id = table.add(job)
    assert deliver(job, job_id).document["status"] == "snoozed"
    assert deliver(job, job_id).document["status"] == "retrying"
    due(table, job_id)
    assert deliver(job, job_id).document["status"] == "failed"


def test_an_async_job_goes_on_too(table: Table) -> None:
    async def part(context: Context, number: int) -> int:
        if context.attempt < number:
            await asyncio.sleep(60)
        return number

    async def function(_payload: Any, context: Context) -> list[int]:
        return [await context.step(f"part {n}", part, context, n) for n in (1, 2)]

    job = probe(function, timeout=0.2, retries=0)
    job_id = table.add(job)
    assert deliver(job, job_id).document["status"] == "snoozed"
    assert deliver(job, job_id).document["status"] == "completed"
    assert table.row(job_id)["result"] == [1, 2]


def test_async_steps_run_one_after_the_other(table: Table) -> None:
    async def function(_payload: Any, context: Context) -> None:
        await asyncio.gather(
            context.step("one", asyncio.sleep, 0), context.step("two", asyncio.sleep, 0)
        )

    job_id, _ = run(table, function)
    assert "'two' was called while the step 'one' is running" in table.row(job_id)["error"]


def test_a_function_that_returns_an_awaitable_is_refused_with_what_to_write(table: Table) -> None:
    async def function(_payload: Any, context: Context) -> None:
        with pytest.raises(TypeError, match="give the step the async def function itself"):
            context.step("wrong", lambda: asyncio.sleep(0))

    assert run(table, function)[1].document["status"] == "completed"


# ------------------------------------------------------------------ operators


def ended(table: Table, calls: list[str], *names: str, well: bool) -> tuple[str, Job[Any, Any]]:
    job = probe(failing_first(calls, *names), retries=1 if well else 0)
    job_id = table.add(job)
    deliver(job, job_id)
    if well:
        due(table, job_id)
        deliver(job, job_id)
    assert table.status(job_id) == ("completed" if well else "failed")
    calls.clear()
    return job_id, job


def test_a_manual_retry_drops_what_it_must(table: Table, calls: list[str]) -> None:
    cases: list[tuple[bool, dict[str, Any], list[str]]] = [
        (False, {}, []),
        (True, {}, ["a", "b", "c"]),
        (False, {"payload": {"other": 1}}, ["a", "b", "c"]),
        (False, {"from_step": "b"}, ["b", "c"]),
        (True, {"from_step": "c"}, ["c"]),
        (False, {"from_step": "b", "payload": {"other": 1}}, ["b", "c"]),
    ]
    for well, options, again in cases:
        job_id, job = ended(table, calls, "a", "b", "c", well=well)
        retry_and_cancel.retry(job_id, actor="ada", **options)
        assert deliver(job, job_id).document["status"] == "completed"
        assert calls == again, (well, options)
        calls.clear()


def test_a_step_that_was_not_kept_cannot_be_retried_from(table: Table, calls: list[str]) -> None:
    job_id, _ = ended(table, calls, "a", "b", well=False)
    before = table.rows()
    with pytest.raises(NotPossible, match="has kept no step 'c'; it has kept 'a', 'b'"):
        retry_and_cancel.retry(job_id, actor="ada", from_step="c")
    assert table.rows() == before
    assert len(kept(table, job_id)) == 2


def test_steps_are_in_the_story_with_how_long_they_took(table: Table, calls: list[str]) -> None:
    job_id, _ = ended(table, calls, "a", "b", well=False)
    retry_and_cancel.retry(job_id, actor="ada", from_step="b")
    own = database.connection()
    actions = story.read_actions(own, job_id)
    found = story.read_steps(own, job_id, actions)
    assert [(step.name, step.attempt, step.is_kept) for step in found] == [
        ("a", 1, True),
        ("b", 1, False),
    ]
    job = search.find(own, job_id)
    assert job is not None
    notes = [event.note for event in story.tell(job, actions, found)]
    steps_told = [note for note in notes if note.startswith("step ")]
    assert steps_told == [f"step {n} {x.name}, {x.seconds:.3f} s" for n, x in enumerate(found, 1)]


def test_the_row_shows_the_last_step(table: Table) -> None:
    def function(_payload: Any, context: Context) -> None:
        context.progress(0.5)
        context.step("fetch", lambda: None)

    job_id, _ = run(table, function)
    assert table.row(job_id)["progress"] == {
        "fraction": 0.5,
        "note": "",
        "step": "fetch",
        "steps": 1,
    }


# ------------------------------------------------------------------ encrypted jobs


def test_the_steps_of_an_encrypted_job_are_encrypted_and_rotated(
    table: Table, settings: pytest.MonkeyPatch, calls: list[str]
) -> None:
    old, new = encryption.new_entry("old"), encryption.new_entry("new")
    settings.setenv("PAYLOAD_KEYS", old)
    job = probe(failing_first(calls, "fetch", "store"))
    job_id = "job-1"
    payload = encryption.encrypt({}, Place(job_id, job.type, "payload"))
    table.add(job, payload, job_id=job_id)
    deliver(job, job_id)
    assert [set(result) for _, _, result in kept(table, job_id)] == [{"$sealed"}, {"$sealed"}]
    assert '"did"' not in json.dumps(kept(table, job_id))

    settings.setenv("PAYLOAD_KEYS", f"{new},{old}")
    report = key_rotation.rotate_keys(batch=1)
    assert (report.reencrypted, report.by_key) == (3, {"new": 3})
    settings.setenv("PAYLOAD_KEYS", new)
    due(table, job_id)
    assert deliver(job, job_id).document["status"] == "completed"
    assert calls == ["fetch", "store"]


def test_a_result_that_was_moved_to_another_step_is_refused(
    table: Table, settings: pytest.MonkeyPatch, calls: list[str]
) -> None:
    settings.setenv("PAYLOAD_KEYS", encryption.new_entry("key"))
    job = probe(failing_first(calls, "fetch", "store"))
    payload = encryption.encrypt({}, Place("job-1", job.type, "payload"))
    table.add(job, payload, job_id="job-1")
    deliver(job, "job-1")
    table.run(
        "UPDATE job_steps SET result = (SELECT result FROM job_steps WHERE position = 1)"
        " WHERE position = 2"
    )
    due(table, "job-1")
    assert deliver(job, "job-1").stops_qstash
    assert table.row("job-1")["errors"][-1]["type"] == "EncryptionError"


# ------------------------------------------------------------------ what it costs


def test_a_step_costs_one_round_trip_and_three_where_it_writes(table: Table) -> None:
    job = probe(lambda _payload, context: context.step("read", lambda: 1))
    job_id = table.add(job)
    with counted_round_trips() as trips:
        deliver(job, job_id)
    assert len(trips) == 2 + 1
    job = probe(lambda _payload, context: context.step("write", write, context, "once"))
    job_id = table.add(job)
    with counted_round_trips() as trips:
        deliver(job, job_id)
    written = 1
    assert len(trips) == 2 + written + 3
