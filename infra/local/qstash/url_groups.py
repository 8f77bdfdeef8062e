"""URL groups, which the API calls topics (docs: "URL Groups"; OpenAPI, `/v2/topics`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import bad_request, not_found, quota_exceeded
from .model import Endpoint, Limits, UrlGroup, from_document, to_document
from .options import check_url
from .queues import check_name

if TYPE_CHECKING:
    from .clock import Clock
    from .store import Store

KIND = "url_group"


class UrlGroups:
    """The URL groups of the account by name."""

    def __init__(self, clock: Clock, store: Store, limits: Limits) -> None:
        self._clock = clock
        self._store = store
        self._limits = limits
        loaded = (from_document(UrlGroup, document) for document in store.load(KIND))
        self._groups = {group.name: group for group in loaded}

    def find(self, name: str) -> UrlGroup | None:
        return self._groups.get(name)

    def get(self, name: str) -> UrlGroup:
        group = self._groups.get(name)
        if group is None:
            raise not_found("topic", name)
        return group

    def all(self) -> list[UrlGroup]:
        return list(self._groups.values())

    def add_endpoints(self, name: str, wanted: list[dict[str, Any]]) -> None:
        """Create the group if need be; an endpoint is the same if its name or its URL is."""
        check_name("topic name", name)
        endpoints = [Endpoint(str(e.get("url") or ""), e.get("name") or None) for e in wanted]
        for endpoint in endpoints:
            check_url(endpoint.url, "endpoint")
        group = self._groups.get(name) or self._new(name)
        kept = list(group.endpoints)
        for endpoint in endpoints:
            kept = [old for old in kept if not _same(old, endpoint)] + [endpoint]
        if len(kept) > self._limits.max_endpoints:
            raise quota_exceeded("maxEndpointsPerTopic", self._limits.max_endpoints)
        group.endpoints = kept
        self._save(group)

    def remove_endpoints(self, name: str, unwanted: list[dict[str, Any]]) -> None:
        """ "If all endpoints have been removed, the URL Group will be deleted." """
        group = self.get(name)
        names = {e["name"] for e in unwanted if e.get("name")}
        urls = {e["url"] for e in unwanted if e.get("url")}
        if not names and not urls:
            raise bad_request("either name or url of the endpoint must be provided")
        group.endpoints = [e for e in group.endpoints if e.url not in urls and e.name not in names]
        if group.endpoints:
            self._save(group)
        else:
            self.remove(name)

    def set_headers(self, name: str, headers: dict[str, Any]) -> None:
        """Default headers of the group (docs: "Use as Webhook Receiver")."""
        group = self.get(name)
        group.headers = {
            key.lower(): [str(v) for v in (value if isinstance(value, list) else [value])]
            for key, value in headers.items()
        }
        self._save(group)

    def remove(self, name: str) -> None:
        self._groups.pop(name, None)
        self._store.delete(KIND, name)

    def _new(self, name: str) -> UrlGroup:
        if len(self._groups) >= self._limits.max_url_groups:
            raise quota_exceeded("maxTopics", self._limits.max_url_groups)
        now = self._clock.now_ms()
        return UrlGroup(name, now, now)

    def _save(self, group: UrlGroup) -> None:
        group.updated_at = self._clock.now_ms()
        self._groups[group.name] = group
        self._store.put(KIND, group.name, to_document(group))


def _same(old: Endpoint, new: Endpoint) -> bool:
    return old.url == new.url or (new.name is not None and old.name == new.name)
