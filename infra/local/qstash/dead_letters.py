"""The dead letter queue (docs: "Dead Letter Queues"; OpenAPI, `/v2/dlq`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import filters, views
from .errors import bad_request, not_found
from .filters import MessageFilter, Query
from .model import Answer, DeadLetter, Message, from_document, to_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .clock import Clock
    from .store import Store

KIND = "dead_letter"


class DeadLetters:
    """Failed messages by id, oldest first; dropped after the retention period."""

    def __init__(self, clock: Clock, store: Store, retention_seconds: int) -> None:
        self._clock = clock
        self._store = store
        self._retention_ms = retention_seconds * 1000
        loaded = [from_document(DeadLetter, document) for document in store.load(KIND)]
        loaded.sort(key=lambda letter: filters.stream_id(letter.id))
        self._letters = {letter.id: letter for letter in loaded}
        self._last = filters.stream_id(loaded[-1].id) if loaded else (0, -1)

    def add(self, message: Message, answer: Answer) -> DeadLetter:
        """File a message under a new id such as `1725323658779-0`."""
        now = self._clock.now_ms()
        self._last = (now, 0) if now > self._last[0] else (self._last[0], self._last[1] + 1)
        letter = DeadLetter(f"{self._last[0]}-{self._last[1]}", message, answer, now)
        self._letters[letter.id] = letter
        self._store.put(KIND, letter.id, to_document(letter))
        return letter

    def get(self, dlq_id: str) -> DeadLetter:
        self._expire()
        letter = self._letters.get(dlq_id)
        if letter is None:
            raise not_found("dlq message", dlq_id)
        return letter

    def remove(self, dlq_id: str) -> bool:
        """Whether it was there."""
        self._store.delete(KIND, dlq_id)
        return self._letters.pop(dlq_id, None) is not None

    def find(self, query: Query) -> tuple[list[DeadLetter], str]:
        """A page of the letters that match, in the asked order, and the cursor of the next page."""
        self._expire()
        size = filters.count(query, 100, 100)
        return filters.page(self._matching(query), size, lambda letter: letter.id)

    def list(self, query: Query) -> dict[str, Any]:
        """OpenAPI, `GET /v2/dlq`."""
        letters, cursor = self.find(query)
        listed: dict[str, Any] = {"messages": [views.dead_letter_view(one) for one in letters]}
        return {"cursor": cursor, **listed} if cursor else listed

    def _matching(self, query: Query) -> Iterator[DeadLetter]:
        matches = MessageFilter(query)
        ids = filters.values(query, "dlqIds")
        statuses = filters.values(query, "responseStatus")
        if refused := [name for name in ("host", "path") if query.get(name)]:
            # qstash-js, `filter-types.ts`: "the DLQ endpoint rejects these"; the words are unknown.
            raise bad_request(f"unsupported filter: {refused[0]}")
        letters = self._letters.values()
        for letter in filters.beyond_cursor(letters, query, lambda one: filters.stream_id(one.id)):
            if ids:
                if letter.id in ids:  # "If provided, other filters are ignored."
                    yield letter
            elif (not statuses or str(letter.answer.status) in statuses) and matches(
                letter.message, letter.failed_at
            ):
                yield letter

    def _expire(self) -> None:
        oldest_kept = self._clock.now_ms() - self._retention_ms
        while self._letters:
            first = next(iter(self._letters.values()))
            if first.failed_at >= oldest_kept:
                return
            self.remove(first.id)
