"""Documents by digest, approvals of policies, and an index that finds entries of the log by action and time."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.String().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """What was added since."""
    op.create_table(
        "documents",
        sa.Column("digest", _TEXT, primary_key=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("text", _TEXT, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
    )
    op.create_index("ix_documents_name", "documents", ["name"])
    op.create_table(
        "policy_approvals",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("policy", _TEXT, nullable=False),
        sa.Column("before", _TEXT),
        sa.Column("principal", _TEXT, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
    )
    op.create_index("ix_policy_approvals_name", "policy_approvals", ["name"])
    op.create_index("ix_log_entries_beginning", "log_entries", [sa.text("substr(body, 12, 72)")])
