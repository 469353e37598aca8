"""Nodes: presence, inventory, metrics, groups and tags."""

from typing import Final

__version__: Final = "0.1.0"
