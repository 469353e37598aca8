"""The picture of all nodes that every question is answered from; the database is behind it.

Every change gets the next number of one counter, so that a reader can ask what has changed
since. The counter lives as long as this process: `epoch` tells one life from another.
"""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from muster.contracts.errors import Malformed, NotFound
from muster.contracts.names import new_id
from muster.contracts.nodes import (
    FleetStats,
    Inventory,
    ListNodes,
    Metrics,
    Node,
    NodeChanges,
    NodePage,
    NodeState,
    Resolved,
    Target,
    Targets,
)
from muster.kit import wire
from muster.registry.naming import complaint

ROOM: Final = 800_000
"""Bytes of nodes or samples in one message, which may have 1 MiB."""


@dataclass(slots=True)
class Entry:
    """One node; `row` is what the database keeps."""

    id: str
    name: str
    public_key: str
    joined: datetime
    state: NodeState
    state_since: datetime
    groups: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    seen: datetime | None = None
    reason: str = ""
    skew: float = 0.0
    version: str = ""
    trouble: str = ""
    inventory: Inventory | None = None
    metrics: Metrics | None = None
    metrics_at: datetime | None = None
    seq: int = 0
    accepted: float = 0.0
    """Monotonic time of the last heartbeat that was taken."""

    def view(self, *, brief: bool = False) -> Node:
        """Return the node as a contract."""
        return Node.model_construct(
            id=self.id,
            name=self.name,
            state=self.state,
            groups=self.groups,
            tags=self.tags,
            joined=self.joined,
            state_since=self.state_since,
            seen=self.seen,
            reason=self.reason,
            skew=self.skew,
            version=self.version,
            trouble=self.trouble,
            inventory=_brief_inventory(self.inventory) if brief else self.inventory,
            metrics=_brief_metrics(self.metrics) if brief else self.metrics,
            metrics_at=self.metrics_at,
            seq=self.seq,
        )

    def words(self) -> Iterator[str]:
        """Yield what a search looks at."""
        yield self.name
        yield self.id
        yield from self.groups
        yield from (f"{key}={value}" for key, value in self.tags.items())
        if self.inventory:
            yield self.inventory.hostname
            yield self.inventory.os
            yield from (one.address for one in self.inventory.addresses)


def _brief_metrics(metrics: Metrics | None) -> Metrics | None:
    if metrics is None:
        return None
    less: dict[str, Any] = {"cores": [], "disk_io": [], "net": [], "temperatures": []}
    return metrics.model_copy(update=less)


def _brief_inventory(inventory: Inventory | None) -> Inventory | None:
    return inventory and inventory.model_copy(update={"addresses": []})


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
        """Return the nodes that *targets* name, each once, ordered by name."""
        if targets.all == bool(targets.names):
            raise Malformed("name the nodes, or say all: nothing chosen never means all")
        if targets.all:
            found = [entry for entry in self.by_id.values() if not _gone(entry)]
            if not found:
                raise NotFound("no node has joined yet: make a token with muster node token")
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

    def page(self, ask: ListNodes) -> NodePage:
        """Return a page of nodes, ordered by name; the cursor is the last name of the page.

        It ends early if more nodes would not fit in a message.
        """
        start = bisect.bisect_right(self._names, ask.cursor) if ask.cursor else 0
        query = ask.query.casefold()
        items: list[Node] = []
        room = ROOM
        for name in self._names[start:]:
            entry = self.by_name[name]
            if not _wanted(entry, ask.state, query):
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
