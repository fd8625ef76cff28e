"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "meta",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "fleet_group",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("position", sa.Integer, nullable=False, unique=True),
        sa.Column("selector", sa.Text, nullable=False),
        sa.Column("follows", sa.Text, nullable=False),
    )
    op.create_table(
        "device",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("architecture", sa.String(16), nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("group_name", sa.String(63), sa.ForeignKey("fleet_group.name"), nullable=True),
        sa.Column("hold_why", sa.Text, nullable=True),
        sa.Column("hold_until", sa.Float, nullable=True),
        sa.Column("token_hash", sa.String(64), nullable=True),
        sa.Column("agent", sa.String(64), nullable=True),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("report_hash", sa.String(64), nullable=True),
        sa.Column("enrolled_at", sa.Float, nullable=True),
        sa.Column("seen_at", sa.Float, nullable=True),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_index("device_group", "device", ["group_name"])
    op.create_index("device_token", "device", ["token_hash"])
    op.create_table(
        "claim",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column("device", sa.String(63), sa.ForeignKey("device.id", ondelete="CASCADE"), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("used", sa.Float, nullable=True),
    )
    op.create_table(
        "rollout",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("snap", sa.String(40), nullable=False),
        sa.Column("channel", sa.String(128), nullable=False),
        sa.Column("base", sa.Integer, sa.ForeignKey("rollout.id"), nullable=True),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("salt", sa.String(64), nullable=False),
        sa.Column("waves", sa.Text, nullable=False),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("opened", sa.Float, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("rollout_track", "rollout", ["snap", "channel", "id"])
    op.create_table(
        "transition",
        sa.Column("rollout", sa.Integer, sa.ForeignKey("rollout.id"), primary_key=True),
        sa.Column("wave", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("round", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "progress",
        sa.Column("rollout", sa.Integer, sa.ForeignKey("rollout.id"), primary_key=True),
        sa.Column("device", sa.String(63), sa.ForeignKey("device.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("architecture", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("offered_at", sa.Float, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("progress_state", "progress", ["rollout", "state", "offered_at"])
    op.create_table(
        "counter",
        sa.Column("rollout", sa.Integer, sa.ForeignKey("rollout.id"), primary_key=True),
        sa.Column("wave", sa.Integer, primary_key=True),
        sa.Column("architecture", sa.String(16), primary_key=True),
        sa.Column("state", sa.String(16), primary_key=True),
        sa.Column("devices", sa.Integer, nullable=False),
        sa.Column("changed", sa.Float, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("sequence", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(128), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("audit")
    op.drop_table("counter")
    op.drop_table("progress")
    op.drop_table("transition")
    op.drop_table("rollout")
    op.drop_table("claim")
    op.drop_table("device")
    op.drop_table("fleet_group")
    op.drop_table("meta")
