"""The job, whatever the source: the handler that is registered, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from functions.process_webhook import registry
from functions.process_webhook.handler import process_webhook
from functions.process_webhook.models import EXAMPLE
from stashjobs.errors import InvalidPayload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stashjobs import Context
    from tests.deliveries import Table


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Any, Any]]:
    """The registry, for this test's own handlers too."""
    registry.load()
    own = dict(registry._handlers)
    monkeypatch.setattr(registry, "_handlers", own)
    return own  # type: ignore[return-value]


class Order(BaseModel):
    number: int


def test_an_event_without_a_handler_completes_and_says_so(process: Callable[..., Any]) -> None:
    answer, row = process("github", "star", {})
    assert (answer.status, row["status"]) == (200, "completed")
    assert row["result"] == {"ignored": "no handler for github star"}


def test_the_handler_gets_its_model_and_its_result_is_the_job_s(
    handlers: dict[Any, Any], process: Callable[..., Any]
) -> None:
    @registry.on("acme", "order.paid", "order.placed")
    def order(order: Order, context: Context) -> dict[str, Any]:
        return {"number": order.number, "attempt": context.attempt}

    for event in ("order.paid", "order.placed"):
        answer, row = process("acme", event, {"number": 7, "unknown": "passed over"})
        assert answer.status == 200
        assert row["result"] == {"number": 7, "attempt": 1}
    assert process("other", "order.paid", {})[1]["result"].keys() == {"ignored"}


def test_a_body_that_does_not_fit_fails_for_good_without_its_values(
    handlers: dict[Any, Any], process: Callable[..., Any]
) -> None:
    @registry.on("acme", "order.paid")
    def order(_order: Order, _context: Context) -> None: ...

    answer, row = process("acme", "order.paid", {"number": "a secret"})
    assert (answer.status, row["status"]) == (489, "failed")
    assert row["error"].startswith("InvalidPayload: the payload does not fit acme order.paid: nu")
    assert "a secret" not in row["error"]


def test_what_a_handler_writes_is_undone_when_it_fails(
    handlers: dict[Any, Any], table: Table, process: Callable[..., Any]
) -> None:
    @registry.on("acme", "order.paid")
    def order(_order: dict[str, Any], context: Context) -> None:
        context.connection.execute(
            "INSERT INTO job_actions (actor, action, job_id, before) "
            "VALUES ('acme', 'retry', 'acme', '{}')"
        )
        raise OSError("after the write")

    assert process("acme", "order.paid", {})[1]["status"] == "retrying"
    assert table.run("SELECT 1 FROM job_actions WHERE actor = 'acme'") == []


def test_two_handlers_for_one_event_are_a_mistake(handlers: dict[Any, Any]) -> None:
    def first(_body: dict[str, Any], _context: Context) -> None: ...
    def second(_body: dict[str, Any], _context: Context) -> None: ...

    registry.on("acme", "order.paid")(first)
    registry.on("acme", "order.paid")(first)
    with pytest.raises(ValueError, match=r"acme order\.paid is handled twice: by .*first and by"):
        registry.on("acme", "order.paid")(second)


def test_a_handler_for_no_event_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one event"):
        registry.on("acme")


def test_the_example_is_a_webhook_that_is_handled(process: Callable[..., Any]) -> None:
    assert process_webhook.example() == EXAMPLE
    answer, row = process(EXAMPLE["source"], EXAMPLE["event"], EXAMPLE["body"])
    assert answer.status == 200
    assert row["result"]["summary"] == (
        "octocat pushed 1 commit to octocat/hello-world main: Say hello"
    )


def test_a_payload_with_other_members_is_refused() -> None:
    with pytest.raises(InvalidPayload, match="unknown"):
        process_webhook.dump_payload({**EXAMPLE, "unknown": 1})
