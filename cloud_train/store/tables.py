"""Tables of the meta store. A change here needs a migration in `migrations/versions`; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
)

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
    Column("checked_at", Float, nullable=True),
    Column("fault", String, nullable=False, server_default=""),
    Column("checking_until", Float, nullable=False, server_default="0"),
    Index("samples_by_value", "value"),
    Index("samples_by_check", "checked_at", "received_at"),
    Index("samples_by_device", "device_id", "received_at"),
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
    Column("software", String, nullable=False, server_default=""),
    Column("platform", String, nullable=False, server_default=""),
    Column("outbox_pending", BigInteger, nullable=False, server_default="0"),
    Column("outbox_bytes", BigInteger, nullable=False, server_default="0"),
    Column("outbox_parked", BigInteger, nullable=False, server_default="0"),
    Column("starts", BigInteger, nullable=False, server_default="0"),
    Column("unclean_starts", BigInteger, nullable=False, server_default="0"),
    Column("on_trial", Boolean, nullable=False, server_default=false()),
    Column("rejected", JSON, nullable=False, server_default="[]"),
    Column("clock_skew_s", Float, nullable=False, server_default="0"),
    Column("latency_p50_ms", Float, nullable=False, server_default="0"),
    Index("devices_by_bundle", "bundle_digest"),
    Index("devices_by_last_seen", "last_seen"),
)

RELEASES = Table(
    "releases",
    TABLES,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("channel", String, nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("name", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("metadata_version", BigInteger, nullable=False),
    Column("published_at", Float, nullable=False),
    UniqueConstraint("channel", "metadata_version", name="releases_once"),
)

MEMBERS = Table(
    "members",
    TABLES,
    Column("device_id", String, primary_key=True),
    Column("labels", JSON, nullable=False),
    Column("channel", String, nullable=False),
    Column("enrolled_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
    Column("pinned", String, nullable=False),
    Column("held", Boolean, nullable=False),
    Column("update_windows", String, nullable=False),
)

CODES = Table(
    "enrolment_codes",
    TABLES,
    Column("code_hash", String(64), primary_key=True),
    Column("device_id", String, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("channel", String, nullable=False),
    Column("made_by", String, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float, nullable=True),
    Column("used_by", String, nullable=False),
    Column("used_key", String, nullable=False, server_default=""),
)

CERTIFICATES = Table(
    "certificates",
    TABLES,
    Column("fingerprint", String(64), primary_key=True),
    Column("device_id", String, nullable=False, index=True),
    Column("issued_at", Float, nullable=False),
    Column("not_after", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
)

PEOPLE = Table(
    "people",
    TABLES,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("made_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
)

ROLLOUTS = Table(
    "rollouts",
    TABLES,
    Column("rollout_id", Integer, primary_key=True, autoincrement=True),
    Column("channel", String, nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("base_digest", String, nullable=False),
    Column("plan", JSON, nullable=False),
    Column("ring", Integer, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("started_at", Float, nullable=False),
    Column("ring_since", Float, nullable=False),
    Column("ended_at", Float, nullable=True),
    Column("reason", String, nullable=False),
    Column("made_by", String, nullable=False),
)

# What a bundle did on a device in one hour of one run; the newest word replaces the one before.
BUNDLE_HOURS = Table(
    "bundle_hours",
    TABLES,
    Column("device_id", String, primary_key=True),
    Column("bundle_digest", String(64), primary_key=True),
    Column("hour", BigInteger, primary_key=True),
    Column("run", String(8), primary_key=True),
    Column("frames", BigInteger, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("confirmed", BigInteger, nullable=False),
    Column("unknown", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("kept", BigInteger, nullable=False),
    Column("confidence", JSON, nullable=False),
    Column("classes", JSON, nullable=False),
    Column("latency_p50_ms", Float, nullable=False),
    Column("latency_p90_ms", Float, nullable=False),
    Column("latency_p99_ms", Float, nullable=False),
    Column("outbox_depth", BigInteger, nullable=False),
    Column("unclean_starts", BigInteger, nullable=False),
    Index("bundle_hours_by_bundle", "bundle_digest", "hour"),
)

AUDIT = Table(
    "audit",
    TABLES,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("who", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", JSON, nullable=False),
    Index("audit_by_subject", "subject", "id"),
    Index("audit_by_action", "action", "id"),
)
