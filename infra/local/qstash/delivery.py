"""From accepted message to delivered, failed or canceled (docs: "Debug Logs", "Retry", "Queues").

A due message passes three gates, each first come first served: its queue, its flow-control key and
the account's parallelism. Nothing here looks at more than the head of a line.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from . import callbacks, ids, retry
from .model import Answer, Headers, Limits, Message, from_document, to_document
from .signature import SigningKeys, sign
from .transport import DeliveryError, DeliveryRequest, Transport

if TYPE_CHECKING:
    from .clock import Clock
    from .dead_letters import DeadLetters
    from .events import EventLog
    from .flow_control import FlowControlKeys, Key
    from .queues import Lane, Queues
    from .store import Store
    from .timers import Timers

KIND = "message"
REGION = "EU-CENTRAL-1"
# "Messages are removed from the database shortly after they're delivered": how shortly is
# undocumented.
_KEPT_AFTER_END_MS = 5000
_KEPT_AFTER_END = 1000

Finished = Callable[[Message, bool], None]


class Deliveries:
    """Every message that has not ended yet, and the tasks that deliver them."""

    def __init__(
        self,
        *,
        clock: Clock,
        limits: Limits,
        store: Store,
        events: EventLog,
        dead_letters: DeadLetters,
        queues: Queues,
        flow_control: FlowControlKeys,
        keys: SigningKeys,
        timers: Timers,
        transport: Transport,
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._store = store
        self._events = events
        self._dead_letters = dead_letters
        self._queues = queues
        self._flow_control = flow_control
        self._keys = keys
        self._timers = timers
        self._transport = transport
        self.on_finished: Finished = lambda _message, _delivered: None
        self._pending: dict[str, Message] = {}
        self._canceled: set[str] = set()
        self._ended: deque[tuple[int, Message]] = deque(maxlen=_KEPT_AFTER_END)
        self._ready: deque[Message] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        # Callbacks still under way per message; a queue's next message waits for them.
        self._callbacks: dict[str, int] = {}
        self._sequence = 0
        self._stopping = False

    @property
    def active(self) -> int:
        """Requests in flight."""
        return len(self._tasks)

    @property
    def pending(self) -> int:
        """Messages that have not ended."""
        return len(self._pending)

    # -- entering and leaving ------------------------------------------------------------------

    def submit(self, message: Message) -> None:
        """Accept a new message."""
        self._sequence += 1
        message.sequence = self._sequence
        message.next_delivery = message.not_before
        self._save(message)
        self._events.add("CREATED", message)
        self._enter(message)

    def restore(self) -> None:
        """Take up the messages of an earlier run; one that was in flight then is sent again."""
        loaded = [from_document(Message, document) for document in self._store.load(KIND)]
        for message in sorted(loaded, key=lambda message: message.sequence):
            self._sequence = max(self._sequence, message.sequence)
            lane = self._lane(message)
            if lane is not None and message.retried:
                lane.holding.add(message.id)  # it had its turn: the ones behind it still wait
            self._enter(message)

    def _enter(self, message: Message) -> None:
        self._pending[message.id] = message
        if message.delivery.flow_control is not None:
            self.pump_key(self._flow_control.configure(message.delivery.flow_control))
        if message.source_message_id is not None:
            source = message.source_message_id
            self._callbacks[source] = self._callbacks.get(source, 0) + 1
        self._at_delivery_time(message)

    def _at_delivery_time(self, message: Message) -> None:
        if message.next_delivery <= self._clock.now_ms():
            self._due(message)
        else:
            self._timers.at(message.next_delivery, lambda: self._due(message))

    def get(self, message_id: str) -> Message | None:
        """A message that is being delivered, or was until a moment ago."""
        message = self._pending.get(message_id)
        if message is not None:
            return message
        now = self._clock.now_ms()
        while self._ended and self._ended[0][0] + _KEPT_AFTER_END_MS < now:
            self._ended.popleft()
        return next((m for _, m in self._ended if m.id == message_id), None)

    def all(self) -> Iterable[Message]:
        return self._pending.values()

    def cancel(self, message_id: str) -> bool:
        """Mark as canceled: "in the next deliver time, the message will be marked as CANCELLED and
        will be completely removed from the system". Until then only its log remains.
        """
        message = self._pending.pop(message_id, None)
        if message is None:
            return False
        self._canceled.add(message_id)
        self._store.delete(KIND, message_id)
        self._events.add("CANCEL_REQUESTED", message)
        return True

    def discard(self, message: Message) -> None:
        """Cancel at once, for a message whose queue was deleted under it (undocumented)."""
        self.cancel(message.id)
        self._drop_if_canceled(message)

    def _end(self, message: Message, state: str, *, delivered: bool) -> None:
        self._events.add(state, message)
        if self._pending.pop(message.id, None) is not None:
            self._ended.append((self._clock.now_ms(), message))
        self._canceled.discard(message.id)
        self._store.delete(KIND, message.id)
        if message.source_message_id is not None:
            self._callback_ended(message.source_message_id)
        self._release_lane(message)
        self.on_finished(message, delivered)

    # -- the gates -----------------------------------------------------------------------------

    def _due(self, message: Message) -> None:
        lane = self._lane(message)
        if lane is not None and message.id not in lane.holding:
            lane.waiting.append(message)
            self.pump_lane(lane)
        else:
            self._enter_flow_control(message)

    def _lane(self, message: Message) -> Lane | None:
        return None if message.queue_name is None else self._queues.find(message.queue_name)

    def pump_lane(self, lane: Lane) -> None:
        """Let the head of a queue go on while there are places."""
        while lane.waiting and (lane.open or lane.waiting[0].id in self._canceled):
            message = lane.waiting.popleft()
            if not self._drop_if_canceled(message):
                lane.holding.add(message.id)
                self._enter_flow_control(message)

    def _enter_flow_control(self, message: Message) -> None:
        control = message.delivery.flow_control
        if control is None:
            self._enter_account(message)
            return
        key = self._flow_control.ensure(control.key)
        key.waiting.append(message)
        self.pump_key(key)

    def pump_key(self, key: Key) -> None:
        """Let the head of a wait list go on while the key's limits allow."""
        while key.waiting:
            if key.waiting[0].id in self._canceled:
                self._drop_if_canceled(key.waiting.popleft())
                continue
            now = self._clock.now_ms()
            wait = key.wait_ms(now)
            if wait == 0:
                key.take()
                self._enter_account(key.waiting.popleft())
                continue
            if wait is not None and not now < key.wakes_at <= now + wait:
                key.wakes_at = now + wait
                self._timers.at(key.wakes_at, lambda: self.pump_key(key))
            return

    def _enter_account(self, message: Message) -> None:
        self._ready.append(message)
        self._pump_account()

    def _pump_account(self) -> None:
        while (
            self._ready and not self._stopping and len(self._tasks) < self._limits.max_parallelism
        ):
            message = self._ready.popleft()
            if self._drop_if_canceled(message):
                self._release_key(message)
                continue
            task = asyncio.create_task(self._attempt(message), name=f"deliver {message.id}")
            self._tasks.add(task)
            task.add_done_callback(self._attempt_done)

    def _attempt_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()
            self._pump_account()

    def _drop_if_canceled(self, message: Message) -> bool:
        if message.id not in self._canceled:
            return False
        self._end(message, "CANCELED", delivered=False)
        return True

    def _release_key(self, message: Message) -> None:
        control = message.delivery.flow_control
        if control is not None:
            key = self._flow_control.ensure(control.key)
            key.active = max(0, key.active - 1)
            self.pump_key(key)

    def _release_lane(self, message: Message) -> None:
        lane = self._lane(message)
        if lane is None or message.id not in lane.holding:
            return
        if not self._callbacks.get(message.id):
            lane.holding.discard(message.id)
            self.pump_lane(lane)

    def _callback_ended(self, source: str) -> None:
        left = self._callbacks.get(source, 1) - 1
        if left > 0:
            self._callbacks[source] = left
            return
        self._callbacks.pop(source, None)
        if source not in self._pending:
            for lane in self._queues.all():
                if source in lane.holding:
                    lane.holding.discard(source)
                    self.pump_lane(lane)

    # -- one attempt ---------------------------------------------------------------------------

    async def _attempt(self, message: Message) -> None:
        self._events.add("ACTIVE", message)
        try:
            response = await self._transport.deliver(self._request(message))
            answer = Answer(response.status, response.headers, response.body)
        except DeliveryError as error:
            answer = Answer(error=str(error))
        self._release_key(message)
        if 200 <= answer.status < 300:
            self._callback(message, answer)
            self._end(message, "DELIVERED", delivered=True)
        else:
            self._failed_attempt(message, answer)

    def _request(self, message: Message) -> DeliveryRequest:
        """Docs: "Receiving Messages", "Headers"."""
        delivery = message.delivery
        own: dict[str, str | None] = {
            "Upstash-Signature": sign(self._keys.current, message.url, delivery.body),
            "Upstash-Message-Id": message.id,
            "Upstash-Retried": str(message.retried),
            "Upstash-Caller-Ip": delivery.caller_ip or None,
            "Upstash-Schedule-Id": message.schedule_id,
            "Upstash-Topic-Name": message.topic_name,
            "Upstash-Region": REGION,
        }
        headers: Headers = {
            "User-Agent": ["Upstash-QStash"],
            "Accept-Encoding": ["gzip"],
            **delivery.headers,
            **{name: [value] for name, value in own.items() if value is not None},
        }
        return DeliveryRequest(
            delivery.method,
            message.url,
            headers,
            delivery.body,
            float(delivery.timeout or self._limits.max_timeout_seconds),
            message.id,
            message.retried,
        )

    def _failed_attempt(self, message: Message, answer: Answer) -> None:
        self._events.add(
            "ERROR",
            message,
            error=answer.error or f"endpoint returned status code {answer.status}",  # undocumented
            responseStatus=answer.status or None,
            responseHeader=answer.headers,  # what the SDKs read
            responseHeaders=answer.headers,  # what the OpenAPI document says
            responseBody=base64.b64encode(answer.body).decode(),
        )
        # "If retries are not exhausted yet, [...] the message will be marked as CANCELLED".
        if message.retried >= message.delivery.max_retries or _non_retryable(answer):
            letter = self._dead_letters.add(message, answer)
            self._callback(message, answer)
            self._callback(message, answer, letter.id)
            self._end(message, "FAILED", delivered=False)
        elif message.id in self._canceled:
            self._end(message, "CANCELED", delivered=False)
        else:
            self._callback(message, answer)
            self._retry(message, answer)

    def _retry(self, message: Message, answer: Answer) -> None:
        now = self._clock.now()
        delay = retry.delay_seconds(
            message.retried, message.delivery.retry_delay, answer.headers, now
        )
        message.retried += 1
        message.next_delivery = int((now + delay) * 1000)
        self._save(message)
        self._events.add("RETRY", message, nextDeliveryTime=message.next_delivery)
        self._at_delivery_time(message)

    def _callback(self, message: Message, answer: Answer, dlq_id: str | None = None) -> None:
        """Publish a callback, or with a `dlq_id` the failure callback, where one was asked for."""
        delivery = message.delivery
        failure = dlq_id is not None
        url = delivery.failure_callback if failure else delivery.callback
        if url is None:
            return
        options = delivery.failure_callback_options if failure else delivery.callback_options
        content = callbacks.body(message, answer, dlq_id)
        now = self._clock.now_ms()
        self.submit(
            Message(
                id=ids.message_id(),
                url=url,
                delivery=callbacks.delivery(message, options, content, self._limits),
                created_at=now,
                not_before=now,
                source_message_id=message.id,
            )
        )

    def _save(self, message: Message) -> None:
        self._store.put(KIND, message.id, to_document(message))

    async def stop(self, grace: float) -> None:
        """Give what is in flight a moment to end, then cut it off; it stays in the store."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _non_retryable(answer: Answer) -> bool:
    """Docs: "Retry", "Non-Retryable Error": both the status and the header."""
    header = {name.lower(): values for name, values in answer.headers.items()}
    values = header.get("upstash-nonretryable-error", [""])
    return answer.status == 489 and values[0].strip().lower() == "true"
