"""People, join tokens, node credentials, signatures and the audit."""

from typing import Final

__version__: Final = "0.1.0"
