from muster.kit.migrating import run_here
from tests.kit.shelf.tables import metadata

run_here(metadata)
