"""Procrastinate with a counter by hand: each job of a batch counts down, and the last one defers
what follows. One line for each round: the seconds from the first fetch to the last job's end.

By Procrastinate's own statements, without its worker around them, on as many connections at once as
ours: what is compared is Postgres's work for a job that belongs to a batch.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
from procrastinate.sql import queries

DEFER = """
INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args)
SELECT 'default', 'part', NULL, NULL, jsonb_build_object('batch', %s::int)
  FROM generate_series(1, %s)
"""
CALLBACK = """
INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('default', 'callback', '{}')
"""
COUNTERS = "CREATE TABLE IF NOT EXISTS counters (batch int PRIMARY KEY, open int NOT NULL)"
COUNT_DOWN = "UPDATE counters SET open = open - 1 WHERE batch = %s RETURNING open"


def main() -> None:
    url = os.environ["POSTGRES_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(COUNTERS)
        for line in sys.stdin:
            asked = json.loads(line)
            connection.execute("TRUNCATE counters")
            connection.execute("TRUNCATE procrastinate_jobs CASCADE")
            for batch in range(asked["jobs"] // asked["size"]):
                connection.execute("INSERT INTO counters VALUES (%s, %s)", [batch, asked["size"]])
                connection.execute(DEFER, [batch, asked["size"]])
            connection.execute("ANALYZE")
            began = time.perf_counter()
            with ThreadPoolExecutor(asked["sessions"]) as sessions:
                done = sum(sessions.map(_work, [url] * asked["sessions"]))
            seconds = time.perf_counter() - began
            print(json.dumps({"seconds": seconds, "done": done}), flush=True)


def _work(url: str) -> int:
    done = 0
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            fetched = connection.execute(
                queries["fetch_job"].encode(), {"queues": None, "worker_id": None}
            ).fetchone()
            if fetched is None or fetched[0] is None:
                return done
            job_id, task, args = fetched[0], fetched[2], fetched[6]
            with connection.transaction():
                finish = {"job_id": job_id, "status": "succeeded", "delete_job": False}
                connection.execute(queries["finish_job"].encode(), finish)
                if task == "part":
                    [left] = connection.execute(COUNT_DOWN, [args["batch"]]).fetchone() or (1,)
                    if left == 0:
                        connection.execute(CALLBACK)
            done += 1


if __name__ == "__main__":
    main()
