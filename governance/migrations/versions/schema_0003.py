"""Budget that is no Gaussian draw: blocks of (ε, δ), and the terms of training by samples."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TEXT = sa.String().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """What was added since."""
    with op.batch_alter_table("budget_reservations") as table:
        table.add_column(sa.Column("block_epsilon", _TEXT))
        table.add_column(sa.Column("block_delta", _TEXT))
        table.add_column(sa.Column("block", _TEXT))
    with op.batch_alter_table("budget_draws") as table:
        table.add_column(sa.Column("sampled", _TEXT))
