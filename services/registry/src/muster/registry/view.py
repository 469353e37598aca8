"""The picture as one caller sees it: nodes that are not theirs to see do not exist for them."""

import bisect
import time
from collections.abc import Iterator
from typing import Final

from muster.contracts.errors import Malformed, NotFound
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
from muster.kit.policy import Reach
from muster.kit.selectors import parse
from muster.registry.entry import Entry
from muster.registry.facts import facts_of, grounds
from muster.registry.naming import complaint
from muster.registry.picture import Picture

ROOM: Final = 800_000
"""Bytes of nodes or samples in one message, which may have 1 MiB."""

ALL: Final = Reach(everywhere=True)


class View:
    """The nodes that somebody may see."""

    def __init__(self, picture: Picture, reach: Reach = ALL) -> None:
        """Look at *picture* as far as *reach* goes; good for one question."""
        self._picture = picture
        self._by_id, self._by_name, self._names = picture.by_id, picture.by_name, picture.names
        if not reach.everywhere:
            seen = [one for one in picture.by_id.values() if reach.covers(grounds(one))]
            self._by_id = {one.id: one for one in seen}
            self._by_name = {one.name: one for one in seen}
            self._names = sorted(self._by_name)

    @property
    def ids(self) -> list[str]:
        """The ids of all these nodes."""
        return list(self._by_id)

    def find(self, text: str) -> Entry:
        """Return a node by its id or its name."""
        entry = self._by_id.get(text) or self._by_name.get(text)
        if entry is None:
            raise NotFound(complaint([text], self._names))
        return entry

    def resolve(self, targets: Targets) -> Resolved:
        """Return the nodes that *targets* mean, each once, ordered by name."""
        if bool(targets.all) + bool(targets.names) + bool(targets.selector) != 1:
            raise Malformed("name nodes, or say all: nothing chosen never means all")
        if targets.all:
            found = [entry for entry in self._by_id.values() if not _gone(entry)]
            if not found:
                raise NotFound("no node has joined yet: make a token with muster node token")
        elif targets.selector:
            found = self.select(targets.selector)
            if not found:
                raise NotFound(f"no node fits: {targets.selector}")
        else:
            known = {
                name: self._by_id.get(name) or self._by_name.get(name) for name in targets.names
            }
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
            entry = self._by_id.get(name) or self._by_name.get(name.lower())
            if entry is None or _gone(entry):
                missing.append(name)
        if missing:
            raise NotFound(complaint(missing, self._names))
        return [
            entry
            for entry in self._by_id.values()
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
            entry = self._by_name[name]
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
        gone = [
            entry.id
            for entry in self._picture.by_id.values()
            if entry.moved > after and entry.id not in self._by_id
        ]
        found = [entry for entry in self._by_id.values() if entry.seq > after]
        found.sort(key=lambda entry: entry.seq)
        items: list[Node] = []
        room = ROOM
        for entry in found:
            view = entry.view(brief=True)
            room -= size(view)
            if items and (len(items) == limit or room < 0):
                yield self._changes(items)
                items, room = [], ROOM - size(view)
            items.append(view)
        if items or gone:
            yield self._changes(items, gone)

    def _changes(self, items: list[Node], gone: list[str] | None = None) -> NodeChanges:
        """Return one part; the last one tells who is *gone*, and is up to date."""
        last = gone is not None
        return NodeChanges.model_construct(
            epoch=self._picture.epoch,
            seq=self._picture.seq if last else items[-1].seq,
            items=items,
            gone=gone or [],
            more=not last,
            reset=False,
        )

    def stats(self) -> FleetStats:
        """Return the fleet in numbers; revoked nodes are not of the fleet any more."""
        count = dict.fromkeys(NodeState, 0)
        for entry in self._by_id.values():
            count[entry.state] += 1
        return FleetStats(
            nodes=len(self._by_id) - count[NodeState.REVOKED] - count[NodeState.PENDING],
            online=count[NodeState.ONLINE],
            offline=count[NodeState.OFFLINE],
            new=count[NodeState.NEW],
            revoked=count[NodeState.REVOKED],
        )


def size(node: Node) -> int:
    """Return how many bytes a node takes in a message."""
    return len(wire.pack(node)) + 1


def _gone(entry: Entry) -> bool:
    """Whether nothing can be run there, whatever comes."""
    return entry.state in {NodeState.REVOKED, NodeState.PENDING}


def _wanted(entry: Entry, state: NodeState | None, query: str) -> bool:
    hidden = entry.state is not state if state else entry.state is NodeState.REVOKED
    if hidden:
        return False
    return not query or any(query in word.casefold() for word in entry.words())
