"""Selectors: which nodes are meant, in one grammar for people, programs, schedules and grants.

::

    web1,web2                  names; `*` and `?` stand for anything
    @db or @cache-*            groups
    tag=prod                   has the tag `prod`
    role=db                    the value of a tag
    role in (db, cache)        one of several
    os.family=debian           a fact
    disk.free<10%, memory>4G   numbers, with units
    web* and not (role=test)   `and`, `or` (also `,`), `not`, parentheses
    all                        every node

Nothing chosen is an error and never means all.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from operator import ge, gt, le, lt
from typing import Final

from muster.contracts.errors import Malformed
from muster.contracts.names import RESERVED

LONGEST: Final = 4000
_DEEPEST: Final = 40
_SHARE: Final = "%"

FACTS: Final[dict[str, str]] = {
    "state": "", "hostname": "", "os": "", "os.family": "", "kernel": "", "arch": "",
    "address": "", "timezone": "", "user": "", "agent": "", "capability": "",
    "cpu": "%", "cores": "n", "load": "n", "processes": "n",
    "memory": "b", "memory.used": "b%", "memory.free": "b%",
    "swap.used": "b%", "disk.used": "b%", "disk.free": "b%",
    "uptime": "s", "seen": "s",
}  # fmt: skip
"""What a selector may ask of nodes besides names, groups and tags, and in which unit: text,
``n`` a number, ``b`` bytes, ``s`` seconds, ``%`` also as a share (then the fact is ``<name>%``)."""

_BYTES: Final = {
    **{f"{letter}{end}": 1024.0**power
       for power, letter in enumerate("kmgt", 1) for end in ("", "b", "i", "ib")},
    "": 1.0, "b": 1.0,
}  # fmt: skip
_SECONDS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_UNITS: Final = {"n": {"": 1.0}, "b": _BYTES, "s": _SECONDS, "%": {"": 1.0, "%": 1.0}}
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)([a-z%]*)", re.IGNORECASE)
_TOKEN: Final = re.compile(
    r'(?P<op>!=|<=|>=|[=<>(),])|"(?P<quoted>[^"]*)"|(?P<word>[^\s(),=<>!"]+)'
)
_ORDER: Final[dict[str, Callable[[float, float], bool]]] = {"<": lt, "<=": le, ">": gt, ">=": ge}

Fact = str | float | Sequence[str] | Sequence[float]
"""A value, or several, of which one has to fit."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a selector may ask of one node."""

    id: str
    name: str
    groups: Collection[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Fact] = field(default_factory=dict)
    """By the names in `FACTS`: what the node says of itself, so never a ground for a grant."""


Test = Callable[[Facts], bool]


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector that has been understood."""

    text: str
    matches: Test
    names: frozenset[str]
    """The names that are written out in full: one that no node has is a mistake."""
    facts: frozenset[str]
    """What it asks that nodes tell of themselves."""


@lru_cache(maxsize=1024)
def parse(text: str) -> Selector:
    """Understand *text*, or raise `Malformed` that says where it went wrong and what is meant."""
    if len(text) > LONGEST:
        raise Malformed(f"a selector has at most {LONGEST} characters")
    parser = _Parser(text)
    matches = parser.whole()
    return Selector(text, matches, frozenset(parser.names), frozenset(parser.facts))


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    at: int
    kind: str
    """``op``, ``word`` or ``quoted``; at the end of the text, empty."""


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise Malformed(f"selector: {text[at]!r} at character {at + 1} belongs nowhere")
        kind = str(match.lastgroup)
        found.append(_Token(match[kind], at, kind))
        at = match.end()
    return [*found, _Token("", at, "")]


class _Parser:
    """Recursive descent: either -> both -> one -> atom."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0
        self.names: set[str] = set()
        self.facts: set[str] = set()

    def whole(self) -> Test:
        if not self._now.kind:
            raise Malformed("the selector is empty: name nodes, or say `all`")
        test = self._either()
        if self._now.kind:
            raise self._wrong("`and`, `or` or the end")
        return test

    @property
    def _now(self) -> _Token:
        return self._tokens[self._next]

    def _wrong(self, expected: str) -> Malformed:
        token = self._now
        there = f"{token.text!r} at character {token.at + 1}" if token.kind else "the end"
        return Malformed(f"selector: expected {expected}, found {there}")

    def _take(self) -> str:
        token = self._now
        self._next += 1
        return token.text

    def _took(self, *texts: str) -> bool:
        """Step over one of *texts*, operators or reserved words, if it is next."""
        fits = self._now.kind in {"op", "word"} and self._now.text.lower() in texts
        self._next += fits
        return fits

    def _either(self) -> Test:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Malformed(f"a selector has at most {_DEEPEST} levels of parentheses")
        tests = [self._both()]
        while self._took("or", ","):
            tests.append(self._both())
        self._depth -= 1
        return tests[0] if len(tests) == 1 else lambda facts: any(one(facts) for one in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._took("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda facts: all(one(facts) for one in tests)

    def _one(self) -> Test:
        negated = False
        while self._took("not"):
            negated = not negated
        if self._took("("):
            test = self._either()
            if not self._took(")"):
                raise self._wrong("`)`")
        else:
            test = self._atom()
        return (lambda facts: not test(facts)) if negated else test

    def _atom(self) -> Test:
        token = self._now
        if token.kind not in {"word", "quoted"} or self._is_reserved():
            raise self._wrong("a name, @group, tag or fact")
        word = self._take()
        if token.kind == "word":
            if self._now.kind == "op" and self._now.text in {"=", "!=", *_ORDER}:
                return self._compared(word, self._take())
            if self._took("in"):
                return self._listed(word)
            if word.startswith("@"):
                return _grouped(word[1:])
            if word.lower() in {"all", "*"}:
                return lambda _facts: True
        return self._named(word)

    def _is_reserved(self) -> bool:
        return self._now.kind == "word" and self._now.text.lower() in RESERVED - {"all"}

    def _named(self, word: str) -> Test:
        if not _is_pattern(word):
            self.names.add(word)
        return lambda facts: facts.id == word or fnmatchcase(facts.name, word.lower())

    def _value(self) -> str:
        if self._now.kind not in {"word", "quoted"} or self._is_reserved():
            raise self._wrong("a value")
        return self._take()

    def _compared(self, key: str, operator: str) -> Test:
        value = self._value()
        if operator in _ORDER:
            return self._ordered(key, _ORDER[operator], value)
        test = self._equal(key, value)
        return test if operator == "=" else lambda facts: not test(facts)

    def _listed(self, key: str) -> Test:
        if not self._took("("):
            raise self._wrong("`(` and a list")
        tests = [self._equal(key, self._value())]
        while self._took(","):
            tests.append(self._equal(key, self._value()))
        if not self._took(")"):
            raise self._wrong("`,` or `)`")
        return lambda facts: any(one(facts) for one in tests)

    def _equal(self, key: str, value: str) -> Test:
        if key == "group":
            return _grouped(value)
        if key == "name":
            return self._named(value)
        if key == "tag":
            return lambda facts: any(fnmatchcase(tag, value) for tag in facts.tags)
        if key not in FACTS:
            return lambda facts: key in facts.tags and fnmatchcase(facts.tags[key], value)
        self.facts.add(key)
        if FACTS[key]:
            name, number = self._quantity(key, value)
            return lambda facts: any(one == number for one in _numbers(facts, name))
        wanted = value.lower()
        return lambda facts: any(fnmatchcase(one.lower(), wanted) for one in _texts(facts, key))

    def _ordered(self, key: str, fits: Callable[[float, float], bool], value: str) -> Test:
        if not FACTS.get(key):
            numbers = ", ".join(sorted(name for name, unit in FACTS.items() if unit))
            raise Malformed(f"selector: {key} has no order; these have: {numbers}")
        self.facts.add(key)
        name, number = self._quantity(key, value)
        return lambda facts: any(fits(one, number) for one in _numbers(facts, name))

    def _quantity(self, key: str, value: str) -> tuple[str, float]:
        """Return the name of the fact in the unit that *value* has, and the number."""
        match, unit = _QUANTITY.fullmatch(value), FACTS[key]
        if match:
            number, given = float(match[1]), match[2].lower()
            if given == _SHARE and unit == "b%":
                return f"{key}%", number
            if given in _UNITS[unit[0]]:
                return key, number * _UNITS[unit[0]][given]
        examples = {"n": "4", "b": "10G", "b%": "10G or 10%", "s": "2d", "%": "90%"}
        raise Malformed(f"selector: {key} is compared with a number like {examples[unit]}")


def _is_pattern(text: str) -> bool:
    return any(character in text for character in "*?[")


def _grouped(pattern: str) -> Test:
    return lambda facts: any(fnmatchcase(group, pattern) for group in facts.groups)


def _texts(facts: Facts, name: str) -> Sequence[str]:
    found = facts.more.get(name, ())
    values = [found] if isinstance(found, (str, float, int)) else found
    return [one for one in values if isinstance(one, str)]


def _numbers(facts: Facts, name: str) -> Sequence[float]:
    found = facts.more.get(name, ())
    values = [found] if isinstance(found, (str, float, int)) else found
    return [one for one in values if isinstance(one, (float, int))]
