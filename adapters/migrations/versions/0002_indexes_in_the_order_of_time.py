"""Indexes of interactions that grow at their end: one in the order of time, one by experiment"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for column in ("created", "experiment", "target", "unit"):
        op.drop_index(op.f(f"ix_interactions_{column}"), "interactions")
    op.create_index("interactions_by_time", "interactions", ["created", "target", "unit"])
    in_experiments = sa.text("experiment IS NOT NULL")
    op.create_index(
        "interactions_by_arm",
        "interactions",
        ["experiment", "arm"],
        sqlite_where=in_experiments,
        postgresql_where=in_experiments,
    )
