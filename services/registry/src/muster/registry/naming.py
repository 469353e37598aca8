"""Names for people: unique, made from host names that need not be."""

import difflib
from collections.abc import Collection, Iterable


def unique(wanted: str, taken: Collection[str]) -> str:
    """Return *wanted*, or *wanted*-2, -3, … if it is taken."""
    if wanted not in taken:
        return wanted
    number = 2
    while f"{wanted}-{number}" in taken:
        number += 1
    return f"{wanted}-{number}"


def complaint(missing: Iterable[str], names: Collection[str]) -> str:
    """Say which nodes do not exist, and which were perhaps meant."""
    said = []
    for name in list(missing)[:20]:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
        said.append(f"{name} (did you mean {near[0]}?)" if near else name)
    return f"no such node: {', '.join(said)}"
