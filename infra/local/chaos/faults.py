"""A bad network between QStash and the functions."""

from __future__ import annotations

import asyncio
import json
import random
import time

from infra.local.qstash import DeliveryError, DeliveryRequest, DeliveryResponse, Send


class BadNetwork:
    """Delays, and so reorders; doubles, at once or later; loses requests and responses; and answers
    in the functions' stead. One delivery in five has something wrong with it.

    Attributes:
        sent: requests that reached the gateway.
        first_tries: when QStash first tried to deliver a job (Unix seconds), by job id.
        done: counts of what was done to deliveries.
    """

    def __init__(self, seed: int) -> None:
        self.sent = 0
        self.first_tries: dict[str, float] = {}
        self.done: dict[str, int] = {}
        self.calm = False
        self._random = random.Random(seed)
        self._later: set[asyncio.Task[None]] = set()

    async def deliver(self, send: Send, request: DeliveryRequest) -> DeliveryResponse:
        self._remember(request)
        what = self._choose()
        self.done[what] = self.done.get(what, 0) + 1
        if what == "delayed":
            await asyncio.sleep(self._random.uniform(0, 1))
        elif what == "request lost":
            raise DeliveryError("the request was lost")
        elif what == "5xx made up":
            return DeliveryResponse(self._random.choice([500, 502, 503, 504]), {}, b"")
        elif what == "doubled later":
            self._send_later(send, request, self._random.uniform(0, 5))
        elif what == "doubled":
            answers = await asyncio.gather(
                self._send(send, request), self._send(send, request), return_exceptions=True
            )
            answer = self._random.choice(answers)
            if isinstance(answer, BaseException):
                raise answer
            return answer
        response = await self._send(send, request)
        if what == "response lost":
            raise DeliveryError("the response was lost")
        return response

    async def settle(self) -> None:
        """Wait for the doubles that are still to come."""
        self.calm = True
        while self._later:
            await asyncio.wait(self._later)

    def _choose(self) -> str:
        if self.calm:
            return "as it should be"
        return self._random.choices(
            [
                "as it should be",
                "delayed",
                "doubled",
                "doubled later",
                "response lost",
                "request lost",
                "5xx made up",
            ],
            [80, 7, 3, 3, 3, 2, 2],
        )[0]

    async def _send(self, send: Send, request: DeliveryRequest) -> DeliveryResponse:
        self.sent += 1
        return await send(request)

    def _send_later(self, send: Send, request: DeliveryRequest, seconds: float) -> None:
        async def later() -> None:
            await asyncio.sleep(seconds)
            try:
                await self._send(send, request)
            except DeliveryError:
                return

        task = asyncio.create_task(later())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def _remember(self, request: DeliveryRequest) -> None:
        job_id = json.loads(request.body).get("jobId")
        if job_id is not None:
            self.first_tries.setdefault(job_id, time.time())
