"""The export's SQL. What is left open comes from `entities`."""

from __future__ import annotations

from psycopg.sql import SQL

SET_TIMES_IN_UTC = "-- set_times_in_utc\nSET LOCAL TimeZone TO 'UTC'"

COUNT_ROWS = SQL("-- count_rows\nSELECT count(*) FROM {table} WHERE {conditions}")

READ_ROWS = SQL("-- read_rows\nSELECT {columns} FROM {table} WHERE {conditions} ORDER BY {order}")

READ_JSON_LINES = SQL("-- read_json_lines\nSELECT row_to_json(line)::text FROM ({rows}) AS line")
