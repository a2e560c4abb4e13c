"""The schema of the metadata database, from the first one on: which one a database has, and the way to today's.

A new database is made from the tables as they are, and marked as today's; an older one is brought there revision by
revision (`versions`, run by Alembic). A test holds that both ways end in the same schema, on SQLite and on PostgreSQL.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select

from audit import log as audit_log
from governance import tables

FIRST = "0001"
"""What a database without a mark has: those that were made before there were marks."""

HEAD = "0005"
"""What `governance.tables` and `audit.log` describe."""

marks = Table(
    "alembic_version", MetaData(), Column("version_num", String(32)), PrimaryKeyConstraint("version_num", name="alembic_version_pkc")
)


def create(connection: Connection) -> None:
    """Today's schema in a database that has none; what is there already stays."""
    if revision(connection) is None:
        tables.metadata.create_all(connection)
        audit_log.metadata.create_all(connection)
        marks.create(connection)
        connection.execute(insert(marks).values(version_num=HEAD))


def revision(connection: Connection) -> str | None:
    """The schema that a database has; None where it is empty."""
    present = inspect(connection)
    if present.has_table(marks.name):
        return connection.execute(select(marks.c.version_num)).scalar_one_or_none()
    return FIRST if present.has_table(audit_log.log_entries.name) else None


def upgrade(connection: Connection, to: str = HEAD) -> None:
    """Bring an older schema (or none) to a newer one, in the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    if revision(connection) == FIRST:
        command.stamp(config, FIRST)
    command.upgrade(config, to)
