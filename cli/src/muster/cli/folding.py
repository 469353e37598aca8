"""Many node names in few characters: ``web[01-12,15],db1``, as cluster shells write them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

_LAST_NUMBER: Final = re.compile(r"(.*?)(\d{1,18})(\D*)", re.DOTALL)

_Family = tuple[str, str, int]
"""What stands before the number and behind it, and its width if it is padded with zeros."""


def fold(names: Iterable[str]) -> str:
    """Return *names*, ordered, with runs of numbers folded."""
    families: dict[_Family, set[int]] = defaultdict(set)
    plain: list[str] = []
    for name in set(names):
        match = _LAST_NUMBER.fullmatch(name)
        if match is None:
            plain.append(name)
            continue
        before, number, behind = match.groups()
        padded = len(number) if number.startswith("0") and len(number) > 1 else 0
        families[before, behind, padded].add(int(number))
    _join_padded(families)
    folded = [_family(family, sorted(numbers)) for family, numbers in families.items()]
    return ",".join(sorted([*plain, *folded]))


def _join_padded(families: dict[_Family, set[int]]) -> None:
    """Let ``node10`` join ``node09``: it has the same width without a leading zero."""
    for before, behind, padded in [family for family in families if family[2]]:
        free = families.get((before, behind, 0), set())
        same = {number for number in free if len(str(number)) == padded}
        families[before, behind, padded] |= same
        free -= same
        if not free:
            families.pop((before, behind, 0), None)


def _family(family: _Family, numbers: Sequence[int]) -> str:
    before, behind, padded = family
    spans = list(_spans(numbers))
    shown = [
        f"{low:0{padded}d}" if low == high else f"{low:0{padded}d}-{high:0{padded}d}"
        for low, high in spans
    ]
    if len(numbers) == 1:
        return f"{before}{shown[0]}{behind}"
    return f"{before}[{','.join(shown)}]{behind}"


def _spans(numbers: Sequence[int]) -> Iterable[tuple[int, int]]:
    low = high = numbers[0]
    for number in numbers[1:]:
        if number == high + 1:
            high = number
            continue
        yield low, high
        low = high = number
    yield low, high
