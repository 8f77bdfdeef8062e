"""Have QStash's flow control do what the rows of job types say (Upstash docs, "Flow Control")."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stashjobs.job_type import declared
from stashjobs.observability import redaction
from stashjobs.producer import qstash_client
from stashjobs.producer.message import flow_control_key, flow_control_of
from stashjobs.store import database, job_types

if TYPE_CHECKING:
    from qstash.flow_control_api import FlowControlInfo, PinFlowControlOptions

    from stashjobs.job_type import JobType
    from stashjobs.store.job_types import TypeState

log = logging.getLogger("stashjobs")


def apply(state: TypeState) -> bool:
    """Have QStash do what the row says, and note it there. Returns whether it does; else the relay
    tries again. Never raises."""
    try:
        _apply(state, None)
        with database.borrowed() as own:
            job_types.confirm_applied(own, state)
    except Exception as error:  # noqa: BLE001 - the row is written; the relay does the rest
        log.warning(
            "flow control was not set for %s: %s", state.job_type, redaction.one_line(error)
        )
        return False
    return True


def reconcile() -> int:
    """Compare QStash with every row that asks for something, or that it does not know of, and
    correct it; and, once in a process, with what every type declares, since jobs that wait there
    may have the limits of the deploy before. Returns how many were corrected.

    Raises:
        Exception: QStash or Postgres cannot be reached, or a setting is missing.
    """
    with database.borrowed() as own:
        states = job_types.read(own)
    corrected = 0
    for state in states.values():
        if not (state.paused or state.is_limited or state.applied_at is None):
            continue
        found = _find(state.job_type)
        if state.applied_at is not None and found is not None and _agrees(state, found):
            continue
        _apply(state, found)
        with database.borrowed() as own:
            job_types.confirm_applied(own, state)
        log.info("flow control corrected", extra={"job_type": state.job_type})
        corrected += 1
    for job in declared():
        if job.type not in _compared:
            corrected += _apply_declared(job)
            _compared.add(job.type)
    return corrected


# The types whose declared limits this process has compared.
_compared: set[str] = set()


def _apply_declared(job: JobType[Any, Any]) -> bool:
    """Have the key of a type take over what its code declares, but for what is pinned. So does
    QStash with the next message, and with none but that it takes a limit away."""
    found = _find(job.type)
    if found is None:
        return False
    wanted = flow_control_of(job)
    pinned: PinFlowControlOptions = {}
    rate = (job.rate, job.period_seconds)
    if job.rate and not found.is_pinned_rate and rate != (found.rate_max, found.rate_period):
        pinned |= {"rate": job.rate, "period": job.period_seconds}
    if not found.is_pinned_parallelism and wanted.get("parallelism", 0) not in {
        0,
        found.parallelism_max,
    }:
        pinned |= {"parallelism": wanted["parallelism"]}
    if not pinned:
        return False
    flow_control, key = qstash_client.qstash().flow_control, _key(job.type)
    flow_control.pin(key, pinned)
    flow_control.unpin(key, {"rate": "rate" in pinned, "parallelism": "parallelism" in pinned})
    log.info("flow control corrected", extra={"job_type": job.type})
    return True


def _key(job_type: str) -> str:
    return quote(flow_control_key(job_type), safe="")


def _find(job_type: str) -> FlowControlInfo | None:
    try:
        return qstash_client.qstash().flow_control.get(_key(job_type))
    except Exception as error:
        if "status: 404" in str(error):
            return None
        raise


def _agrees(state: TypeState, found: FlowControlInfo) -> bool:
    rate = (found.rate_max, found.rate_period) if found.is_pinned_rate else (None, None)
    return (
        found.is_paused == state.paused
        and rate == (state.rate, state.period_seconds)
        and (found.parallelism_max if found.is_pinned_parallelism else None) == state.parallelism
    )


def _apply(state: TypeState, found: FlowControlInfo | None) -> None:
    flow_control = qstash_client.qstash().flow_control
    key = _key(state.job_type)
    if found is not None and _agrees(state, found):
        return
    # Before the limits: what is to stop stops first.
    if state.paused:
        flow_control.pause(key)
    flow_control.unpin(key, {"rate": state.rate is None, "parallelism": state.parallelism is None})
    pinned: PinFlowControlOptions = {}
    if state.rate is not None and state.period_seconds is not None:
        pinned |= {"rate": state.rate, "period": state.period_seconds}
    if state.parallelism is not None:
        pinned |= {"parallelism": state.parallelism}
    if pinned:
        flow_control.pin(key, pinned)
    if not state.paused:
        flow_control.resume(key)
