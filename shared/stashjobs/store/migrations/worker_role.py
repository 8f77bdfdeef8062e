"""What the role of the functions may do: run jobs, serve the API, clean up. It owns nothing.

It cannot change a job but by the database's functions, nor touch a trigger, a token, or what the
audit has: it adds lines, and takes them out for the archive by functions that refuse what is
younger than a day.

`migrate` grants this anew each time, to every role that it was told of, since a function that is
made anew has no grants, and a new table neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from stashjobs.errors import MigrationError

if TYPE_CHECKING:
    from stashjobs.store.database import Connection

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_worker_roles (
    role  name PRIMARY KEY
)
"""
TABLE_EXISTS = "SELECT to_regclass('schema_worker_roles') IS NOT NULL"
REMEMBER = "INSERT INTO schema_worker_roles (role) VALUES (%s) ON CONFLICT DO NOTHING"
READ_ROLES = """
SELECT known.role::text FROM schema_worker_roles AS known JOIN pg_roles ON rolname = known.role
 ORDER BY 1
"""
ROLE_EXISTS = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)"
READ_OWNER = """
SELECT pg_has_role(%s, relowner, 'MEMBER') FROM pg_class WHERE oid = to_regclass('job_executions')
"""
READ_SCHEMA = """
SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('job_executions')
"""

# A team's own tables in the same schema are its jobs' to read and write.
GRANT_SCHEMAS = """
GRANT USAGE ON SCHEMA stashjobs, {schema} TO {role};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA stashjobs TO {role};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA {schema}
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE ON SEQUENCES TO {role}
"""
REVOKE = "REVOKE ALL ON TABLE {table} FROM {role}"
GRANT = "GRANT {rights} ON TABLE {table} TO {role}"
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

# Everyone, and those whom Supabase's API has ask: a database may grant them each new table.
READ_OUTSIDERS = """
SELECT DISTINCT relname::text, coalesce(rolname, 'public')::text
  FROM pg_class
 CROSS JOIN LATERAL aclexplode(relacl)
  LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE (relname = ANY(%s)
        OR pg_class.oid IN (SELECT sequence.objid FROM pg_depend AS sequence
                              JOIN pg_class AS owner ON owner.oid = sequence.refobjid
                             WHERE sequence.classid = 'pg_class'::regclass
                               AND sequence.deptype IN ('a', 'i') AND pg_class.relkind = 'S'
                               AND owner.relname = ANY(%s)))
   AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('job_executions'))
   AND (grantee = 0 OR rolname IN ('anon', 'authenticated'))
 ORDER BY 1, 2
"""


def outsiders(connection: Connection) -> list[tuple[str, str]]:
    """The tables of stashjobs and their sequences that others than apps and workers may use, each
    with the role; `public` is everyone."""
    return connection.execute(READ_OUTSIDERS, [[*RIGHTS, *SEQUENCES], list(RIGHTS)]).fetchall()


def revoke_from_outsiders(connection: Connection) -> None:
    """Take those rights away. A database such as Supabase's grants them anew with each table."""
    for table, role in outsiders(connection):
        whom = sql.SQL("PUBLIC") if role == "public" else sql.Identifier(role)
        statement = sql.SQL(REVOKE)
        connection.execute(statement.format(table=sql.Identifier(table), role=whom))


def remember(connection: Connection, role: str) -> None:
    """Have `grant` know this role from now on.

    Raises:
        MigrationError: There is no such role, or it owns the tables, so that no grant limits it.
    """
    if connection.execute(ROLE_EXISTS, [role]).fetchone() != (True,):
        raise MigrationError(
            f"there is no role {role!r}; make it first: CREATE ROLE {role} LOGIN PASSWORD '...'"
        )
    if connection.execute(READ_OWNER, [role]).fetchone() == (True,):
        raise MigrationError(
            f"{role} owns the tables, or is a member of the role that does; the functions need a "
            "role of their own"
        )
    connection.execute(CREATE_TABLE)
    connection.execute(REMEMBER, [role])


def grant(connection: Connection) -> list[str]:
    """Give every known role just what workers need. Returns their names."""
    if connection.execute(TABLE_EXISTS).fetchone() != (True,):
        return []
    roles = [role for (role,) in connection.execute(READ_ROLES).fetchall()]
    [(schema,)] = connection.execute(READ_SCHEMA).fetchall()
    for role in roles:
        names = {"role": sql.Identifier(role), "schema": sql.SQL(schema)}
        connection.execute(sql.SQL(GRANT_SCHEMAS).format(**names))
        for table, rights in RIGHTS.items():
            names["table"] = sql.Identifier(table)
            connection.execute(sql.SQL(REVOKE).format(**names))
            connection.execute(sql.SQL(GRANT).format(rights=sql.SQL(rights), **names))
    return roles
