"""Tables of the meta store. A change here needs a migration in `migrations/versions`; a test compares the two."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, UniqueConstraint

TABLES = MetaData()

SAMPLES = Table(
    "samples",
    TABLES,
    Column("digest", String(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("device_id", String, nullable=False),
    Column("captured_at", Float, nullable=False),
    Column("source", String, nullable=False),
    Column("prediction_id", String, nullable=False),
    Column("bundle_digest", String, nullable=False),
    Column("label", String, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("margin", Float, nullable=False),
    Column("outcome", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("value", Float, nullable=False),
    Index("samples_by_value", "value"),
)

LABELS = Table(
    "labels",
    TABLES,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("digest", String(64), ForeignKey("samples.digest"), nullable=False),
    Column("kind", String, nullable=False),
    Column("label", String, nullable=False),
    Column("who", String, nullable=False),
    Column("at", Float, nullable=False),
    UniqueConstraint("digest", "kind", "label", "who", "at", name="labels_once"),
)

DEVICES = Table(
    "devices",
    TABLES,
    Column("device_id", String, primary_key=True),
    Column("last_seen", Float, nullable=False),
    Column("bundle_digest", String, nullable=False),
    Column("bundle_version", BigInteger, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("last_error", String, nullable=False),
)

RELEASES = Table(
    "releases",
    TABLES,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("channel", String, nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("name", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("metadata_version", Integer, nullable=False),
    Column("published_at", Float, nullable=False),
    UniqueConstraint("channel", "metadata_version", name="releases_once"),
)
