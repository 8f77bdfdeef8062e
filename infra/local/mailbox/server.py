"""Resend's API as far as stashjobs uses it, a page to read the emails, and faults on demand."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from aiohttp import web

from infra.local.mailbox import pages
from infra.local.mailbox.resend_rules import RefusedError, checked_key, mail_from
from infra.local.mailbox.store import Mail, Store, fingerprint, now
from infra.local.own_site import website_guard

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# An email is someone else's HTML: it may look as it likes, and do nothing.
_EMAIL_POLICY = (
    "default-src 'none'; img-src http: https: data:; style-src 'unsafe-inline'; font-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)
_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "frame-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_MAX_BODY = 60 * 1024 * 1024  # 40 MB of attachments, in Base64


@dataclass
class Fault:
    """What happens to the next `times` sends instead of success."""

    status: int
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    to: str | None = None
    name: str | None = None
    message: str = "A fault that was asked for."
    accepted: bool = False

    def meets(self, recipients: list[str]) -> bool:
        return self.to is None or any(self.to.lower() in each.lower() for each in recipients)


class Mailbox:
    """`async with Mailbox() as mailbox: ... RESEND_API_URL=mailbox.url`

    Args:
        host: The interface it listens on.
        port: 0 takes a free one.
        state: A directory; a second start finds the emails of the first one there.
        api_key: The one key that is let in. Without it any key is.
        rate_limit: Sends a second before it answers 429, as Resend does. Without it none.
        jobs_url: Where a job's id leads to its page on the dashboard.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        state: Path | None = None,
        *,
        api_key: str | None = None,
        rate_limit: int | None = None,
        jobs_url: str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.api_key = api_key
        self.rate_limit = rate_limit
        self.jobs_url = jobs_url
        self.requests = 0
        self._state = state
        self._store = Store(None)
        self._faults: list[Fault] = []
        self._window = (0, 0)
        self._runner: web.AppRunner | None = None

    # --- its life

    async def start(self) -> Self:
        """Listen.

        Raises:
            OSError: The port is taken, or the state directory cannot be used.
        """
        self._store = Store(self._state)
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
        except OSError as error:
            await runner.cleanup()
            raise OSError(
                error.errno, f"the mailbox cannot listen on port {self.port}: {error.strerror}"
            ) from error
        self._runner = runner
        self.port = int(runner.addresses[0][1])
        return self

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def mails(self) -> list[Mail]:
        """The newest first."""
        return self._store.newest_first()

    def clear(self) -> None:
        self._store.clear()
        self._faults.clear()

    def fail_next(
        self,
        status: int = 500,
        times: int = 1,
        headers: dict[str, str] | None = None,
        *,
        to: str | None = None,
        name: str | None = None,
        accepted: bool = False,
    ) -> None:
        """Let the next sends fail.

        Args:
            status: The HTTP status of the answer; 0 cuts the connection without one.
            times: How many sends.
            headers: Headers of the answer, such as `Retry-After`.
            to: Only sends to this address.
            name: Resend's name of the error, where the usual one of the status does not do.
            accepted: The email is taken all the same, and only the answer is lost: what a crash
                between the effect and its record looks like.
        """
        self._faults.append(Fault(status, times, headers or {}, to, name, accepted=accepted))

    # --- routes

    def _app(self) -> web.Application:
        app = web.Application(
            client_max_size=_MAX_BODY, middlewares=[website_guard(self.host), self._middleware]
        )
        app.add_routes(
            [
                web.post("/emails", self._send),
                web.post("/emails/batch", self._send_batch),
                web.get("/emails", self._list),
                web.get("/emails/{id}", self._get),
                web.get("/domains", self._domains),
                web.get("/", self._index_page),
                web.get("/mail/{id}", self._mail_page),
                web.get("/mail/{id}/html", self._mail_html),
                web.get("/_local/{asset:style\\.css|refresh\\.js}", self._asset),
                web.get("/_local/mails", self._local_mails),
                web.delete("/_local/mails", self._local_clear),
                web.post("/_local/clear", self._local_clear),
                web.get("/_local/fail", self._local_faults),
                web.post("/_local/fail", self._local_fail),
                web.delete("/_local/fail", self._local_unfail),
            ]
        )
        return app

    @web.middleware
    async def _middleware(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        is_api = request.path.startswith(("/emails", "/domains"))
        try:
            if is_api:
                self.requests += 1
                self._authorize(request)
                self._count()
            response = await handler(request)
        except RefusedError as refused:
            if refused.status == 0:
                if request.transport:
                    request.transport.abort()
                return web.Response()
            response = web.json_response(
                refused.body(), status=refused.status, headers=refused.headers
            )
        except web.HTTPException as error:
            if not is_api:
                raise
            body = RefusedError(error.status, error.reason).body()
            response = web.json_response(body, status=error.status)
        if is_api:
            limit = self.rate_limit or 5
            used = self._window[1] if self.rate_limit else 1
            response.headers.setdefault("ratelimit-limit", str(limit))
            response.headers.setdefault("ratelimit-remaining", str(max(0, limit - used)))
            response.headers.setdefault("ratelimit-reset", "1")
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    def _authorize(self, request: web.Request) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise RefusedError(401, "Missing API Key", "missing_api_key")
        if self.api_key and key.strip() != self.api_key:
            raise RefusedError(403, "API key is invalid", "invalid_api_key")

    def _count(self) -> None:
        second, used = int(time.monotonic()), self._window[1] + 1
        self._window = (second, used) if self._window[0] == second else (second, 1)
        if self.rate_limit and self._window[1] > self.rate_limit:
            raise RefusedError(
                429,
                f"Too many requests. You can only make {self.rate_limit} requests per second.",
                headers={"retry-after": "1"},
            )

    # --- Resend's API

    async def _send(self, request: web.Request) -> web.Response:
        key = checked_key(request.headers.get("Idempotency-Key"))
        body = await _json(request)
        fault = self._fault_for(_recipients(body))
        if fault and not fault.accepted:
            raise _failure(fault)
        ids = self._repeated(key, fingerprint(body))
        if ids is None:
            ids = self._store.add([mail_from(body)], key, fingerprint(body))
        if fault:
            raise _failure(fault)
        return web.json_response({"id": ids[0]})

    async def _send_batch(self, request: web.Request) -> web.Response:
        key = checked_key(request.headers.get("Idempotency-Key"))
        bodies = await _json(request)
        if not isinstance(bodies, list) or not 1 <= len(bodies) <= 100:
            raise RefusedError(422, "The batch must be an array of 1 to 100 emails.")
        fault = self._fault_for([each for body in bodies for each in _recipients(body)])
        if fault and not fault.accepted:
            raise _failure(fault)
        ids = self._repeated(key, fingerprint(bodies))
        errors: list[dict[str, Any]] = []
        permissive = request.headers.get("x-batch-validation") == "permissive"
        if ids is None:
            mails = []
            for index, body in enumerate(bodies):
                try:
                    mails.append(mail_from(body))
                except RefusedError as refused:
                    if not permissive:
                        raise
                    errors.append({"index": index, "message": refused.message})
            ids = self._store.add(mails, key, fingerprint(bodies))
        if fault:
            raise _failure(fault)
        answer: dict[str, Any] = {"data": [{"id": each} for each in ids]}
        return web.json_response({**answer, "errors": errors} if permissive else answer)

    def _repeated(self, key: str | None, print_: str) -> list[str] | None:
        known = self._store.answered(key) if key else None
        if known is None:
            return None
        if known[0] != print_:
            raise RefusedError(
                409,
                "Same idempotency key used with a different request payload.",
                "invalid_idempotent_request",
            )
        return known[1]

    def _fault_for(self, recipients: list[str]) -> Fault | None:
        for fault in self._faults:
            if fault.meets(recipients):
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None

    async def _get(self, request: web.Request) -> web.Response:
        mail = self._store.get(request.match_info["id"])
        if mail is None:
            raise RefusedError(404, "Email not found")
        return web.json_response(
            {**_summary(mail), "object": "email", "html": mail.html, "text": mail.text}
        )

    async def _list(self, request: web.Request) -> web.Response:
        mails = self._store.newest_first()
        ids = [mail.id for mail in mails]
        limit = request.query.get("limit", "20")
        if not limit.isdigit() or not 1 <= int(limit) <= 100:
            raise RefusedError(422, "The `limit` must be between 1 and 100.")
        after, before = request.query.get("after"), request.query.get("before")
        if after in ids:
            mails = mails[ids.index(after) + 1 :]
        elif before in ids:
            mails = mails[: ids.index(before)]
        page = mails[: int(limit)]
        return web.json_response(
            {
                "object": "list",
                "has_more": len(mails) > len(page),
                "data": [_summary(mail) for mail in page],
            }
        )

    async def _domains(self, _request: web.Request) -> web.Response:
        senders = [os.environ.get("RESEND_FROM_EMAIL", ""), *(mail.sender for mail in self.mails)]
        names = {sender.rpartition("@")[2].rstrip("> ").lower() for sender in senders} - {""}
        return web.json_response(
            {
                "object": "list",
                "has_more": False,
                "data": [
                    {
                        "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
                        "name": name,
                        "status": "verified",
                        "created_at": now(),
                        "region": "us-east-1",
                    }
                    for name in sorted(names)
                ],
            }
        )

    # --- the pages

    async def _index_page(self, _request: web.Request) -> web.Response:
        return _page(pages.index(self.mails, [asdict(fault) for fault in self._faults]))

    async def _mail_page(self, request: web.Request) -> web.Response:
        mail = self._found(request)
        view = request.query.get("view", "html" if mail.html else "text")
        # The two long parts have views of their own.
        rest = {name: value for name, value in asdict(mail).items() if name not in {"html", "text"}}
        job_id = mail.tags.get("job_id")
        job_url = f"{self.jobs_url}/{quote(job_id, safe='')}" if self.jobs_url and job_id else None
        source = json.dumps(rest, indent=2, ensure_ascii=False)
        return _page(pages.mail(mail, view, source, job_url))

    async def _mail_html(self, request: web.Request) -> web.Response:
        return web.Response(
            text=self._found(request).html or "",
            content_type="text/html",
            headers={"Content-Security-Policy": _EMAIL_POLICY, "Referrer-Policy": "no-referrer"},
        )

    async def _asset(self, request: web.Request) -> web.Response:
        name = request.match_info["asset"]
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return web.Response(text=pages.asset(name), content_type=kind)

    def _found(self, request: web.Request) -> Mail:
        mail = self._store.get(request.match_info["id"])
        if mail is None:
            raise web.HTTPNotFound(text="This email is not here (any more).")
        return mail

    # --- for tests and the demo

    async def _local_mails(self, request: web.Request) -> web.Response:
        to, template = request.query.get("to", ""), request.query.get("template")
        found = [
            mail
            for mail in self.mails
            if (not to or any(to.lower() in each.lower() for each in mail.to))
            and (not template or mail.template == template)
        ]
        limit = request.query.get("limit", "")
        shown = found[: int(limit)] if limit.isdigit() else found
        return web.json_response(
            {"mails": [{**asdict(mail), "template": mail.template} for mail in shown]}
        )

    async def _local_clear(self, request: web.Request) -> web.Response:
        self.clear()
        return _done(request)

    async def _local_faults(self, _request: web.Request) -> web.Response:
        return web.json_response({"faults": [asdict(fault) for fault in self._faults]})

    async def _local_unfail(self, request: web.Request) -> web.Response:
        self._faults.clear()
        return _done(request)

    async def _local_fail(self, request: web.Request) -> web.Response:
        is_form = request.content_type == "application/x-www-form-urlencoded"
        wish: Any = dict(await request.post()) if is_form else await _json(request)
        try:
            if unknown := wish.keys() - _FAULT_MEMBERS:
                raise ValueError(f"there is no {', '.join(sorted(unknown))}")
            fault = Fault(
                status=int(wish.get("status") or 500),
                times=int(wish.get("times") or 1),
                headers={str(k): str(v) for k, v in (wish.get("headers") or {}).items()},
                to=wish.get("to") or None,
                name=wish.get("name") or None,
                accepted=bool(wish.get("accepted")),
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise RefusedError(422, f"Not a fault: {error}") from error
        if fault.status and not 400 <= fault.status <= 599:
            raise RefusedError(422, "`status` must be 400 to 599, or 0 to cut the connection.")
        self._faults.append(fault)
        return _done(request)


_FAULT_MEMBERS = {"status", "times", "headers", "to", "name", "accepted"}


def _failure(fault: Fault) -> RefusedError:
    return RefusedError(fault.status, fault.message, fault.name, dict(fault.headers))


def _recipients(body: Any) -> list[str]:
    to = body.get("to") if isinstance(body, dict) else None
    return [to] if isinstance(to, str) else [str(each) for each in to or []]


def _summary(mail: Mail) -> dict[str, Any]:
    return {
        "id": mail.id,
        "to": mail.to,
        "from": mail.sender,
        "created_at": mail.created_at,
        "subject": mail.subject,
        "bcc": mail.bcc,
        "cc": mail.cc,
        "reply_to": mail.reply_to,
        "last_event": mail.last_event,
        "scheduled_at": mail.scheduled_at,
        "tags": [{"name": name, "value": value} for name, value in mail.tags.items()],
    }


async def _json(request: web.Request) -> Any:
    try:
        return await request.json()
    except ValueError as error:
        raise RefusedError(400, "The request body is not valid JSON.") from error


def _done(request: web.Request) -> web.Response:
    if "text/html" in request.headers.get("Accept", ""):
        raise web.HTTPSeeOther("/")
    return web.json_response({"ok": True})


def _page(html: str) -> web.Response:
    return web.Response(
        text=html, content_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY}
    )
