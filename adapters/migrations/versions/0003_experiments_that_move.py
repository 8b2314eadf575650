"""Experiments with a whole design, what has moved since, and why; their interactions by time"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("experiments") as batch:
        batch.add_column(sa.Column("design", sa.JSON(), nullable=True))
        batch.add_column(sa.Column("state", sa.String(length=16), nullable=True))
        batch.add_column(sa.Column("percent", sa.Float(), nullable=True))
        batch.add_column(sa.Column("weights", sa.JSON(), nullable=True))
        batch.add_column(sa.Column("kept", sa.JSON(), nullable=True))
        batch.add_column(sa.Column("start", sa.Float(), nullable=True))
        batch.add_column(sa.Column("moved", sa.String(length=32), nullable=True))
    _carry_over(op.get_bind())
    with op.batch_alter_table("experiments") as batch:
        for column in ("design", "weights", "kept"):
            batch.alter_column(column, existing_type=sa.JSON(), nullable=False)
        batch.alter_column("state", existing_type=sa.String(length=16), nullable=False)
        batch.alter_column("start", existing_type=sa.Float(), nullable=False)
        batch.alter_column("moved", existing_type=sa.String(length=32), nullable=False)
        batch.drop_column("arms")
        batch.drop_column("salt")
    op.create_table(
        "experiment_moves",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("experiment", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.name"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_experiment_moves_experiment"), "experiment_moves", ["experiment"])
    op.drop_index("interactions_by_arm", "interactions")
    in_experiments = sa.text("experiment IS NOT NULL")
    op.create_index(
        "interactions_by_experiment",
        "interactions",
        ["experiment", "created", "arm"],
        sqlite_where=in_experiments,
        postgresql_where=in_experiments,
    )


def _carry_over(connection: sa.Connection) -> None:
    """Experiments of before had arms with fixed weights, and all of their domain's traffic."""
    plain = ("name", "domain", "salt", "state", "start", "moved", "created", "stopped")
    json = ("arms", "design", "weights", "kept")
    table = sa.table(
        "experiments",
        *(sa.column(name) for name in plain),
        *(sa.column(name, sa.JSON()) for name in json),
    )
    for row in connection.execute(sa.select(table)).all():
        moved = table.update().values(
            design={"name": row.name, "domain": row.domain, "salt": row.salt, "arms": row.arms},
            weights={arm["name"]: arm["weight"] for arm in row.arms},
            kept={},
            state="stopped" if row.stopped else "running",
            start=0.0,
            moved=row.stopped or row.created,
        )
        connection.execute(moved.where(table.c.name == row.name))
