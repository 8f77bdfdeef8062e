"""Events come in any order and more than once; the table ends at what Stripe says."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stashjobs.store import database
from tests import stripe_server
from tests.deliveries import Table
from tests.examples import examples
from tests.integration.process_stripe_webhook.conftest import Process
from tests.stripe_server import MONTH, NOW, StripeServer, event

# A subscription's life: what Stripe has after each change, and the event it sends of it. Several
# have the same `created`, as Stripe counts whole seconds.
TRIAL = stripe_server.subscription(
    status="trialing", trial_end=NOW + MONTH, metadata={}, latest_invoice=None
)
ACTIVE = TRIAL | {"status": "active", "latest_invoice": "in_1"}
PAST_DUE = ACTIVE | {"status": "past_due"}
ENDING = ACTIVE | {"cancel_at_period_end": True}
CANCELED = ENDING | {"status": "canceled", "ended_at": NOW + MONTH, "canceled_at": NOW}
OPEN, PAID = stripe_server.unpaid(), stripe_server.invoice()

LIFE: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    ([TRIAL], event("customer.subscription.created", TRIAL)),
    ([TRIAL], event("checkout.session.completed", stripe_server.session())),
    ([TRIAL], event("customer.subscription.trial_will_end", TRIAL)),
    ([PAST_DUE, OPEN], event("invoice.payment_failed", OPEN, created=NOW + 5)),
    (
        [PAST_DUE],
        event("customer.subscription.updated", PAST_DUE, before={"status": "trialing"}),
    ),
    ([ACTIVE, PAID], event("invoice.paid", PAID, created=NOW + 6)),
    (
        [ENDING],
        event("customer.subscription.updated", ENDING, before={"cancel_at_period_end": False}),
    ),
    ([CANCELED], event("customer.subscription.deleted", CANCELED, created=NOW + 9)),
]
for number, (_, each) in enumerate(LIFE):
    each["event"]["id"] = f"evt_{number}"
EVENTS = [each for _, each in LIFE]

NOT_STATE = {"event_id", "event_created", "reading", "updated_at"}


def states(table: Table) -> list[dict[str, Any]]:
    """All that the tables say, apart from how they came to say it."""
    rows = table.run("SELECT * FROM subscriptions") + table.run("SELECT * FROM customers")
    return [{name: row[name] for name in row.keys() - NOT_STATE} for row in rows]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int | None]]:
    """Pairs: so many changes have happened, and this event is delivered (each at least once, some
    again, and none before its change)."""
    again = draw(st.lists(st.integers(0, len(LIFE) - 1), max_size=4))
    deliveries = draw(st.permutations([*range(len(LIFE)), *again]))
    history, happened = [], 0
    for number in deliveries:
        least = max(happened, number + 1)
        happened = draw(st.integers(least, len(LIFE)))
        history.append((happened, number))
    return history


def put_until(stripe: StripeServer, happened: int) -> None:
    for things, _ in LIFE[:happened]:
        for thing in things:
            stripe.put(thing)


@settings(
    max_examples=examples(4),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=histories())
def test_any_order_and_any_repetition_end_in_the_same_state(
    stripe: StripeServer,
    process: Process,
    table: Table,
    clear: Callable[[], None],
    history: list[tuple[int, int]],
) -> None:
    clear()
    put_until(stripe, len(LIFE))
    process(EVENTS[1])
    expected = states(table)
    clear()
    for happened, number in history:
        put_until(stripe, happened)
        assert process(EVENTS[number]).status == 200
    assert states(table) == expected
    assert expected[0]["status"] == "canceled"
    assert expected[0]["user_id"] == "u_session"
    keys = table.run(
        "SELECT idempotency_key, count(*) FROM job_executions "
        "WHERE job_type <> 'process-stripe-webhook' GROUP BY 1 HAVING count(*) > 1"
    )
    assert keys == []


@pytest.mark.parametrize("with_owner", [True, False])
def test_who_asked_later_has_the_last_word_also_when_it_writes_first(
    stripe: StripeServer,
    process: Process,
    table: Table,
    row: Callable[[], dict[str, Any]],
    with_owner: bool,
) -> None:
    """The first handler has read the old state and is slow to write it."""
    stripe.put(ACTIVE)
    stripe.put(PAID)
    has_read, may_answer = threading.Event(), threading.Event()

    def hold_back(_path: str) -> None:
        stripe.before_answer = lambda _path: None
        has_read.set()
        assert may_answer.wait(60)

    stripe.before_answer = hold_back
    early = EVENTS[1] if with_owner else EVENTS[0]

    def first() -> None:
        try:
            answers.append(process(early).status)
        finally:
            database.close()

    answers: list[int] = []
    handler = threading.Thread(target=first)
    handler.start()
    assert has_read.wait(60)
    stripe.put(CANCELED)
    assert process(EVENTS[-1]).status == 200
    assert row()["status"] == "canceled"
    may_answer.set()
    handler.join(60)

    assert answers == [200]
    assert row()["status"] == "canceled"
    # What only the checkout knew is not lost with its old state.
    assert row()["user_id"] == ("u_session" if with_owner else None)
    assert table.run("SELECT * FROM customers WHERE deleted") == []
