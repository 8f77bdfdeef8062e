"""Job ids."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from stashjobs.ids import new_job_id


def milliseconds(job_id: str) -> int:
    return uuid.UUID(job_id).int >> 80


def test_an_id_tells_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    made = milliseconds(new_job_id())
    assert before <= made <= time.time_ns() // 1_000_000 + 1


def test_ids_of_many_threads_are_all_different() -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: new_job_id(), range(5_000)))
    assert len(set(ids)) == 5_000


def test_ids_of_one_thread_grow_although_others_make_them_too() -> None:
    with ThreadPoolExecutor(4) as pool:
        for ids in pool.map(lambda _: [new_job_id() for _ in range(1_000)], range(4)):
            assert ids == sorted(ids)
