"""Names for people: unique, made from host names that need not be."""

import difflib
from collections.abc import Collection, Iterable
from typing import Final

from muster.contracts.names import RESERVED

_LONGEST: Final = 63
_NAMED: Final = 20
_HINTED: Final = 3


def unique(wanted: str, taken: Collection[str]) -> str:
    """Return *wanted*, or *wanted*-2, -3, … if it is taken; never longer than a name may be."""
    name, number = wanted, 1
    while name in taken or name in RESERVED:
        number += 1
        end = f"-{number}"
        name = f"{wanted[: _LONGEST - len(end)]}{end}"
    return name


def complaint(missing: Iterable[str], names: Collection[str]) -> str:
    """Say which nodes do not exist, and which were perhaps meant."""
    said = []
    for number, name in enumerate(missing):
        if number == _NAMED:
            said.append("…")
            break
        hint = number < _HINTED  # among thousands of names each takes its time
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.6) if hint else []
        said.append(f"{name} (did you mean {near[0]}?)" if near else name)
    return f"no such node: {', '.join(said)}"
