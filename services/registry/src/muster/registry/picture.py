"""The picture of all nodes that every question is answered from; the database is behind it.

Every change gets the next number of one counter, so that a reader can ask what has changed
since. The counter lives as long as this process: `epoch` tells one life from another.
"""

import bisect
import time
from collections.abc import Iterator
from typing import Final

from muster.contracts.errors import Malformed, NotFound
from muster.contracts.names import new_id
from muster.contracts.nodes import (
    FleetStats,
    ListNodes,
    Node,
    NodeChanges,
    NodePage,
    NodeState,
    Resolved,
    Target,
    Targets,
)
from muster.kit import wire
from muster.kit.selectors import parse
from muster.registry.entry import Entry
from muster.registry.facts import facts_of
from muster.registry.naming import complaint

ROOM: Final = 800_000
"""Bytes of nodes or samples in one message, which may have 1 MiB."""


class Picture:
    """All nodes."""

    def __init__(self) -> None:
        """Begin a new epoch, empty."""
        self.epoch = new_id()
        self.seq = 0
        self.by_id: dict[str, Entry] = {}
        self.by_key: dict[str, Entry] = {}
        self.by_name: dict[str, Entry] = {}
        self._names: list[str] = []

    def add(self, entry: Entry) -> None:
        """Take a node in."""
        self.by_id[entry.id] = self.by_key[entry.public_key] = entry
        self.by_name[entry.name] = entry
        bisect.insort(self._names, entry.name)
        self.changed(entry)

    def rename(self, entry: Entry, name: str) -> None:
        """Give a node another name."""
        del self.by_name[entry.name]
        self._names.remove(entry.name)
        entry.name = name
        self.by_name[name] = entry
        bisect.insort(self._names, name)
        self.changed(entry)

    def changed(self, entry: Entry) -> None:
        """Give a node the next number."""
        self.seq += 1
        entry.seq = self.seq

    def find(self, text: str) -> Entry:
        """Return a node by its id or its name."""
        entry = self.by_id.get(text) or self.by_name.get(text)
        if entry is None:
            raise NotFound(complaint([text], self._names))
        return entry

    def resolve(self, targets: Targets) -> Resolved:
        """Return the nodes that *targets* mean, each once, ordered by name."""
        if bool(targets.all) + bool(targets.names) + bool(targets.selector) != 1:
            raise Malformed("name nodes, or say all: nothing chosen never means all")
        if targets.all:
            found = [entry for entry in self.by_id.values() if not _gone(entry)]
            if not found:
                raise NotFound("no node has joined yet: make a token with muster node token")
        elif targets.selector:
            found = self.select(targets.selector)
            if not found:
                raise NotFound(f"no node fits: {targets.selector}")
        else:
            known = {name: self.by_id.get(name) or self.by_name.get(name) for name in targets.names}
            missing = [name for name, entry in known.items() if entry is None or _gone(entry)]
            if missing:
                raise NotFound(complaint(missing, self._names))
            found = list({entry.id: entry for entry in known.values() if entry}.values())
        found.sort(key=lambda entry: entry.name)
        return Resolved.model_construct(
            items=[
                Target.model_construct(id=entry.id, name=entry.name, state=entry.state)
                for entry in found
            ]
        )

    def select(self, text: str) -> list[Entry]:
        """Return the nodes that fit a selector; a name in it that no node has is an error."""
        selector, now = parse(text), time.time()
        missing = []
        for name in sorted(selector.names):
            entry = self.by_id.get(name) or self.by_name.get(name.lower())
            if entry is None or _gone(entry):
                missing.append(name)
        if missing:
            raise NotFound(complaint(missing, self._names))
        return [
            entry
            for entry in self.by_id.values()
            if not _gone(entry) and selector.matches(facts_of(entry, selector.facts, now))
        ]

    def page(self, ask: ListNodes) -> NodePage:
        """Return a page of nodes, ordered by name; the cursor is the last name of the page.

        It ends early if more nodes would not fit in a message.
        """
        start = bisect.bisect_right(self._names, ask.cursor) if ask.cursor else 0
        query = ask.query.casefold()
        chosen = {entry.name for entry in self.select(ask.selector)} if ask.selector else None
        items: list[Node] = []
        room = ROOM
        for name in self._names[start:]:
            entry = self.by_name[name]
            if (chosen is not None and name not in chosen) or not _wanted(entry, ask.state, query):
                continue
            view = entry.view(brief=ask.brief)
            room -= size(view)
            if len(items) == ask.limit or (items and room < 0):
                return NodePage.model_construct(items=items, next=items[-1].name)
            items.append(view)
        return NodePage.model_construct(items=items, next="")

    def since(self, after: int, limit: int) -> Iterator[NodeChanges]:
        """Yield what changed after a number, oldest change first, in parts that fit in messages.

        All parts are of one moment: nothing may change while they are being made.
        """
        found = [entry for entry in self.by_id.values() if entry.seq > after]
        found.sort(key=lambda entry: entry.seq)
        items: list[Node] = []
        room = ROOM
        for entry in found:
            view = entry.view(brief=True)
            room -= size(view)
            if items and (len(items) == limit or room < 0):
                yield self._changes(items, more=True)
                items, room = [], ROOM - size(view)
            items.append(view)
        if items:
            yield self._changes(items, more=False)

    def _changes(self, items: list[Node], *, more: bool) -> NodeChanges:
        return NodeChanges.model_construct(
            epoch=self.epoch, seq=items[-1].seq, items=items, more=more, reset=False
        )

    def stats(self) -> FleetStats:
        """Return the fleet in numbers; revoked nodes are not of the fleet any more."""
        count = dict.fromkeys(NodeState, 0)
        for entry in self.by_id.values():
            count[entry.state] += 1
        return FleetStats(
            nodes=len(self.by_id) - count[NodeState.REVOKED],
            online=count[NodeState.ONLINE],
            offline=count[NodeState.OFFLINE],
            new=count[NodeState.NEW],
            revoked=count[NodeState.REVOKED],
        )


def size(node: Node) -> int:
    """Return how many bytes a node takes in a message."""
    return len(wire.pack(node)) + 1


def _gone(entry: Entry) -> bool:
    return entry.state is NodeState.REVOKED


def _wanted(entry: Entry, state: NodeState | None, query: str) -> bool:
    if entry.state is not state if state else _gone(entry):
        return False
    return not query or any(query in word.casefold() for word in entry.words())
