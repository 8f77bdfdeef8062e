"""Messages, batches, dead letters and logs (OpenAPI, tags "Messages", "DLQ" and "Logs")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from . import filters, views
from .errors import ApiError, expect, not_found, quota_exceeded
from .filters import MessageFilter
from .http_api import ACCOUNT, destination_of, done, json_of, query_of, reply
from .options import collect
from .publish import Published, batch_items

if TYPE_CHECKING:
    from .model import Headers

routes = web.RouteTableDef()


def _caller(request: web.Request) -> str:
    return request.remote or ""


@routes.post("/v2/publish/{destination:.*}")
async def publish(request: web.Request) -> web.Response:
    """`POST /v2/publish/{destination}`; with `Upstash-Cron` it creates a schedule ("Schedules")."""
    destination, headers = destination_of(request, 2)
    body = await request.read()
    account = request.app[ACCOUNT]
    if "upstash-cron" in headers:
        schedule = account.schedules.create(destination, headers, body, _caller(request))
        return reply({"scheduleId": schedule.id})
    publication = account.publisher.prepare(destination, headers, body, caller_ip=_caller(request))
    return _published(account.publisher.accept(publication), to_group=publication.to_group)


@routes.post("/v2/enqueue/{queue}/{destination:.*}")
async def enqueue(request: web.Request) -> web.Response:
    """`POST /v2/enqueue/{queueName}/{destination}`."""
    queue = request.match_info["queue"]
    destination, headers = destination_of(request, 3)
    publisher = request.app[ACCOUNT].publisher
    publication = publisher.prepare(
        destination, headers, await request.read(), caller_ip=_caller(request), queue=queue
    )
    return _published(publisher.accept(publication), to_group=publication.to_group)


def _published(published: list[Published], *, to_group: bool) -> web.Response:
    """202 for a duplicate ("Deduplication"); for a URL group, if all of them are."""
    status = 202 if published and all(one.deduplicated for one in published) else 200
    return reply(_publish_view(published, to_group=to_group), status)


def _publish_view(published: list[Published], *, to_group: bool) -> Any:
    # The OpenAPI document wraps a URL group's answers in `messages`; both SDKs read a bare list.
    return (
        [p.view(with_url=True) for p in published]
        if to_group
        else published[0].view(with_url=False)
    )


@routes.post("/v2/batch")
async def batch(request: web.Request) -> web.Response:
    """`POST /v2/batch`: one invalid message refuses the whole batch (docs, "Batching": "If the
    format of the messages are valid, the response will be an array").
    """
    account = request.app[ACCOUNT]
    content = await request.read()
    if len(content) > account.limits.max_batch_bytes:
        raise quota_exceeded("maxBatchSize", account.limits.max_batch_bytes, 413)
    publications = [
        account.publisher.prepare(
            destination, headers, body, caller_ip=_caller(request), queue=queue
        )
        for destination, headers, body, queue in batch_items(content)
    ]
    accepted = [(p, account.publisher.accept(p)) for p in publications]
    return reply([_publish_view(done_, to_group=p.to_group) for p, done_ in accepted])


@routes.get("/v2/messages/{id}")
async def get_message(request: web.Request) -> web.Response:
    """`GET /v2/messages/{messageId}`."""
    message = request.app[ACCOUNT].deliveries.get(request.match_info["id"])
    if message is None:
        raise not_found("message", request.match_info["id"])
    return reply(views.message_view(message))


@routes.delete("/v2/messages/{id}")
async def cancel_message(request: web.Request) -> web.Response:
    """`DELETE /v2/messages/{messageId}`; qstash-js reads JSON, `{ cancelled: number }`, from it."""
    if not request.app[ACCOUNT].deliveries.cancel(request.match_info["id"]):
        raise not_found("message", request.match_info["id"])
    return reply({"cancelled": 1})


@routes.delete("/v2/messages")
async def cancel_messages(request: web.Request) -> web.Response:
    """`DELETE /v2/messages`: by ids in the body or the query, by filters, or all there are."""
    deliveries = request.app[ACCOUNT].deliveries
    query = query_of(request)
    body = await json_of(request)
    filters.check({**query, **_filters_in(body)})
    if "messageIds" in body:
        wanted = _ids_in(body, "messageIds")
    elif ids := filters.values(query, "messageIds"):
        wanted = list(ids)
    else:
        query.update(_filters_in(body))
        matches = MessageFilter(query)
        wanted = [m.id for m in deliveries.all() if matches(m, m.created_at)]
        limit = filters.integer(query, "count")
        wanted = wanted if limit is None else wanted[: max(1, min(limit, 500))]
    return reply({"cancelled": sum(deliveries.cancel(one) for one in wanted)})


def _ids_in(body: dict[str, Any], name: str) -> list[str]:
    return [expect(one, str, name) for one in expect(body[name] or [], list, name)]


def _filters_in(body: dict[str, Any]) -> Headers:
    return {
        name: [str(v) for v in (value if isinstance(value, list) else [value])]
        for name, value in body.items()
        if value is not None
    }


@routes.get("/v2/dlq")
async def list_dead_letters(request: web.Request) -> web.Response:
    """`GET /v2/dlq`."""
    return reply(request.app[ACCOUNT].dead_letters.list(query_of(request)))


@routes.get("/v2/dlq/{id}")
async def get_dead_letter(request: web.Request) -> web.Response:
    """`GET /v2/dlq/{dlqId}`."""
    letter = request.app[ACCOUNT].dead_letters.get(request.match_info["id"])
    return reply(views.dead_letter_view(letter))


@routes.delete("/v2/dlq/{id}")
async def delete_dead_letter(request: web.Request) -> web.Response:
    """`DELETE /v2/dlq/{dlqId}`."""
    dead_letters = request.app[ACCOUNT].dead_letters
    dead_letters.remove(dead_letters.get(request.match_info["id"]).id)
    return done()


@routes.delete("/v2/dlq")
async def delete_dead_letters(request: web.Request) -> web.Response:
    """`DELETE /v2/dlq`: ids in the body or the query, else a page of what the filters match."""
    dead_letters = request.app[ACCOUNT].dead_letters
    body = await json_of(request)
    filters.check({**query_of(request), **_filters_in(body)})
    if "dlqIds" in body:
        ids = _ids_in(body, "dlqIds")
        return reply({"deleted": sum(dead_letters.remove(one) for one in ids)})
    letters, cursor = dead_letters.find({**query_of(request), **_filters_in(body)})
    answer: dict[str, Any] = {"deleted": sum(dead_letters.remove(one.id) for one in letters)}
    return reply({"cursor": cursor, **answer} if cursor else answer)


@routes.post("/v2/dlq/retry/{id}")
async def retry_dead_letter(request: web.Request) -> web.Response:
    """`POST /v2/dlq/retry/{dlqId}`."""
    account = request.app[ACCOUNT]
    letter = account.dead_letters.get(request.match_info["id"])
    overrides = collect(request.headers.items())
    renewed = account.publisher.again(letter.message, overrides)
    account.dead_letters.remove(letter.id)
    return reply({"messageId": renewed.id}, 201)


@routes.post("/v2/dlq/retry")
async def retry_dead_letters(request: web.Request) -> web.Response:
    """`POST /v2/dlq/retry`; its cursor is empty, not absent, at the end (qstash-js, `utils.ts`)."""
    account = request.app[ACCOUNT]
    query = {**query_of(request), **_filters_in(await json_of(request))}
    filters.check(query)
    letters, cursor = account.dead_letters.find(query)
    if missing := filters.values(query, "dlqIds") - {letter.id for letter in letters}:
        known = {part for one in missing for part in one.split(",")} - {one.id for one in letters}
        if known:
            raise ApiError(404, f"dlq message {min(known)} not found")
    overrides = collect(request.headers.items())
    responses = []
    for letter in letters:
        responses.append({"messageId": account.publisher.again(letter.message, overrides).id})
        account.dead_letters.remove(letter.id)
    return reply({"cursor": cursor, "responses": responses}, 201)


@routes.get("/v2/logs")
async def list_logs(request: web.Request) -> web.Response:
    """`GET /v2/logs`."""
    return reply(request.app[ACCOUNT].events.list(query_of(request), "logs", 100))


@routes.get("/v2/events")
async def list_events(request: web.Request) -> web.Response:
    """`GET /v2/events`, the path of the Python SDK, which allows pages of 1000."""
    return reply(request.app[ACCOUNT].events.list(query_of(request), "events", 1000))
