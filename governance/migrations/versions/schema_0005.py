"""Collaborations that were joined."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.String().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """What was added since."""
    op.create_table(
        "partnerships",
        sa.Column("contract", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("segment", _TEXT, nullable=False),
        sa.Column("spec", _TEXT, nullable=False),
        sa.Column("envelope", _TEXT, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
        sa.Column("build", _TEXT),
    )
    op.create_index("ix_partnerships_name", "partnerships", ["name"], unique=True)
