"""The jobs: the list, one of them, and what can be done to them."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from functions.api.auth import Connected
from functions.api.dashboard import flash, logs, redaction, sql, timeline
from functions.api.dashboard.auth import Operator, OperatorsForm, Posted, Reader, borrowed
from functions.api.dashboard.job_list import (
    PERIODS,
    SCHEDULED,
    STATEMENT_SECONDS,
    TABS,
    Query,
    find,
)
from functions.api.dashboard.pages import Page, render
from functions.api.jobs import OPERATION_SECONDS
from stashjobs import encryption
from stashjobs.delivery.context import PARENT
from stashjobs.errors import InvalidPayload
from stashjobs.job_type import declared
from stashjobs.operators import job_types, retry_and_cancel, search, statistics, story, waiting
from stashjobs.store import batches

if TYPE_CHECKING:
    from functions.api.dashboard.sessions import Session
    from stashjobs.operators.search import JobExecution
    from stashjobs.store.database import Connection

# What is done from here ends within one request; more is for `stashjobs retry` and `cancel`.
MAX_AT_ONCE = 1_000
# What a page's address, and its form, say besides the filter.
OF_THE_PAGE = ("id",)
OF_THE_FORM = ("csrf", "every", "job_id", "completed", "meant")
# What a form's first button does, which Enter presses: it shows the list again.
NOTHING = "nothing"
# Whether what has completed runs again too, which its effects do: only who is asked says so.
COMPLETED_TOO, COMPLETED_NOT = "too", "not"
# Of which statuses, how the chosen ones are changed, and how all that match.
ACTIONS = {
    "retry": (retry_and_cancel.RETRYABLE, retry_and_cancel.retry_these, retry_and_cancel.retry_all),
    "cancel": (
        retry_and_cancel.CANCELLABLE,
        retry_and_cancel.cancel_these,
        retry_and_cancel.cancel_all,
    ),
    "run-now": (waiting.RUNNABLE, waiting.run_these_now, waiting.run_all_now),
    "delete": (waiting.WAITING, waiting.delete_these, waiting.delete_all),
}

router = APIRouter(prefix="/admin", route_class=Page, include_in_schema=False)


@router.get("/jobs")
def list_jobs(request: Request, _session: Reader, own: Connected) -> Response:
    """A page of jobs; a job's id leads to it at once."""
    wanted = request.query_params.get("id", "").strip()
    if wanted:
        return RedirectResponse(_job_url(search.id_of(own, wanted[:128])), 303)
    query = Query.read(request.query_params.multi_items(), OF_THE_PAGE)
    return render(
        request,
        "jobs.html",
        tabs=tabs(own),
        types=[job.type for job in declared()],
        periods=PERIODS,
        chips=query.chips(),
        **_listed(own, query),
    )


@router.get("/live/jobs")
def list_part(request: Request, _session: Reader, own: Connected) -> HTMLResponse:
    """The rows alone."""
    query = Query.read(request.query_params.multi_items(), OF_THE_PAGE)
    return render(request, "_jobs.html", **_listed(own, query))


def tabs(own: Connection) -> dict[str, statistics.Count]:
    """How many jobs each tab has, in the order of a job's life."""
    counts = statistics.read_statuses(own, search.STATUSES)
    counts[SCHEDULED] = statistics.read_upcoming(own).scheduled
    return {tab: counts[tab] for tab in TABS}


def _listed(own: Connection, query: Query) -> dict[str, Any]:
    return {
        "query": query,
        "listed": find(own, query),
        "operations": retry_and_cancel,
        "waiting": waiting,
    }


@router.post("/jobs/{action}")
def change_many(request: Request, session: OperatorsForm, form: Posted, action: str) -> Response:
    """Change the chosen jobs, or all that match, which is asked about first, as is what cannot be
    undone."""
    if action == NOTHING:
        return RedirectResponse(Query.read(form.items(), OF_THE_FORM).url(), 303)
    if action not in ACTIONS:
        raise HTTPException(404, "there is no such action")
    every = form.all("every")
    if every not in ([], ["ask"], ["confirmed"]):
        raise HTTPException(422, "every: there are ask and confirmed")
    query = Query.read(form.items(), OF_THE_FORM)
    if every:
        return _change_all(request, session, action, query, confirmed=every == ["confirmed"])
    chosen = form.all("job_id")
    if action == "delete" and chosen and form.one("meant") != "yes":
        return _ask(request, action, query, len(chosen), chosen)
    if action == "retry" and (completed := _completed(chosen)):
        if form.one("completed") not in (COMPLETED_TOO, COMPLETED_NOT):
            return _ask_about_completed(request, "/admin/jobs/retry", query, chosen, completed)
        if form.one("completed") == COMPLETED_NOT:
            chosen = [each for each in chosen if each not in completed]
    _, change_these, _ = ACTIONS[action]
    count = change_these(chosen, actor=session.actor) if chosen else 0
    return flash.leads_to(query.url(), request, action, count=count)


def _change_all(
    request: Request, session: Session, action: str, query: Query, *, confirmed: bool
) -> Response:
    statuses: tuple[str, ...]
    statuses, _, change = ACTIONS[action]
    if action == "retry":
        statuses = retry_and_cancel.of_many(query.status)
        change = functools.partial(retry_and_cancel.retry_all, statuses=statuses)
    with borrowed() as own, own.transaction():
        own.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'".encode())
        count = statistics.count_up_to(own, query.to_filter(), statuses, MAX_AT_ONCE + 1)
    if not confirmed or count > MAX_AT_ONCE:
        return _ask(request, action, query, count, [])
    changed = change(query.to_filter(), actor=session.actor, seconds=OPERATION_SECONDS)
    return flash.leads_to(query.url(), request, action, count=changed.count)


def _ask(
    request: Request, action: str, query: Query, count: int, chosen: list[str]
) -> HTMLResponse:
    with borrowed() as own:
        state = job_types.read(own).get(query.type)
    return render(
        request,
        "confirm.html",
        action=action,
        count=count,
        limit=MAX_AT_ONCE,
        query=query,
        periods=PERIODS,
        chosen=chosen,
        is_paused=state is not None and state.paused,
    )


@router.get("/live/jobs/{job_id:path}")
def show_part(request: Request, _session: Reader, own: Connected, job_id: str) -> HTMLResponse:
    """What of it changes."""
    return render(request, "_job.html", **_shown(own, job_id))


def _shown(own: Connection, job_id: str) -> dict[str, Any]:
    job = _find(own, job_id)
    actions = story.read_actions(own, job_id)
    steps = story.read_steps(own, job_id, actions)
    parent = job.metadata.get(PARENT)
    parent_id = parent if isinstance(parent, str) else None
    enqueuer = search.find(own, parent_id) if parent_id else None
    enqueued = search.find_children(own, job_id)
    links = search.find_links(own, job_id)
    is_last = batches.find(own, job_id) is not None
    linked = {one.job_id for one in (*links.parents, *links.children)}
    return {
        "links": links,
        "enqueuer": enqueuer if enqueuer and parent_id not in linked else None,
        "enqueued": [one for one in enqueued if one.job_id not in linked],
        "is_last_of_batch": is_last,
        "has_graph": bool(linked or enqueuer or enqueued or job.batch_id or is_last),
        "job": job,
        "payload": search.find_payload(own, job_id),
        "is_encrypted": encryption.is_encrypted,
        "moments": timeline.moments(job, actions, steps),
        "steps": [step for step in steps if step.is_kept],
        "failure": timeline.last_failure(job),
        "edits": [each for each in actions if each.payload_hash_before is not None],
        "logs": _logs_of(job),
        "spans": timeline.spans(job),
        "parent_id": parent_id,
        "parent": enqueuer,
        "children": enqueued,
        "operations": retry_and_cancel,
        "waiting": waiting,
    }


def _logs_of(job: JobExecution) -> str:
    """Where the job's lines are; empty where that is not known, or its type is not this app's."""
    if all(each.type != job.job_type for each in declared()):
        return ""
    return logs.of_job(job.job_id, job.job_type, job.created_at, job.completed_at)


def _completed(job_ids: list[str]) -> set[str]:
    if not job_ids:
        return set()
    with borrowed() as own:
        return {job_id for (job_id,) in own.execute(sql.FIND_COMPLETED, [job_ids])}


def _ask_about_completed(
    request: Request,
    action: str,
    query: Query,
    chosen: list[str],
    completed: set[str],
    *,
    from_step: str = "",
) -> HTMLResponse:
    return render(
        request,
        "completed.html",
        action=action,
        query=query,
        chosen=chosen,
        completed=len(completed),
        from_step=from_step,
        back=query.url() if len(chosen) > 1 else _job_url(chosen[0]),
    )


@router.post("/jobs/{job_id:path}/retry")
def retry(request: Request, session: OperatorsForm, form: Posted, job_id: str) -> Response:
    """Run a job again as it is, from one of its steps on if that is asked for; one that has
    completed, if that is meant."""
    from_step = form.one("from_step") or None
    if form.one("completed") != COMPLETED_TOO and (completed := _completed([job_id])):
        action = f"{_job_url(job_id)}/retry"
        return _ask_about_completed(
            request, action, Query(), [job_id], completed, from_step=from_step or ""
        )
    retry_and_cancel.retry(job_id, actor=session.actor, from_step=from_step)
    return flash.leads_to(_job_url(job_id), request, "retry")


@router.post("/jobs/{job_id:path}/cancel")
def cancel(request: Request, session: OperatorsForm, job_id: str) -> Response:
    """Cancel a job that waits."""
    retry_and_cancel.cancel(job_id, actor=session.actor)
    return flash.leads_to(_job_url(job_id), request, "cancel")


@router.post("/jobs/{job_id:path}/run-now")
def run_now(request: Request, session: OperatorsForm, job_id: str) -> Response:
    """Run a job at once that waits for its time."""
    waiting.run_now(job_id, actor=session.actor)
    return flash.leads_to(_job_url(job_id), request, "run-now")


@router.get("/jobs/{job_id:path}/reschedule")
def new_time(request: Request, _session: Operator, own: Connected, job_id: str) -> HTMLResponse:
    """When it is due, to be changed."""
    job = _find(own, job_id)
    at = f"{job.available_at.astimezone(UTC):%Y-%m-%dT%H:%M}"
    return render(request, "reschedule.html", job=job, at=at, problem="")


@router.post("/jobs/{job_id:path}/reschedule")
def reschedule(request: Request, session: OperatorsForm, form: Posted, job_id: str) -> Response:
    """Have a job due at another time; one that makes no sense is shown again, with why."""
    text = form.one("at")
    try:
        at = datetime.fromisoformat(text)
        waiting.reschedule(job_id, actor=session.actor, at=at.replace(tzinfo=at.tzinfo or UTC))
    except ValueError as error:
        with borrowed() as own:
            job = _find(own, job_id)
        return render(request, "reschedule.html", 422, job=job, at=text, problem=str(error))
    return flash.leads_to(_job_url(job_id), request, "reschedule")


@router.get("/jobs/{job_id:path}/delete")
def ask_to_delete(
    request: Request, _session: Operator, own: Connected, job_id: str
) -> HTMLResponse:
    """Whether it is meant: it cannot be undone."""
    return render(request, "delete.html", job=_find(own, job_id))


@router.post("/jobs/{job_id:path}/delete")
def delete(request: Request, session: OperatorsForm, job_id: str) -> Response:
    """Delete a job that waits."""
    waiting.delete(job_id, actor=session.actor)
    return flash.leads_to("/admin/jobs", request, "delete")


@router.get("/jobs/{job_id:path}/edit")
def edit(request: Request, _session: Operator, own: Connected, job_id: str) -> HTMLResponse:
    """The payload, to be edited. What is hidden stays here."""
    job = _find(own, job_id)
    payload = search.find_payload(own, job_id)
    is_encrypted = encryption.is_encrypted(payload)
    text = "" if is_encrypted else json.dumps(redaction.mask(payload), indent=2, ensure_ascii=False)
    return _form(request, job, text, is_encrypted=is_encrypted)


@router.get("/jobs/{job_id:path}")
def show(request: Request, _session: Reader, own: Connected, job_id: str) -> HTMLResponse:
    """One job. Declared after its own pages: an id may have slashes."""
    return render(request, "job.html", **_shown(own, job_id))


@router.post("/jobs/{job_id:path}/edit")
def save_edited(request: Request, session: OperatorsForm, form: Posted, job_id: str) -> Response:
    """Give a job that waits another payload, or run one again with it that has ended; one that does
    not fit is shown again, with why."""
    text = form.one("payload")
    with borrowed() as own:
        job, original = _find(own, job_id), search.find_payload(own, job_id)
    is_encrypted = encryption.is_encrypted(original)
    try:
        payload = redaction.restore(parsed(text), None if is_encrypted else original)
        _check(job, payload)
    except redaction.CannotRestore as error:
        return _form(request, job, text, is_encrypted=is_encrypted, problems=[str(error)])
    except InvalidPayload as error:
        return _form(request, job, text, is_encrypted=is_encrypted, problems=error.reasons)
    if job.status in waiting.WAITING:
        waiting.edit(job_id, actor=session.actor, payload=payload)
        return flash.leads_to(_job_url(job_id), request, "edit")
    retry_and_cancel.retry(job_id, actor=session.actor, payload=payload)
    return flash.leads_to(_job_url(job_id), request, "retry")


def _form(
    request: Request,
    job: JobExecution,
    text: str,
    *,
    is_encrypted: bool,
    problems: list[str] | None = None,
) -> HTMLResponse:
    return render(
        request,
        "edit.html",
        422 if problems else 200,
        job=job,
        waiting=waiting,
        text=text,
        is_encrypted=is_encrypted,
        problems=problems or [],
        hidden=redaction.HIDDEN,
    )


def parsed(text: str) -> Any:
    """The payload that an operator has written.

    Raises:
        InvalidPayload: It is no JSON, with the place; or null.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = (
            f"line {error.lineno}, column {error.colno}: {error.msg}"
            if isinstance(error, json.JSONDecodeError)
            else "it cannot be read"
        )
        raise InvalidPayload("payload", [f"this is not JSON: {where}"]) from error
    if document is None:
        raise InvalidPayload("payload", ["null is not a payload"])
    return document


def _check(job: JobExecution, payload: Any) -> None:
    """Against the type's model, where the type is known here."""
    for known in declared():
        if known.type == job.job_type:
            known.read_payload(payload)


def _find(own: Connection, job_id: str) -> JobExecution:
    job = search.find(own, job_id)
    if job is None:
        raise HTTPException(404, f"there is no job {job_id[:128]}")
    return job


def _job_url(job_id: str) -> str:
    return f"/admin/jobs/{quote(job_id, safe='')}"
