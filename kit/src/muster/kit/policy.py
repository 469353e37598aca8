"""Whether permissions that somebody has cover the one that is needed."""

from collections.abc import Iterable
from typing import Final

SELF: Final = "self"
"""What everyone may do with what is their own."""


def allows(permissions: Iterable[str], needed: str) -> bool:
    """Whether one of *permissions* (``*``, ``node.*``, ``run.create``) covers *needed*."""
    return needed == SELF or any(_covers(pattern, needed) for pattern in permissions)


def _covers(pattern: str, needed: str) -> bool:
    if pattern in {"*", needed}:
        return True
    return pattern.endswith(".*") and needed.startswith(pattern[:-1])
