"""Runs the migrations on the connection that `database` hands over."""

from __future__ import annotations

from alembic import context

from snapedge_fleet import tables

context.configure(connection=context.config.attributes["connection"], target_metadata=tables.metadata)
context.run_migrations()
