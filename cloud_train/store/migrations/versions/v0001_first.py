"""Samples, labels, devices, releases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the first tables."""
    _samples()
    _labels()
    _devices()
    _releases()


def _samples() -> None:
    texts = ("device_id", "source", "prediction_id", "bundle_digest", "label", "outcome", "reason")
    numbers = ("received_at", "captured_at", "confidence", "margin", "value")
    op.create_table(
        "samples",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in texts),
        *(sa.Column(name, sa.Float, nullable=False) for name in numbers),
    )
    op.create_index("samples_by_value", "samples", ["value"])


def _labels() -> None:
    op.create_table(
        "labels",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("digest", sa.String(64), sa.ForeignKey("samples.digest"), nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.UniqueConstraint("digest", "kind", "label", "who", "at", name="labels_once"),
    )


def _devices() -> None:
    op.create_table(
        "devices",
        sa.Column("device_id", sa.String, primary_key=True),
        sa.Column("last_seen", sa.Float, nullable=False),
        sa.Column("bundle_digest", sa.String, nullable=False),
        sa.Column("bundle_version", sa.BigInteger, nullable=False),
        sa.Column("frames", sa.BigInteger, nullable=False),
        sa.Column("last_error", sa.String, nullable=False),
    )


def _releases() -> None:
    op.create_table(
        "releases",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("bundle_digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("metadata_version", sa.Integer, nullable=False),
        sa.Column("published_at", sa.Float, nullable=False),
        sa.UniqueConstraint("channel", "metadata_version", name="releases_once"),
    )
