"""What the user has typed to get here, so that hints can be typed as well."""

import sys
from typing import Final

_PASSED_ON: Final = "muster agent"


def program() -> str:
    """Return ``muster agent`` if the command line has passed us its words, or ``muster-agent``."""
    return _PASSED_ON if sys.argv[0] == _PASSED_ON else "muster-agent"
