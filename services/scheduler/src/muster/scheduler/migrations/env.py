"""Alembic's way in."""

from muster.kit.migrating import run_here
from muster.scheduler.tables import metadata

run_here(metadata)
