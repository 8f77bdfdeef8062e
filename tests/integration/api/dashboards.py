"""A browser of a test, without one: it keeps its cookies and fills in forms as a page has them."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

HOST = "https://testserver"
COOKIE = "__Host-stashjobs"
_CSRF = re.compile(r'name="csrf" value="([^"]*)"')
_TAGS = re.compile(r"<[^>]*>")


@dataclass
class Page:
    """What a browser got to see."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def words(self) -> str:
        """The text, without the markup."""
        return " ".join(html.unescape(_TAGS.sub(" ", self.text)).split())


class Browser:
    """Someone at the dashboard."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.csrf = ""

    def get(self, path: str, *, follow: bool = True) -> Page:
        answer = self.client.get(path, follow_redirects=follow)
        found = _CSRF.search(answer.text)
        self.csrf = found[1] if found else self.csrf
        return Page(answer.status_code, answer.text, answer.headers)

    def post(
        self,
        path: str,
        fields: Mapping[str, str | list[str]] | None = None,
        *,
        origin: str | None = HOST,
        site: str | None = "same-origin",
        csrf: str | None = None,
        follow: bool = True,
    ) -> Page:
        """Send a form; by default as this page's own."""
        headers = {"origin": origin, "sec-fetch-site": site}
        answer = self.client.post(
            path,
            data={"csrf": self.csrf if csrf is None else csrf, **(fields or {})},
            headers={name: value for name, value in headers.items() if value is not None},
            follow_redirects=follow,
        )
        return Page(answer.status_code, answer.text, answer.headers)

    def sign_in(self, token: str, after: str = "/admin") -> Page:
        page = self.post("/admin/sign-in", {"token": token, "after": after}, csrf="")
        self.csrf = found[1] if (found := _CSRF.search(page.text)) else ""
        return page
