"""The fleet: what devices report, who belongs, rollouts, statistics, the audit; checks after the receipt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns and tables; what is there stays."""
    _samples()
    _devices()
    _releases()
    _members()
    _identity()
    _rollouts()
    _bundle_hours()
    _audit()


def _samples() -> None:
    op.add_column("samples", sa.Column("checked_at", sa.Float, nullable=True))
    op.add_column("samples", sa.Column("fault", sa.String, nullable=False, server_default=""))
    op.add_column("samples", sa.Column("checking_until", sa.Float, nullable=False, server_default="0"))
    op.create_index("samples_by_check", "samples", ["checked_at", "received_at"])
    op.create_index("samples_by_device", "samples", ["device_id", "received_at"])


def _devices() -> None:
    for name in ("software", "platform"):
        op.add_column("devices", sa.Column(name, sa.String, nullable=False, server_default=""))
    for name in ("outbox_pending", "outbox_bytes", "outbox_parked", "starts", "unclean_starts"):
        op.add_column("devices", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("devices", sa.Column("on_trial", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("devices", sa.Column("rejected", sa.JSON, nullable=False, server_default="[]"))
    for name in ("clock_skew_s", "latency_p50_ms"):
        op.add_column("devices", sa.Column(name, sa.Float, nullable=False, server_default="0"))
    op.create_index("devices_by_bundle", "devices", ["bundle_digest"])
    op.create_index("devices_by_last_seen", "devices", ["last_seen"])


def _releases() -> None:
    """Versions may be moments in milliseconds; SQLite knows one size of whole numbers and keeps the table."""
    with op.batch_alter_table("releases") as releases:
        for name in ("version", "metadata_version"):
            releases.alter_column(name, existing_type=sa.Integer, type_=sa.BigInteger, existing_nullable=False)


def _members() -> None:
    op.create_table(
        "members",
        sa.Column("device_id", sa.String, primary_key=True),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("enrolled_at", sa.Float, nullable=False),
        sa.Column("revoked_at", sa.Float, nullable=True),
        sa.Column("pinned", sa.String, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False),
        sa.Column("update_windows", sa.String, nullable=False),
    )


def _identity() -> None:
    op.create_table(
        "enrolment_codes",
        sa.Column("code_hash", sa.String(64), primary_key=True),
        sa.Column("device_id", sa.String, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("made_by", sa.String, nullable=False),
        sa.Column("made_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("used_at", sa.Float, nullable=True),
        sa.Column("used_by", sa.String, nullable=False),
        sa.Column("used_key", sa.String, nullable=False, server_default=""),
    )
    op.create_table(
        "certificates",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("device_id", sa.String, nullable=False),
        sa.Column("issued_at", sa.Float, nullable=False),
        sa.Column("not_after", sa.Float, nullable=False),
        sa.Column("revoked_at", sa.Float, nullable=True),
    )
    op.create_index("ix_certificates_device_id", "certificates", ["device_id"])
    op.create_table(
        "people",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("made_at", sa.Float, nullable=False),
        sa.Column("revoked_at", sa.Float, nullable=True),
    )


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("rollout_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("bundle_digest", sa.String(64), nullable=False),
        sa.Column("base_digest", sa.String, nullable=False),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("ring", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("ring_since", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float, nullable=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("made_by", sa.String, nullable=False),
    )
    op.create_index("ix_rollouts_channel", "rollouts", ["channel"])
    op.create_index("ix_rollouts_state", "rollouts", ["state"])


def _bundle_hours() -> None:
    counts = ("frames", "accepted", "confirmed", "unknown", "failed", "kept", "outbox_depth", "unclean_starts")
    op.create_table(
        "bundle_hours",
        sa.Column("device_id", sa.String, primary_key=True),
        sa.Column("bundle_digest", sa.String(64), primary_key=True),
        sa.Column("hour", sa.BigInteger, primary_key=True),
        sa.Column("run", sa.String(8), primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in counts),
        *(sa.Column(f"latency_p{share}_ms", sa.Float, nullable=False) for share in (50, 90, 99)),
        sa.Column("confidence", sa.JSON, nullable=False),
        sa.Column("classes", sa.JSON, nullable=False),
    )
    op.create_index("bundle_hours_by_bundle", "bundle_hours", ["bundle_digest", "hour"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_index("audit_by_subject", "audit", ["subject", "id"])
    op.create_index("audit_by_action", "audit", ["action", "id"])
