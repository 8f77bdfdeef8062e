"""Procrastinate's app, in a module that is never the main one, as it asks for."""

from __future__ import annotations

import os

from procrastinate import App, PsycopgConnector

from benchmarks.contenders.noting import note

app = App(connector=PsycopgConnector(conninfo=os.environ["POSTGRES_URL"]))


@app.task(name="noted")
async def noted(sent: float) -> dict[str, int]:
    note(sent)
    return {"attempt": 1}
