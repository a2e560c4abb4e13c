"""The first schema: consent, budget, plans, builds, approvals, purpose keys, and the log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.String().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Every table."""
    op.create_table(
        "consent_events",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("purpose", _TEXT, nullable=False),
        sa.Column("status", _TEXT, nullable=False),
        sa.Column("event_time", _NUMBER, nullable=False),
        sa.Column("received_time", _NUMBER, nullable=False),
        sa.Column("valid_until", _NUMBER),
        sa.Column("basis", _TEXT),
        sa.Column("notice_version", _TEXT),
        sa.Column("notice_hash", _TEXT),
        sa.Column("controller", _TEXT),
        sa.Column("jurisdiction", _TEXT),
        sa.Column("method", _TEXT),
        sa.Column("raw_signal", _TEXT),
        sa.Column("batch", _TEXT, nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_consent_events_subject", "consent_events", ["subject"])
    op.create_table(
        "consent_imports",
        sa.Column("batch", _TEXT, primary_key=True),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("received", _NUMBER, nullable=False),
    )
    op.create_table(
        "budget_caps",
        sa.Column("account", _TEXT, primary_key=True),
        sa.Column("epsilon", sa.Float(), nullable=False),
        sa.Column("delta", sa.Float(), nullable=False),
        sa.Column("set_by", _TEXT, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
    )
    op.create_table(
        "budget_reservations",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("cap_account", _TEXT, nullable=False),
        sa.Column("allocation", _TEXT, nullable=False),
        sa.Column("purpose", _TEXT, nullable=False),
        sa.Column("label", _TEXT, nullable=False),
        sa.Column("mu_squared", _TEXT, nullable=False),
        sa.Column("draws", _NUMBER, nullable=False),
        sa.Column("epsilon", sa.Float(), nullable=False),
        sa.Column("delta", sa.Float(), nullable=False),
        sa.Column("status", _TEXT, nullable=False),
        sa.Column("principal", _TEXT, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
    )
    op.create_index("ix_budget_reservations_allocation", "budget_reservations", ["allocation"])
    op.create_index("ix_budget_reservations_cap_account", "budget_reservations", ["cap_account"])
    op.create_table(
        "budget_draws",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("reservation", _TEXT, nullable=False),
        sa.Column("path", _TEXT, nullable=False),
        sa.Column("step", _TEXT, nullable=False),
        sa.Column("part", _TEXT, nullable=False),
        sa.Column("mu_squared", _TEXT, nullable=False),
        sa.Column("bound", sa.Float(), nullable=False),
        sa.Column("sigma", sa.Float(), nullable=False),
        sa.Column("draws", _NUMBER, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
    )
    op.create_index("ix_budget_draws_reservation", "budget_draws", ["reservation"])
    op.create_table(
        "admission_snapshots",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("dataset", _TEXT, nullable=False),
        sa.Column("purpose", _TEXT, nullable=False),
        sa.Column("policy", _TEXT, nullable=False),
        sa.Column("interval", _NUMBER, nullable=False),
        sa.Column("taken", _NUMBER, nullable=False),
        sa.Column("reservation", _TEXT, nullable=False),
        sa.Column("sigma", sa.Float(), nullable=False),
        sa.Column("histogram", _TEXT, nullable=False),
    )
    op.create_table(
        "plans",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("segment", _TEXT, nullable=False),
        sa.Column("spec", _TEXT, nullable=False),
        sa.Column("contract", _TEXT, nullable=False),
        sa.Column("policy", _TEXT, nullable=False),
        sa.Column("snapshot", _TEXT, nullable=False),
        sa.Column("principal", _TEXT, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
    )
    op.create_index("ix_plans_segment", "plans", ["segment"])
    op.create_table(
        "builds",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("segment", _TEXT, nullable=False),
        sa.Column("plan", _TEXT, nullable=False),
        sa.Column("purpose", _TEXT, nullable=False),
        sa.Column("status", _TEXT, nullable=False),
        sa.Column("builder", _TEXT, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
        sa.Column("released", _NUMBER),
        sa.Column("reservation", _TEXT, nullable=False),
        sa.Column("facts", _TEXT, nullable=False),
        sa.Column("entry", _NUMBER),
    )
    op.create_index("ix_builds_segment", "builds", ["segment"])
    op.create_table(
        "approvals",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("build", _TEXT, nullable=False),
        sa.Column("principal", _TEXT, nullable=False),
        sa.Column("verdict", _TEXT, nullable=False),
        sa.Column("comment", _TEXT, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
    )
    op.create_index("ix_approvals_build", "approvals", ["build"])
    op.create_table(
        "purpose_keys",
        sa.Column("purpose", _TEXT, primary_key=True),
        sa.Column("fingerprint", _TEXT, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
    )
    op.create_table(
        "log_entries",
        sa.Column("idx", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "log_nodes",
        sa.Column("level", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("idx", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sqlite_with_rowid=False,
    )
