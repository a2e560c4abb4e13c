"""Rights, roles, signals and the lifecycle: erasures, exports and recall notices, access, expiry; what signals said."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.String().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """What was added since."""
    with op.batch_alter_table("consent_events") as table:
        table.add_column(sa.Column("decoded", _TEXT))
        table.add_column(sa.Column("leaf", sa.LargeBinary()))
    op.create_table(
        "erasures",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("begun", _NUMBER, nullable=False),
        sa.Column("finished", _NUMBER),
    )
    op.create_table(
        "identities",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("survivor", _TEXT),
        sa.Column("after", _NUMBER, nullable=False),
        sa.Column("event_time", _NUMBER, nullable=False),
        sa.Column("received_time", _NUMBER, nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_identities_subject", "identities", ["subject"])
    op.create_index("ix_identities_survivor", "identities", ["survivor"])
    op.create_table(
        "consent_snapshot",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("epoch", _NUMBER, nullable=False),
        sa.Column("folder", _TEXT, nullable=False),
        sa.Column("digests", _TEXT, nullable=False),
        sa.Column("watermark", _NUMBER, nullable=False),
        sa.Column("events", _NUMBER, nullable=False),
        sa.Column("newest", _NUMBER, nullable=False),
    )
    with op.batch_alter_table("builds") as table:
        table.add_column(sa.Column("model", _TEXT))
        table.add_column(sa.Column("expires", _NUMBER))
        table.add_column(sa.Column("listed_until", _NUMBER))
        table.add_column(sa.Column("retrain_by", _NUMBER))
    with op.batch_alter_table("approvals") as table:
        table.add_column(sa.Column("policy", _TEXT))
        table.add_column(sa.Column("claimed", sa.Boolean()))
    op.create_table(
        "exports",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("build", _TEXT, nullable=False),
        sa.Column("destination", _TEXT, nullable=False),
        sa.Column("file", _TEXT, nullable=False),
        sa.Column("principal", _TEXT, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
        sa.Column("finished", _NUMBER),
    )
    op.create_index("ix_exports_build", "exports", ["build"])
    op.create_table(
        "recall_notices",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("export", _TEXT, nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
        sa.Column("handed", _NUMBER),
        sa.Column("acknowledged", _NUMBER),
        sa.Column("acknowledged_by", _TEXT),
    )
    op.create_index("ix_recall_notices_export", "recall_notices", ["export"])
    op.create_table(
        "rotated_keys",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("fingerprint", _TEXT, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
    )
    op.create_table(
        "access_changes",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("entry", _NUMBER, nullable=False),
    )
