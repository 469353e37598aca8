"""Alembic's way in."""

from muster.authority.tables import metadata
from muster.kit.migrating import run_here

run_here(metadata)
