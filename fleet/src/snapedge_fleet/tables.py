"""The fleet's tables. Times are seconds since 1970 as floats; documents are JSON text of our own formats.

meta(key, value)                      epoch: grows with every change of what devices are to have
fleet_group                           selector and followed channels; position orders them
device                                declared: architecture, labels, hold; identity: token hash, agent; observed: state
claim                                 one-time words that enrol a device, hashed
rollout                               immutable plan; stage, phase, opened, reason move
transition                            what a rollout did, once for each (rollout, wave, kind)
progress                              where a device stands with a rollout: only devices that were told
counter                               progress counted for each wave, kept in the report's transaction
audit                                 hash chain over every order and transition
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

fleet_group = Table(
    "fleet_group",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("position", Integer, nullable=False, unique=True),
    Column("selector", Text, nullable=False),
    Column("follows", Text, nullable=False),
)

device = Table(
    "device",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("architecture", String(16), nullable=False),
    Column("labels", Text, nullable=False),
    Column("group_name", String(63), ForeignKey("fleet_group.name"), nullable=True),
    Column("hold_why", Text, nullable=True),
    Column("hold_until", Float, nullable=True),
    Column("token_hash", String(64), nullable=True),
    Column("agent", String(64), nullable=True),
    Column("sequence", Integer, nullable=False, default=0),
    Column("report_hash", String(64), nullable=True),
    Column("enrolled_at", Float, nullable=True),
    Column("seen_at", Float, nullable=True),
    Column("state", Text, nullable=False, default="{}"),
    Index("device_group", "group_name"),
    Index("device_token", "token_hash"),
)

claim = Table(
    "claim",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("device", String(63), ForeignKey("device.id", ondelete="CASCADE"), nullable=False),
    Column("created", Float, nullable=False),
    Column("used", Float, nullable=True),
)

rollout = Table(
    "rollout",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("snap", String(40), nullable=False),
    Column("channel", String(128), nullable=False),
    Column("base", Integer, ForeignKey("rollout.id"), nullable=True),
    Column("bundle", Text, nullable=False),
    Column("salt", String(64), nullable=False),
    Column("waves", Text, nullable=False),
    Column("stage", Integer, nullable=False),
    Column("phase", String(16), nullable=False),
    Column("opened", Float, nullable=False),
    Column("created", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Index("rollout_track", "snap", "channel", "id"),
)

transition = Table(
    "transition",
    metadata,
    Column("rollout", Integer, ForeignKey("rollout.id"), primary_key=True),
    Column("wave", Integer, primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("reason", Text, nullable=False),
)

progress = Table(
    "progress",
    metadata,
    Column("rollout", Integer, ForeignKey("rollout.id"), primary_key=True),
    Column("device", String(63), ForeignKey("device.id", ondelete="CASCADE"), primary_key=True),
    Column("wave", Integer, nullable=False),
    Column("architecture", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("since", Float, nullable=False),
    Column("offered_at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Index("progress_state", "rollout", "state", "offered_at"),
)

counter = Table(
    "counter",
    metadata,
    Column("rollout", Integer, ForeignKey("rollout.id"), primary_key=True),
    Column("wave", Integer, primary_key=True),
    Column("architecture", String(16), primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("devices", Integer, nullable=False),
    Column("changed", Float, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
