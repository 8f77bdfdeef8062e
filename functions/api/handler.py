"""Lambda entry: `functions.api.handler.handler`, the HTTP API for apps and operators."""

from __future__ import annotations

from mangum import Mangum

from functions.api.app import app

handler = Mangum(app, lifespan="off")
