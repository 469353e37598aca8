"""Alembic's way in."""

from muster.kit.migrating import run_here
from muster.registry.tables import metadata

run_here(metadata)
