"""Stripe on one machine: localstripe, a stateful stand-in for Stripe's API (PyPI, GPL-3.0).

It is a program of its own (`python -m infra.local.stripe HANDLE STATE WEBHOOK_URL`), started
at the first connection. It has a subscription from the start, `sub_example` of `cus_example`,
and sends its events to the ingress, signed as Stripe signs them.

What it cannot do: checkout sessions, prices (it has plans), and the events
`customer.subscription.updated` and `invoice.paid`.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.local.on_demand import OnDemand
from infra.local.own_site import website_guard

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET_KEY = "sk_test_local"  # noqa: S105 - the stand-in takes whatever begins like one
SECRET_VARIABLE = "STRIPE_WEBHOOK_SECRET"  # noqa: S105 - a variable's name
WEBHOOK_ROUTE = "/api/webhooks/stripe"


class Stripe(OnDemand):
    """localstripe behind Stripe's HTTP API.

    Args:
        root: The repository.
        port: 0 chooses a free one.
        log_file: Where the server writes what it has to say.
        state: The file that keeps what is in it.
        webhook_url: Where its events go.
        webhook_secret: What they are signed with.
    """

    def __init__(
        self,
        root: Path,
        port: int,
        log_file: Path,
        *,
        state: Path,
        webhook_url: str,
        webhook_secret: str,
    ) -> None:
        super().__init__("infra.local.stripe", root, port, log_file)
        self.arguments = [str(state.absolute()), webhook_url]
        self.variables = {SECRET_VARIABLE: webhook_secret}

    @property
    def environment(self) -> dict[str, str]:
        """The settings that lead Stripe's SDK here."""
        return {"STRIPE_API_BASE": self.url, "STRIPE_SECRET_KEY": SECRET_KEY}


def serve(handle: int, state: Path, webhook_url: str, webhook_secret: str) -> None:
    """Answer on the listening socket `handle` until the process is killed."""
    from aiohttp import web
    from localstripe import server, webhooks  # type: ignore[import-untyped]

    _keep_in(state)
    server.app.middlewares.insert(0, website_guard())
    webhooks.register_webhook("stashjobs", webhook_url, webhook_secret, None)
    server.app.on_startup.append(_add_example)
    web.run_app(server.app, sock=socket.socket(fileno=handle), print=None)


def _keep_in(state: Path) -> None:
    """localstripe keeps its objects in one shared file in /tmp; here it has its own."""
    from localstripe import resources

    def save(store: Any) -> None:
        unfinished = state.with_suffix(".new")
        unfinished.touch(mode=0o600)
        unfinished.write_bytes(pickle.dumps(store))
        unfinished.replace(state)

    resources.Store.dump_to_disk = save
    if state.exists():
        resources.store.update(pickle.loads(state.read_bytes()))  # noqa: S301 - written above


async def _add_example(_app: Any) -> None:
    """The customer and the subscription of the example event, unless they are there already."""
    from localstripe import resources

    if "subscription:sub_example" in resources.store:
        return
    # No event for what was always there.
    telling, resources.schedule_webhook = resources.schedule_webhook, lambda _event: None
    try:
        _create_example(resources)
    finally:
        resources.schedule_webhook = telling


def _create_example(resources: Any) -> None:
    resources.Product(id="prod_team", name="Team", type="service")
    plan = resources.Plan(
        id="team-yearly", product="prod_team", amount=124_900, currency="eur", interval="year"
    )
    card = resources.PaymentMethod(
        type="card",
        card={"number": "4242424242424242", "exp_month": "12", "exp_year": "2040", "cvc": "123"},
    )
    with _example_id(resources):
        resources.Customer(
            name="Ada Lovelace",
            email="ada@example.com",
            payment_method=card.id,
            invoice_settings={"default_payment_method": card.id},
            metadata={"user_id": "u_1", "organization_id": "o_1"},
        )
    with _example_id(resources):
        resources.Subscription(customer="cus_example", items=[{"plan": plan.id}])


@contextmanager
def _example_id(resources: Any) -> Iterator[None]:
    """The next object is `..._example`; those that it makes in turn have ids like any other."""
    random_id = resources.random_id
    ids = iter(["example"])
    resources.random_id = lambda length: next(ids, None) or random_id(length)
    try:
        yield
    finally:
        resources.random_id = random_id


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], os.environ[SECRET_VARIABLE])
