"""The official SDK over requests that end in time: its own wait ten minutes for an answer, and it
takes no option for that. Imported with the first use of QStash, since httpx takes long to import.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
from qstash import QStash
from qstash.dlq import DlqApi
from qstash.flow_control_api import FlowControlApi
from qstash.http import BASE_URL, HttpClient, raise_for_non_ok_status
from qstash.log import LogApi
from qstash.message import MessageApi
from qstash.queue import QueueApi
from qstash.schedule import ScheduleApi
from qstash.signing_key import SigningKeyApi
from qstash.url_group import UrlGroupApi

if TYPE_CHECKING:
    from qstash.http import HttpMethod

TRIES = 2
PAUSE_SECONDS = 0.2


class TimedQStash(QStash):
    """QStash's API.

    Args:
        token: `QSTASH_TOKEN`.
        base_url: Of QStash's region; the SDK's own where it is None.
        timeout_seconds: Within which every call ends, over all tries and the pauses between them.
    """

    def __init__(self, token: str, base_url: str | None, *, timeout_seconds: float) -> None:
        # Not the SDK's own, which would open a client that nothing uses.
        self.http = http = self._own = _Http(token, base_url or BASE_URL, timeout_seconds)
        self.message = MessageApi(http)
        self.url_group = UrlGroupApi(http)
        self.queue = QueueApi(http)
        self.schedule = ScheduleApi(http)
        self.signing_key = SigningKeyApi(http)
        self.log = LogApi(http)
        self.dlq = DlqApi(http)
        self.flow_control = FlowControlApi(http)

    def close(self) -> None:
        """Close its connections."""
        self._own.close()


class _Http(HttpClient):
    def __init__(self, token: str, base_url: str, timeout_seconds: float) -> None:
        self._url = base_url.rstrip("/")
        self._httpx = httpx.Client(
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds / TRIES - PAUSE_SECONDS,
        )

    def request(
        self,
        *,
        path: str,
        method: HttpMethod,
        headers: dict[str, str] | None = None,
        body: str | bytes | None = None,
        params: dict[str, str] | None = None,
        parse_response: bool = True,
        base_url: str | None = None,
        token: str | None = None,
    ) -> Any:
        own = {"Authorization": token} if token else {}
        response = self._answer(
            method,
            f"{base_url or self._url}{path}",
            params=params,
            headers=own | (headers or {}),
            content=body,
        )
        raise_for_non_ok_status(response)
        return response.json() if parse_response else response.text

    def close(self) -> None:
        self._httpx.close()

    def _answer(self, method: str, url: str, **options: Any) -> httpx.Response:
        for _ in range(TRIES - 1):
            try:
                return self._httpx.request(method, url, **options)
            except httpx.HTTPError:
                time.sleep(PAUSE_SECONDS)
        return self._httpx.request(method, url, **options)
