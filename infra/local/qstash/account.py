"""Everything one QStash account consists of, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import ids
from .dead_letters import DeadLetters
from .delivery import Deliveries
from .events import EventLog
from .flow_control import FlowControlKeys
from .publish import Publisher
from .queues import Queues
from .schedules import Schedules
from .signature import SigningKeys
from .timers import Timers
from .transport import Faults, Transport
from .url_groups import UrlGroups

if TYPE_CHECKING:
    from .clock import Clock
    from .model import Limits
    from .store import Store

_KIND = "account"


class Account:
    """The parts, and the credentials: given, else remembered, else new."""

    def __init__(
        self,
        *,
        clock: Clock,
        limits: Limits,
        store: Store,
        faults: Faults,
        token: str | None,
        current_signing_key: str | None,
        next_signing_key: str | None,
    ) -> None:
        remembered = next(iter(store.load(_KIND)), {})
        self.token = token or remembered.get("token") or ids.token()
        self.keys = SigningKeys(
            current_signing_key or remembered.get("current") or ids.signing_key(),
            next_signing_key or remembered.get("next") or ids.signing_key(),
        )
        self.clock = clock
        self.limits = limits
        self.store = store
        self.timers = Timers(clock)
        self.transport = Transport(faults, limits.max_message_bytes)
        self.events = EventLog(clock, limits.max_events)
        self.dead_letters = DeadLetters(clock, store, limits.dlq_retention_seconds)
        self.queues = Queues(clock, store, limits)
        self.groups = UrlGroups(clock, store, limits)
        self.flow_control = FlowControlKeys(store)
        self.deliveries = Deliveries(
            clock=clock,
            limits=limits,
            store=store,
            events=self.events,
            dead_letters=self.dead_letters,
            queues=self.queues,
            flow_control=self.flow_control,
            keys=self.keys,
            timers=self.timers,
            transport=self.transport,
        )
        self.publisher = Publisher(
            clock=clock,
            limits=limits,
            store=store,
            groups=self.groups,
            queues=self.queues,
            deliveries=self.deliveries,
        )
        self.schedules = Schedules(
            clock=clock,
            limits=limits,
            store=store,
            timers=self.timers,
            publisher=self.publisher,
        )
        self.deliveries.on_finished = self.schedules.message_ended
        self.remember()

    def remember(self) -> None:
        """Keep the credentials for the next start."""
        self.store.put(
            _KIND,
            "credentials",
            {"token": self.token, "current": self.keys.current, "next": self.keys.next},
        )

    def restore(self) -> None:
        """Take up the work of an earlier run."""
        self.deliveries.restore()
        self.schedules.restore()
