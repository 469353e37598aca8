"""What the provider says of a person, in our words: a name, and roles by groups."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from muster.kit.text import clean

_LONGEST: Final = 63
_FOREIGN: Final = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Seen:
    """A person, as the provider knows them."""

    subject: str
    name: str
    """What they would be called here; it proves nothing."""
    full_name: str
    roles: list[str]


def seen(
    claims: Mapping[str, Any], groups: Sequence[str], by_group: Mapping[str, Sequence[str]]
) -> Seen:
    """Return who comes, from the claims of a verified ID token."""
    roles = {role for group in groups for role in by_group.get(group, ())}
    return Seen(
        subject=claims["sub"],
        name=username(claims),
        full_name=clean(str(claims.get("name") or ""))[:200],
        roles=sorted(roles),
    )


def username(claims: Mapping[str, Any]) -> str:
    """Return a name for an account: what the provider prefers, the address, or its own name."""
    for claim in ("preferred_username", "email", "sub"):
        told = str(claims.get(claim) or "").lower().partition("@")[0]
        if name := _FOREIGN.sub("-", told).strip("-._")[:_LONGEST]:
            return name
    return "somebody"
