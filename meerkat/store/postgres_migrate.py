"""Migrating a PostgreSQL database: recognised before it is touched, and brought to our schema.

Whoever writes first makes the tables, under a lock: others wait for it, and find them. What is
another application's, or comes from a newer schema, is refused unchanged.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Final

from psycopg.sql import SQL, Composed, Identifier

from meerkat.fail_points import FailPoint, reached
from meerkat.store.postgres_owning import wait_to_migrate, while_nobody_owns
from meerkat.store.postgres_schema import (
    CREATE_VERSIONS,
    MIGRATIONS,
    SCHEMA_VERSION,
    VERSIONS_TABLE,
)
from meerkat.store.postgres_session import Address, Connection, Session

_TABLES: Final = (
    "SELECT to_regclass(%s) IS NOT NULL, EXISTS (SELECT FROM pg_class AS c "
    "JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s)"
)
_VERSION: Final = f"SELECT max(version) FROM {VERSIONS_TABLE}"
_READ_ONLY: Final = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"


def version_of(address: Address, connection: Connection) -> int:
    """The version of the tables that are there, 0 for none; StoreError when they are not ours."""
    table = f"{address.schema}.{VERSIONS_TABLE}"
    ours, others = connection.execute(_TABLES, (table, address.schema)).fetchall()[0]
    if not ours:
        if others:
            raise address.says(f"schema {address.schema} is another application's")
        return 0
    ((version,),) = connection.execute(_VERSION).fetchall()
    if version is None or version < 1:
        raise address.says(f"schema {address.schema} has version {version}, which is none of ours")
    if version > SCHEMA_VERSION:
        raise address.says(
            f"it has schema {version}, from a newer meerkat; this one knows {SCHEMA_VERSION}"
        )
    return int(version)


def migrate(address: Address, session: Session) -> None:
    """Bring the tables to our schema, in one transaction. StoreError where it cannot be written."""
    connection = session.connection
    ((standby, read_only),) = connection.execute(_READ_ONLY).fetchall()
    if standby or read_only:
        why = "it is a standby, in recovery" if standby else "its transactions are read-only"
        raise address.says(f"the database cannot be written: {why}")
    if version_of(address, connection) == SCHEMA_VERSION:
        return
    with connection.transaction():
        wait_to_migrate(address, connection)
        version = version_of(address, connection)
        if version == SCHEMA_VERSION:
            return  # whoever was first has made them, and may be at work by now
        with while_nobody_owns(address, connection) if version else nullcontext():
            _bring_on(address, connection, version)
        reached(FailPoint.MIGRATION_WRITTEN)


def _bring_on(address: Address, connection: Connection, version: int) -> None:
    """Carry out what the tables of a version lack; 0 is none at all."""
    if not version:
        name = Identifier(address.schema)
        connection.execute(Composed([SQL("CREATE SCHEMA IF NOT EXISTS "), name]))
        connection.execute(CREATE_VERSIONS)
    for number in range(version + 1, SCHEMA_VERSION + 1):
        for statement in MIGRATIONS[number]:
            connection.execute(statement)
            reached(FailPoint.MIGRATION_STEP)
        connection.execute(f"INSERT INTO {VERSIONS_TABLE} (version) VALUES (%s)", (number,))
