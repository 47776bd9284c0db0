"""Jobs, their pools and results, and the answers to requests with an Idempotency-Key."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "jobs",
        sa.Column("number", _number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("whole", sa.Integer, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("started", sa.Float(53)),
        sa.Column("finished", sa.Float(53)),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("stages", sa.Text, nullable=False),
        sa.Column("problem", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("stalled", sa.Integer, nullable=False),
        sa.Column("furthest", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("lease", sa.Float(53)),
    )
    op.create_index("ix_jobs_caller_number", "jobs", ["caller", "number"])
    op.create_index("ix_jobs_state_number", "jobs", ["state", "number"])
    op.create_table(
        "parts",
        _job(),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table("results", _job(), sa.Column("body", sa.LargeBinary, nullable=False))
    op.create_table(
        "replies",
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("claim", sa.Text, nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("lease", sa.Float(53)),
        sa.Column("fingerprint", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("headers", sa.Text),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary),
    )
    op.create_index("ix_replies_created", "replies", ["created"])


def _job() -> "sa.Column[int]":
    return sa.Column(
        "job",
        _number,
        sa.ForeignKey("jobs.number", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )
