"""Which version of the command line this is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """Return the version of the installed distribution."""
    try:
        return installed("muster-cli")
    except PackageNotFoundError:
        return "0+unknown"
