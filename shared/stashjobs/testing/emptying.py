"""Take back what a test did to its database, without making that anew.

What it finds by looking, before it deletes anything: whether more than rows was changed. Each entry
of Postgres's catalogues tells by its `xmin` which transaction wrote it, so whatever is newer than
the copy, or gone, tells that. Rows that the template brought along are looked at in the same way.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from psycopg import errors

if TYPE_CHECKING:
    from psycopg import Connection

# Without it, a table's policies could hide rows from us, which then stay.
SHOW_ALL_ROWS = "SET row_security = off"
# Then no trigger fires, no rule and no foreign key. Only a superuser may ask for it, or who was
# granted it.
FIRE_NOTHING = "SET session_replication_role = replica"
# What would fire all the same: a number in `tgtype` has a bit for each event, DELETE's is 8; the
# event of a rule is a digit, DELETE's is 4 (Postgres's pg_trigger.h and rewriteDefine.c).
ENABLED = "CASE current_setting('session_replication_role') WHEN 'replica' THEN 'AR' ELSE 'AO' END"
WOULD_FIRE = f"""
SELECT EXISTS (
    SELECT FROM pg_trigger AS own JOIN pg_class AS table_of ON table_of.oid = tgrelid
     WHERE relkind IN ('r', 'p') AND NOT tgisinternal AND tgtype & 8 <> 0
       AND position(tgenabled::text IN {ENABLED}) > 0
    UNION ALL
    SELECT FROM pg_rewrite AS own JOIN pg_class AS table_of ON table_of.oid = ev_class
     WHERE relkind IN ('r', 'p') AND ev_type = '4' AND position(ev_enabled::text IN {ENABLED}) > 0)
"""
# A materialized view is filled by a statement of its own, as a table is.
TABLES = """
SELECT format('%I.%I', nspname, relname), relkind = 'm'
  FROM pg_class AS table_of JOIN pg_namespace AS schema ON schema.oid = relnamespace
 WHERE relkind IN ('r', 'p', 'm') AND relispopulated AND NOT relispartition
   AND relpersistence <> 't' AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
 ORDER BY 1
"""
SEQUENCES = """
SELECT format('%I.%I', nspname, relname)
  FROM pg_class AS sequence JOIN pg_namespace AS schema ON schema.oid = relnamespace
 WHERE relkind = 'S' AND relpersistence <> 't'
"""
SET_BACK = """
SELECT format('setval(%s, %s, %L)', quote_literal($${name}$$), last_value, is_called) FROM {name}
"""
NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::xid::text"
# Every catalogue of a database, and how its entries for an object that is not Postgres's own are
# found: those have numbers from 16384 on. The schema `public` and large objects may have others.
# Of pg_class, see below; statistics are ANALYZE's. What large objects say and user mappings only a
# superuser may read.
CATALOGUES = """
SELECT relname,
       CASE WHEN relname = 'pg_namespace'
            THEN $$nspname !~ '^pg_(toast_)?temp_'$$
            WHEN relname IN ('pg_largeobject', 'pg_largeobject_metadata') THEN 'true'
            ELSE (SELECT attname || '::oid >= 16384' FROM pg_attribute
                   WHERE attrelid = pg_class.oid AND (attnum = 1 OR attname IN ('oid', 'objid'))
                   ORDER BY attname IN ('oid', 'objid') DESC LIMIT 1)
       END
  FROM pg_class
 WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared
   AND relname NOT IN ('pg_class', 'pg_statistic', 'pg_statistic_ext_data')
   AND has_table_privilege(oid, 'SELECT')
 ORDER BY 1
"""
# How many there are, and whether all are older than the copy.
ENTRIES = (
    "(SELECT concat(count(*), '/', min(age(xmin)) > age('{born}'::xid)) FROM {name} WHERE {own})"
)
# VACUUM and TRUNCATE write entries of pg_class too, so of these it counts what they say. The file
# of a materialized view is another one after each REFRESH.
RELATIONS = """(
SELECT sum(hashtextextended(ROW(
           oid, relname, relnamespace, reloftype, relowner, relam, reltablespace, relpersistence,
           relkind, relnatts, relchecks, relrowsecurity, relforcerowsecurity, relispopulated,
           relreplident, relispartition, relacl, reloptions, relpartbound,
           CASE relkind WHEN 'm' THEN relfilenode END)::text, 0))
  FROM pg_class WHERE oid >= 16384)"""
# What ALTER DATABASE, GRANT ON DATABASE and ALTER ROLE ... IN DATABASE write is not the database's.
OF_THE_SERVER = """(
SELECT concat(age(xmin) > age('{born}'::xid),
              (SELECT string_agg(concat(setrole, setconfig), ' ' ORDER BY setrole)
                 FROM pg_db_role_setting WHERE setdatabase = own.oid))
  FROM pg_database AS own WHERE datname = current_database())"""
# Deleted rows stay in their files, where nobody vacuums, and every scan reads them.
SIZES = """
SELECT coalesce(json_object_agg(oid, pg_relation_size(oid)), '{}') FROM pg_class
 WHERE oid >= 16384 AND relkind IN ('r', 'i', 't', 'm') AND pg_relation_size(oid) > 0
"""
HAS_GROWN = """EXISTS (
SELECT FROM pg_class
 WHERE oid >= 16384 AND relkind IN ('r', 'i', 't', 'm')
   AND pg_relation_size(oid) > 1048576 + coalesce(('{sizes}'::jsonb ->> oid::text)::bigint, 0))"""


class CannotBeEmptied(Exception):
    """Something would notice that rows are deleted, and do whatever it does then."""


class Emptying:
    """How one copy is emptied, worked out while it is as new.

    Args:
        look: A connection to it, in autocommit mode, of which nothing else is asked.

    Raises:
        CannotBeEmptied: The copy has a trigger or a rule that would fire.
        psycopg.Error: The role may not read or empty one of its tables, say.
    """

    def __init__(self, look: Connection[Any]) -> None:
        self._look = look
        self._fire_nothing()
        emptied, kept = self._tables()
        self._empty = _emptying(emptied, self._setting_back())
        self._read_state = self._reading(kept)
        self._as_new = self._look.execute(self._read_state).fetchone()

    def run(self) -> bool:
        """Empty it, and set its sequences back. False, and nothing done: more than rows was changed
        since it was new, or files have grown.

        Raises:
            psycopg.Error: It could not be done, or the connection is gone.
        """
        if self._look.execute(self._read_state).fetchone() != self._as_new:
            return False
        self._look.execute(self._empty)
        return True

    def _fire_nothing(self) -> None:
        self._look.execute(SHOW_ALL_ROWS)
        with contextlib.suppress(errors.InsufficientPrivilege):
            self._look.execute(FIRE_NOTHING)
        if self._ask(WOULD_FIRE):
            raise CannotBeEmptied

    def _tables(self) -> tuple[list[str], list[str]]:
        """Those that were empty, and those of which the template brought rows along."""
        emptied: list[str] = []
        kept: list[str] = []
        for name, is_view in self._look.execute(TABLES.encode()).fetchall():
            keep = is_view or self._ask(f"SELECT EXISTS (SELECT FROM {name})")
            (kept if keep else emptied).append(name)
        return emptied, kept

    def _setting_back(self) -> list[str]:
        """For each sequence the call that sets it to where it is."""
        names = [name for (name,) in self._look.execute(SEQUENCES.encode()).fetchall()]
        return [self._ask(SET_BACK.format(name=name)) for name in names]

    def _reading(self, kept: list[str]) -> bytes:
        """The statement that reads all that tells of changes to more than rows, at once."""
        born = self._ask(NEXT_TRANSACTION)
        looked_at = self._look.execute(CATALOGUES.encode()).fetchall()
        looked_at += [(name, "true") for name in kept]
        parts = [ENTRIES.format(name=name, own=own, born=born) for name, own in looked_at]
        parts += [RELATIONS, OF_THE_SERVER.format(born=born)]
        parts.append(HAS_GROWN.format(sizes=json.dumps(self._ask(SIZES))))
        return f"SELECT {', '.join(parts)}".encode()

    def _ask(self, question: str) -> Any:
        row = self._look.execute(question.encode()).fetchone()
        return row and row[0]


def _emptying(tables: list[str], setting_back: list[str]) -> bytes:
    """One statement that empties all tables and sets all sequences back: where foreign keys are
    looked at, that is when it ends, so the order of the tables is no matter."""
    parts = [f"t{number} AS (DELETE FROM {name})" for number, name in enumerate(tables)]
    return f"{'WITH ' if parts else ''}{', '.join(parts)} SELECT {', '.join(setting_back)}".encode()
