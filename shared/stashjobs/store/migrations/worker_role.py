"""What the role of the functions may do: run jobs, serve the API, clean up. It owns nothing.

It cannot change a job but by the database's functions, nor touch a trigger, a token, or what the
audit has: it adds lines, and takes them out for the archive by functions that refuse what is
younger than a day.

`migrate` grants this anew each time, to every role that it was told of, since a function that is
made anew has no grants, and a new table neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.sql import SQL, Identifier

from stashjobs.errors import MigrationError
from stashjobs.store.migrations import sql

if TYPE_CHECKING:
    from stashjobs.store.database import Connection


# Everything that is not here, the role may not.
RIGHTS = {
    "job_executions": "SELECT, UPDATE (idempotency_key)",
    "job_dependencies": "SELECT",
    "job_steps": "SELECT",
    "job_actions": "SELECT",
    "schedule_actions": "SELECT, INSERT",
    "access_log": "SELECT, INSERT",
    "access_tokens": "SELECT",
    "token_actions": "SELECT",
    "job_type_states": "SELECT",
    "job_type_followers": "SELECT",
    "job_batches": "SELECT",
    "type_actions": "SELECT",
    "access_rates": "SELECT, INSERT, UPDATE",
    "archive_batches": "SELECT, INSERT, UPDATE, DELETE",
    "dashboard_sessions": "SELECT, INSERT, UPDATE, DELETE",
    "dashboard_sign_ins": "SELECT, INSERT, UPDATE, DELETE",
    "notifications": "SELECT, INSERT, UPDATE, DELETE",
    "emails": "SELECT, INSERT, UPDATE, DELETE",
    "customers": "SELECT, INSERT, UPDATE, DELETE",
    "subscriptions": "SELECT, INSERT, UPDATE, DELETE",
    "stashjobs_migrations": "SELECT",
    "schema_functions": "SELECT",
    "schema_worker_roles": "SELECT",
}
# Those that no table owns.
SEQUENCES = ["stripe_reading"]


def outsiders(connection: Connection) -> list[tuple[str, str]]:
    """The tables of stashjobs and their sequences that others than apps and workers may use, each
    with the role; `public` is everyone."""
    names = [[*RIGHTS, *SEQUENCES], list(RIGHTS)]
    return connection.execute(sql.READ_OUTSIDERS, names).fetchall()


def revoke_from_outsiders(connection: Connection) -> None:
    """Take those rights away. A database such as Supabase's grants them anew with each table."""
    for table, role in outsiders(connection):
        whom = SQL("PUBLIC") if role == "public" else Identifier(role)
        statement = SQL(sql.REVOKE)
        connection.execute(statement.format(table=Identifier(table), role=whom))


def remember(connection: Connection, role: str) -> None:
    """Have `grant` know this role from now on.

    Raises:
        MigrationError: There is no such role, or it owns the tables, so that no grant limits it.
    """
    if connection.execute(sql.ROLE_EXISTS, [role]).fetchone() != (True,):
        raise MigrationError(
            f"there is no role {role!r}; make it first: CREATE ROLE {role} LOGIN PASSWORD '...'"
        )
    if connection.execute(sql.READ_OWNER, [role]).fetchone() == (True,):
        raise MigrationError(
            f"{role} owns the tables, or is a member of the role that does; the functions need a "
            "role of their own"
        )
    connection.execute(sql.CREATE_ROLES)
    connection.execute(sql.REMEMBER_ROLE, [role])


def grant(connection: Connection) -> list[str]:
    """Give every known role just what workers need. Returns their names."""
    if connection.execute(sql.ROLES_EXIST).fetchone() != (True,):
        return []
    roles = [role for (role,) in connection.execute(sql.READ_ROLES).fetchall()]
    [(schema,)] = connection.execute(sql.READ_SCHEMA).fetchall()
    for role in roles:
        names = {"role": Identifier(role), "schema": SQL(schema)}
        connection.execute(SQL(sql.GRANT_SCHEMAS).format(**names))
        for table, rights in RIGHTS.items():
            names["table"] = Identifier(table)
            connection.execute(SQL(sql.REVOKE).format(**names))
            connection.execute(SQL(sql.GRANT).format(rights=SQL(rights), **names))
    return roles
