"""Queues, schedules, URL groups, flow control and keys (OpenAPI, the tags of these names)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from . import filters, views
from .errors import bad_request, expect
from .http_api import ACCOUNT, destination_of, done, json_of, query_of, reply

routes = web.RouteTableDef()


# -- queues ------------------------------------------------------------------------------------


@routes.post("/v2/queues")
@routes.post("/v2/queues/")  # as "Controlled Parallelism" writes it
async def upsert_queue(request: web.Request) -> web.Response:
    """`POST /v2/queues`; `paused` is what the SDKs add."""
    body = await json_of(request)
    account = request.app[ACCOUNT]
    parallelism, paused = body.get("parallelism"), body.get("paused")
    if parallelism is not None and (not isinstance(parallelism, int) or parallelism is True):
        raise bad_request(f"invalid parallelism: {parallelism}")
    lane = account.queues.upsert(str(body.get("queueName") or ""), parallelism, paused)
    account.deliveries.pump_lane(lane)
    return done()


@routes.get("/v2/queues")
async def list_queues(request: web.Request) -> web.Response:
    """`GET /v2/queues`."""
    lanes = request.app[ACCOUNT].queues.all()
    return reply([views.queue_view(lane.queue, lane.lag) for lane in lanes])


@routes.get("/v2/queues/{name}")
async def get_queue(request: web.Request) -> web.Response:
    """`GET /v2/queues/{queueName}`."""
    lane = request.app[ACCOUNT].queues.get(request.match_info["name"])
    return reply(views.queue_view(lane.queue, lane.lag))


@routes.delete("/v2/queues/{name}")
async def delete_queue(request: web.Request) -> web.Response:
    """`DELETE /v2/queues/{queueName}`; 200 even if there was none."""
    account = request.app[ACCOUNT]
    for message in account.queues.remove(request.match_info["name"]):
        account.deliveries.discard(message)
    return done()


async def _set_queue_paused(request: web.Request, *, paused: bool) -> web.Response:
    account = request.app[ACCOUNT]
    lane = account.queues.upsert(request.match_info["name"], None, paused)
    account.deliveries.pump_lane(lane)
    return done()


@routes.post("/v2/queues/{name}/pause")
async def pause_queue(request: web.Request) -> web.Response:
    """`POST /v2/queues/{queueName}/pause`; no 404 is documented, so it creates the queue."""
    return await _set_queue_paused(request, paused=True)


@routes.post("/v2/queues/{name}/resume")
async def resume_queue(request: web.Request) -> web.Response:
    """`POST /v2/queues/{queueName}/resume`."""
    return await _set_queue_paused(request, paused=False)


# -- schedules ---------------------------------------------------------------------------------


@routes.get("/v2/schedules")
async def list_schedules(request: web.Request) -> web.Response:
    """`GET /v2/schedules`."""
    schedules = request.app[ACCOUNT].schedules
    return reply([schedules.view(schedule) for schedule in schedules.all()])


@routes.get("/v2/schedules/{id}")
async def get_schedule(request: web.Request) -> web.Response:
    """`GET /v2/schedules/{scheduleId}`."""
    schedules = request.app[ACCOUNT].schedules
    return reply(schedules.view(schedules.get(request.match_info["id"])))


@routes.delete("/v2/schedules/{id}")
async def delete_schedule(request: web.Request) -> web.Response:
    """`DELETE /v2/schedules/{scheduleId}`."""
    request.app[ACCOUNT].schedules.remove(request.match_info["id"])
    return done()


# The OpenAPI document says POST, both SDKs say PATCH.
@routes.post("/v2/schedules/{id}/pause")
@routes.patch("/v2/schedules/{id}/pause")
async def pause_schedule(request: web.Request) -> web.Response:
    """`/v2/schedules/{scheduleId}/pause`."""
    request.app[ACCOUNT].schedules.set_paused(request.match_info["id"], paused=True)
    return done()


@routes.post("/v2/schedules/{id}/resume")
@routes.patch("/v2/schedules/{id}/resume")
async def resume_schedule(request: web.Request) -> web.Response:
    """`/v2/schedules/{scheduleId}/resume`."""
    request.app[ACCOUNT].schedules.set_paused(request.match_info["id"], paused=False)
    return done()


@routes.post("/v2/schedules/{destination:.*}")
async def create_schedule(request: web.Request) -> web.Response:
    """`POST /v2/schedules/{destination}`."""
    destination, headers = destination_of(request, 2)
    schedules = request.app[ACCOUNT].schedules
    body = await request.read()
    return reply(
        {"scheduleId": schedules.create(destination, headers, body, request.remote or "").id}
    )


# -- URL groups --------------------------------------------------------------------------------


@routes.get("/v2/topics")
async def list_url_groups(request: web.Request) -> web.Response:
    """`GET /v2/topics`."""
    return reply([views.url_group_view(group) for group in request.app[ACCOUNT].groups.all()])


@routes.get("/v2/topics/{name}")
async def get_url_group(request: web.Request) -> web.Response:
    """`GET /v2/topics/{urlGroupName}`."""
    return reply(views.url_group_view(request.app[ACCOUNT].groups.get(request.match_info["name"])))


@routes.delete("/v2/topics/{name}")
async def delete_url_group(request: web.Request) -> web.Response:
    """`DELETE /v2/topics/{urlGroupName}`; also 200 where there is none (qstash-py, tests)."""
    request.app[ACCOUNT].groups.remove(request.match_info["name"])
    return done()


@routes.patch("/v2/topics/{name}")
async def patch_url_group(request: web.Request) -> web.Response:
    """Docs: "Use as Webhook Receiver", "URL Group"."""
    body = await json_of(request)
    headers = expect(body.get("headers") or {}, dict, "headers")
    request.app[ACCOUNT].groups.set_headers(request.match_info["name"], headers)
    return done()


@routes.post("/v2/topics/{name}/endpoints")
async def add_endpoints(request: web.Request) -> web.Response:
    """`POST /v2/topics/{urlGroupName}/endpoints`."""
    endpoints = _endpoints(await json_of(request))
    request.app[ACCOUNT].groups.add_endpoints(request.match_info["name"], endpoints)
    return done()


@routes.delete("/v2/topics/{name}/endpoints")
async def remove_endpoints(request: web.Request) -> web.Response:
    """`DELETE /v2/topics/{urlGroupName}/endpoints`."""
    endpoints = _endpoints(await json_of(request))
    request.app[ACCOUNT].groups.remove_endpoints(request.match_info["name"], endpoints)
    return done()


def _endpoints(body: dict[str, Any]) -> list[dict[str, Any]]:
    endpoints = [
        expect(one, dict, "endpoints") for one in expect(body.get("endpoints"), list, "endpoints")
    ]
    for endpoint in endpoints:
        for name in ("url", "name"):
            expect(endpoint.get(name) or "", str, name)
    return endpoints


# -- flow control ------------------------------------------------------------------------------


@routes.get("/v2/flowControl")
async def list_flow_control(request: web.Request) -> web.Response:
    """`GET /v2/flowControl`; `search` is from the changelog of February 2026."""
    keys = request.app[ACCOUNT].flow_control.search(request.query.get("search", ""))
    return reply([key.view() for key in keys])


@routes.get("/v2/flowControl/{key}")
async def get_flow_control(request: web.Request) -> web.Response:
    """`GET /v2/flowControl/{flowControlKey}`."""
    return reply(request.app[ACCOUNT].flow_control.get(request.match_info["key"]).view())


async def _set_key_paused(request: web.Request, *, paused: bool) -> web.Response:
    account = request.app[ACCOUNT]
    key = account.flow_control.ensure(request.match_info["key"])
    key.paused = paused
    account.flow_control.save(key)
    account.deliveries.pump_key(key)
    return done()


@routes.post("/v2/flowControl/{key}/pause")
async def pause_flow_control(request: web.Request) -> web.Response:
    """`POST /v2/flowControl/{flowControlKey}/pause`."""
    return await _set_key_paused(request, paused=True)


@routes.post("/v2/flowControl/{key}/resume")
async def resume_flow_control(request: web.Request) -> web.Response:
    """`POST /v2/flowControl/{flowControlKey}/resume`."""
    return await _set_key_paused(request, paused=False)


@routes.post("/v2/flowControl/{key}/pin")
async def pin_flow_control(request: web.Request) -> web.Response:
    """`POST /v2/flowControl/{flowControlKey}/pin`."""
    account = request.app[ACCOUNT]
    query = query_of(request)
    key = account.flow_control.pin(
        request.match_info["key"],
        filters.integer(query, "parallelism"),
        filters.integer(query, "rate"),
        filters.integer(query, "period"),
        account.clock.now_ms(),
    )
    account.deliveries.pump_key(key)
    return done()


@routes.post("/v2/flowControl/{key}/unpin")
async def unpin_flow_control(request: web.Request) -> web.Response:
    """`POST /v2/flowControl/{flowControlKey}/unpin`."""
    request.app[ACCOUNT].flow_control.unpin(
        request.match_info["key"],
        parallelism=request.query.get("parallelism", "").lower() == "true",
        rate=request.query.get("rate", "").lower() == "true",
    )
    return done()


# `reset` is from the changelog of February 2026, `resetRate` from the OpenAPI document.
@routes.post("/v2/flowControl/{key}/reset")
@routes.post("/v2/flowControl/{key}/resetRate")
async def reset_flow_control(request: web.Request) -> web.Response:
    """`POST /v2/flowControl/{flowControlKey}/resetRate`."""
    account = request.app[ACCOUNT]
    key = account.flow_control.ensure(request.match_info["key"])
    key.reset_rate(account.clock.now_ms())
    account.deliveries.pump_key(key)
    return done()


@routes.get("/v2/globalParallelism")
async def global_parallelism(request: web.Request) -> web.Response:
    """`GET /v2/globalParallelism`."""
    account = request.app[ACCOUNT]
    return reply(
        {
            "parallelismMax": account.limits.max_parallelism,
            "parallelismCount": account.deliveries.active,
        }
    )


# -- signing keys ------------------------------------------------------------------------------


@routes.get("/v2/keys")
async def get_keys(request: web.Request) -> web.Response:
    """`GET /v2/keys`."""
    keys = request.app[ACCOUNT].keys
    return reply({"current": keys.current, "next": keys.next})


@routes.post("/v2/keys/rotate")
async def rotate_keys(request: web.Request) -> web.Response:
    """`POST /v2/keys/rotate`."""
    account = request.app[ACCOUNT]
    account.keys.rotate()
    account.remember()
    return reply({"current": account.keys.current, "next": account.keys.next})
