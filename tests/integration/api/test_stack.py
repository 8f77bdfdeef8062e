"""The API over the whole local stack: an app in any language, from a request to a finished job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from tests.stacks import ended, local_stack

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_a_job_goes_from_a_request_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_stack(tmp_path, monkeypatch) as stack:
        token = stack.environment["ADMIN_TOKEN"]
        async with aiohttp.ClientSession(
            stack.urls["app"], headers={"Authorization": f"Bearer {token}"}
        ) as app:
            request = {
                "type": "create-notification",
                "payload": {"userId": "u_1", "type": "news", "title": "Hello", "message": "you"},
            }
            async with app.post("/api/jobs", json=request) as answer:
                assert answer.status == 202
                accepted = await answer.json()
            assert accepted["published"] is True
            assert (await ended(accepted["jobId"])).status == "completed"
            async with app.get(f"/api/jobs/{accepted['jobId']}") as answer:
                assert (await answer.json())["status"] == "completed"
            async with app.get("/api/users/u_1/notifications") as answer:
                shown = await answer.json()
            assert [one["title"] for one in shown["notifications"]] == ["Hello"]
            async with app.get("/api/admin/job-health") as answer:
                assert (await answer.json())["health"] == "healthy"
            async with app.get("/api/admin/schedules") as answer:
                assert answer.status == 200
            async with app.get("/openapi.json", headers={"Authorization": ""}) as answer:
                assert "/api/jobs" in (await answer.json())["paths"]
            async with app.get("/readyz", headers={"Authorization": ""}) as answer:
                assert answer.status == 200
            async with app.get("/api/jobs", headers={"Authorization": ""}) as answer:
                assert answer.status == 401
