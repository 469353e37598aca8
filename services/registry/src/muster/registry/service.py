"""The registry: which nodes there are, whether they are there, and how they are."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection

from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import Conflict, Malformed
from muster.contracts.names import to_node_name
from muster.contracts.nodes import (
    FIND_NODE,
    FLEET_STATS,
    GROUP_NODE,
    LIST_NODES,
    NODES_CHANGED,
    NODES_SINCE,
    READ_METRICS,
    RENAME_NODE,
    REPORT_INVENTORY,
    RESOLVE,
    TAG_NODE,
    FindNode,
    FleetStats,
    GroupNode,
    History,
    Inventory,
    ListNodes,
    Node,
    NodeChanges,
    NodeJoined,
    NodePage,
    NodeRevoked,
    NodesSince,
    NodeState,
    ReadMetrics,
    RenameNode,
    Resolved,
    TagNode,
    Targets,
)
from muster.kit import outbox
from muster.kit.bus import Bus, Caller, Raw, answers
from muster.kit.sql import Database
from muster.registry import store
from muster.registry.beats import Beats
from muster.registry.naming import unique
from muster.registry.picture import Entry, Picture
from muster.registry.presence import Change, Presence
from muster.registry.settings import Settings

log = logging.getLogger(__name__)

_TELL: Final = 0.25
_PER_MESSAGE: Final = 100


class Registry:
    """Every node we know."""

    def __init__(self, bus: Bus, db: Database, settings: Settings) -> None:
        """Keep nodes in *db*, tell over *bus* what changes."""
        self._bus = bus
        self._db = db
        self.picture = Picture()
        self.presence = Presence(settings.silence)
        self.beats = Beats(db, self.picture, settings)

    async def load(self) -> None:
        """Read what the database knows; who is there is found out afterwards."""
        for entry in await self._db.read(store.load):
            self.picture.add(entry)

    @answers(LIST_NODES)
    async def page(self, ask: ListNodes, caller: Caller) -> NodePage:  # noqa: ARG002
        """Return a page of nodes, ordered by name."""
        return self.picture.page(ask)

    @answers(NODES_SINCE)
    async def since(self, ask: NodesSince, caller: Caller) -> NodeChanges:  # noqa: ARG002
        """Return the nodes that changed after a sequence number."""
        if ask.epoch != self.picture.epoch:
            return NodeChanges(epoch=self.picture.epoch, seq=self.picture.seq, reset=True)
        found = self.picture.since(ask.after)
        return self._changes(found[: ask.limit], more=len(found) > ask.limit)

    @answers(FIND_NODE)
    async def find(self, ask: FindNode, caller: Caller) -> Node:  # noqa: ARG002
        """Return one node."""
        return self.picture.find(ask.node).view()

    @answers(RESOLVE)
    async def resolve(self, ask: Targets, caller: Caller) -> Resolved:  # noqa: ARG002
        """Return the nodes that are meant."""
        return self.picture.resolve(ask)

    @answers(RENAME_NODE)
    async def rename(self, ask: RenameNode, caller: Caller) -> Node:  # noqa: ARG002
        """Give a node another name."""
        entry = self.picture.find(ask.node)
        if ask.name != entry.name:
            if ask.name in self.picture.by_name or ask.name in self.picture.by_id:
                raise Conflict(f"the name {ask.name} is taken")
            await self._db.write(lambda conn: store.rename(conn, entry.id, ask.name))
            self.picture.rename(entry, ask.name)
        return entry.view()

    @answers(TAG_NODE)
    async def tag(self, ask: TagNode, caller: Caller) -> Node:  # noqa: ARG002
        """Set and remove tags."""
        entry = self.picture.find(ask.node)
        kept = {key: value for key, value in entry.tags.items() if key not in ask.remove}
        entry.tags = dict(sorted({**kept, **ask.put}.items()))
        return await self._saved(entry)

    @answers(GROUP_NODE)
    async def group(self, ask: GroupNode, caller: Caller) -> Node:  # noqa: ARG002
        """Add to groups and take out of groups."""
        entry = self.picture.find(ask.node)
        entry.groups = sorted((set(entry.groups) | set(ask.add)) - set(ask.remove))
        return await self._saved(entry)

    @answers(READ_METRICS)
    async def metrics(self, ask: ReadMetrics, caller: Caller) -> History:  # noqa: ARG002
        """Return the history of one node, thinned out to the wanted number of points."""
        if ask.end <= ask.start:
            raise Malformed("the end must be after the start")
        entry = self.picture.find(ask.node)
        start, end = ask.start.timestamp(), ask.end.timestamp()
        points = min(ask.points, 600)  # what fits in one message
        items = await self._db.read(
            lambda conn: store.read_samples(conn, entry.id, start, end, points)
        )
        return History(node=entry.id, items=items)

    @answers(FLEET_STATS)
    async def stats(self, ask: Nothing, caller: Caller) -> FleetStats:  # noqa: ARG002
        """Return the fleet in numbers."""
        return self.picture.stats()

    @answers(REPORT_INVENTORY)
    async def inventory(self, ask: Inventory, caller: Caller) -> Nothing:
        """Take what a node tells of itself."""
        entry = self.picture.find(str(caller.node))
        entry.inventory = ask
        await self._saved(entry)
        return NOTHING

    async def joined(self, fact: NodeJoined, msg_id: str) -> None:
        """Take a new node in, under a name that nobody has."""

        def keep(conn: Connection) -> Entry | None:
            first = outbox.first_time(conn, "registry_joined", msg_id)
            if not first or store.known(conn, fact.id):
                return None
            name = unique(fact.name or to_node_name(fact.hostname), store.names(conn))
            entry = Entry(
                id=fact.id,
                name=name,
                public_key=fact.public_key,
                joined=fact.at,
                state=NodeState.NEW,
                state_since=fact.at,
                groups=sorted(fact.groups),
                tags=dict(fact.tags),
            )
            store.save(conn, [entry])
            return entry

        entry = await self._db.write(keep)
        if entry is not None:
            self.picture.add(entry)
            if self.presence.online(entry.public_key):
                self.turned([Change(entry.public_key, True, "")])  # noqa: FBT003

    async def revoked(self, fact: NodeRevoked, msg_id: str) -> None:
        """Take a node out of the fleet; its history stays."""
        entry = self.picture.by_id.get(fact.id)
        if entry is None:
            return
        entry.state, entry.state_since = NodeState.REVOKED, fact.at
        entry.reason = f"revoked by {fact.by}" + (f": {fact.reason}" if fact.reason else "")

        def keep(conn: Connection) -> None:
            if outbox.first_time(conn, "registry_revoked", msg_id):
                store.save(conn, [entry])

        await self._db.write(keep)
        self.presence.forget(entry.public_key)
        self.picture.changed(entry)

    async def heard(self, message: Raw) -> None:
        """Take a heartbeat."""
        entry = self.beats.take(message)
        if entry is not None:
            self.turned(self.presence.heartbeat(entry.public_key, entry.accepted))

    def turned(self, changes: list[Change]) -> None:
        """Write down who came and who went."""
        for change in changes:
            entry = self.picture.by_key.get(change.key)
            if entry is None or entry.state is NodeState.REVOKED:
                continue
            state = NodeState.ONLINE if change.online else NodeState.OFFLINE
            if entry.state is not state:
                entry.state, entry.state_since = state, datetime.now(UTC)
                log.info("%s is %s: %s", entry.name, state.value, change.reason or "connected")
            if change.online:
                entry.seen = datetime.now(UTC)
            entry.reason = change.reason
            self.picture.changed(entry)
            self.beats.dirty.add(entry.id)

    def settle(self) -> None:
        """After the first look at the broker: who was online and is not there is offline."""
        for entry in self.picture.by_id.values():
            if entry.state is NodeState.ONLINE and not self.presence.online(entry.public_key):
                entry.state, entry.state_since = NodeState.OFFLINE, datetime.now(UTC)
                self.picture.changed(entry)
                self.beats.dirty.add(entry.id)

    async def tell_forever(self) -> None:
        """Tell what has changed, at most four times a second; drop who is silent."""
        told = self.picture.seq
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TELL)
            self.turned(self.presence.silent(loop.time()))
            found = self.picture.since(told)
            for start in range(0, len(found), _PER_MESSAGE):
                part = found[start : start + _PER_MESSAGE]
                more = start + _PER_MESSAGE < len(found)
                try:
                    await self._bus.tell(NODES_CHANGED, self._changes(part, more=more))
                except Exception:  # lossy: whoever misses it asks what has changed since
                    log.exception("changes could not be told")
            told = found[-1].seq if found else told

    def _changes(self, entries: list[Entry], *, more: bool) -> NodeChanges:
        return NodeChanges.model_construct(
            epoch=self.picture.epoch,
            seq=entries[-1].seq if entries else self.picture.seq,
            items=[entry.view(brief=True) for entry in entries],
            more=more,
            reset=False,
        )

    async def _saved(self, entry: Entry) -> Node:
        await self._db.write(lambda conn: store.save(conn, [entry]))
        self.picture.changed(entry)
        return entry.view()
