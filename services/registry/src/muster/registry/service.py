"""The registry: which nodes there are, whether they are there, and how they are."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection

from muster.contracts.authority import ALERT, Alert
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import Conflict, Denied, Malformed, MusterError, NotFound
from muster.contracts.names import RESERVED, to_node_name
from muster.contracts.nodes import (
    FIND_NODE,
    FLEET_STATS,
    GROUP_NODE,
    HEARTBEAT,
    LIST_NODES,
    NODE_APPROVED,
    NODE_FACTS,
    NODE_JOINED,
    NODE_REVOKED,
    NODES_CHANGED,
    NODES_SINCE,
    REACH,
    READ_METRICS,
    RENAME_NODE,
    REPORT_INVENTORY,
    RESOLVE,
    TAG_NODE,
    AskReach,
    Facts,
    FindNode,
    FleetStats,
    GroupNode,
    History,
    Inventory,
    ListNodes,
    Node,
    NodeApproved,
    NodeChanges,
    NodeFacts,
    NodeJoined,
    NodePage,
    NodeRevoked,
    NodesSince,
    NodeState,
    Reach,
    ReadMetrics,
    RenameNode,
    Resolved,
    TagNode,
    Targets,
    WhichNodes,
)
from muster.kit import outbox
from muster.kit.bus import Bus, Caller, Raw, answers
from muster.kit.sql import Database
from muster.kit.tasks import running
from muster.kit.text import clean
from muster.registry import store
from muster.registry.beats import Beats
from muster.registry.entry import Entry
from muster.registry.facts import grounds
from muster.registry.naming import unique
from muster.registry.picture import Picture
from muster.registry.presence import Change, Presence
from muster.registry.settings import Settings
from muster.registry.view import View
from muster.registry.watching import Watch, account_of

log = logging.getLogger(__name__)

_TELL: Final = 0.25
_PER_MESSAGE: Final = 100
_POINTS: Final = 2000


_CLONED: Final = "its credentials are used twice at the same time: revoke it, or find out why"


class Registry:
    """Every node we know."""

    def __init__(self, bus: Bus, db: Database, settings: Settings) -> None:
        """Keep nodes in *db*, tell over *bus* what changes."""
        self._bus = bus
        self._db = db
        self._settings = settings
        self.picture = Picture()
        self.presence = Presence(settings.silence)
        self.beats = Beats(db, self.picture, settings)
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        """Read what the database knows; who is there is found out afterwards."""
        for entry in await self._db.read(store.load):
            self.picture.add(entry)

    @asynccontextmanager
    async def living(self, system: Bus) -> AsyncGenerator[None]:
        """Hear everything that is about nodes, beside the block; *system* sees connections."""
        bus, settings = self._bus, self._settings
        account = account_of(settings.creds_of("registry"))
        watch = Watch(system, account, self.presence, self.turned, settings.settling)
        async with (
            watch.hearing(),
            bus.hearing(HEARTBEAT.everything, self.heard),
            bus.consuming(NODE_JOINED, self.joined, durable="registry_joined"),
            bus.consuming(NODE_APPROVED, self.approved, durable="registry_approved"),
            bus.consuming(NODE_REVOKED, self.revoked, durable="registry_revoked"),
            running(self.beats.keep_forever(), "keeping metrics"),
        ):
            await watch.reconcile()
            self.settle()
            async with (
                running(watch.reconcile_forever(), "reconciling"),
                running(self.tell_forever(), "telling"),
            ):
                yield
            await self.beats.flush()

    @answers(LIST_NODES)
    async def page(self, ask: ListNodes, caller: Caller) -> NodePage:
        """Return a page of nodes, ordered by name."""
        return self._seen_by(caller).page(ask)

    @answers(NODES_SINCE)
    async def since(self, ask: NodesSince, caller: Caller) -> NodeChanges:
        """Return the nodes that changed after a sequence number."""
        if ask.epoch != self.picture.epoch:
            return NodeChanges(epoch=self.picture.epoch, seq=self.picture.seq, reset=True)
        nothing = NodeChanges(epoch=self.picture.epoch, seq=self.picture.seq)
        return next(self._seen_by(caller).since(ask.after, ask.limit), nothing)

    @answers(FIND_NODE)
    async def find(self, ask: FindNode, caller: Caller) -> Node:
        """Return one node."""
        return self._seen_by(caller).find(ask.node).view()

    @answers(RESOLVE)
    async def resolve(self, ask: Targets, caller: Caller) -> Resolved:
        """Return the nodes that are meant, of those that the caller may see."""
        return self._seen_by(caller).resolve(ask)

    @answers(NODE_FACTS)
    async def facts(self, ask: WhichNodes, caller: Caller) -> NodeFacts:  # noqa: ARG002
        """Tell what grants may go by of some nodes."""
        known = [self.picture.by_id[node] for node in ask.nodes if node in self.picture.by_id]
        return NodeFacts(
            items=[
                Facts(id=one.id, name=one.name, groups=one.groups, tags=one.tags) for one in known
            ]
        )

    @answers(REACH)
    async def reach(self, ask: AskReach, caller: Caller) -> Reach:
        """Tell on which nodes the caller may do something."""
        reach = caller.reach(ask.action)
        if reach.everywhere:
            return Reach(everywhere=True)
        return Reach(nodes=View(self.picture, reach).ids)

    def _seen_by(self, caller: Caller) -> View:
        return View(self.picture, caller.reach("node.read"))

    def _to_change(self, node: str, caller: Caller) -> Entry:
        """Return a node that the caller may change."""
        entry = self._seen_by(caller).find(node)
        self._allow(entry, caller)
        return entry

    @staticmethod
    def _allow(entry: Entry, caller: Caller) -> None:
        if not caller.reach("node.write").covers(grounds(entry)):
            raise Denied(f"{caller.name} may not node.write on {entry.name}")

    @answers(RENAME_NODE)
    async def rename(self, ask: RenameNode, caller: Caller) -> Node:
        """Give a node another name."""
        entry = self._to_change(ask.node, caller)
        if ask.name in RESERVED:
            raise Conflict(f"{ask.name} is a word of selectors: take another name")
        if ask.name != entry.name:
            async with self._changing:
                if ask.name in self.picture.by_name or ask.name in self.picture.by_id:
                    raise Conflict(f"the name {ask.name} is taken")
                self._allow(replace(entry, name=ask.name), caller)
                await self._db.write(lambda conn: store.change(conn, entry.id, name=ask.name))
                self.picture.rename(entry, ask.name)
        return entry.view()

    @answers(TAG_NODE)
    async def tag(self, ask: TagNode, caller: Caller) -> Node:
        """Set and remove tags."""
        entry = self._to_change(ask.node, caller)
        async with self._changing:
            kept = {key: value for key, value in entry.tags.items() if key not in ask.remove}
            tags = dict(sorted({**kept, **ask.put}.items()))
            self._allow(replace(entry, tags=tags), caller)
            await self._db.write(lambda conn: store.change(conn, entry.id, tags=tags))
            entry.tags = tags
            self.picture.moved(entry)
        return entry.view()

    @answers(GROUP_NODE)
    async def group(self, ask: GroupNode, caller: Caller) -> Node:
        """Add to groups and take out of groups."""
        entry = self._to_change(ask.node, caller)
        async with self._changing:
            groups = sorted((set(entry.groups) | set(ask.add)) - set(ask.remove))
            self._allow(replace(entry, groups=groups), caller)
            await self._db.write(lambda conn: store.change(conn, entry.id, groups=groups))
            entry.groups = groups
            self.picture.moved(entry)
        return entry.view()

    @answers(READ_METRICS)
    async def metrics(self, ask: ReadMetrics, caller: Caller) -> History:
        """Return the history of one node, thinned out to the wanted number of points."""
        if ask.end <= ask.start:
            raise Malformed("the end must be after the start")
        entry = self._seen_by(caller).find(ask.node)
        start, end = ask.start.timestamp(), ask.end.timestamp()
        points = min(ask.points, _POINTS)
        items = await self._db.read(
            lambda conn: store.read_samples(conn, entry.id, start, end, points)
        )
        return History(node=entry.id, items=items)

    @answers(FLEET_STATS)
    async def stats(self, ask: Nothing, caller: Caller) -> FleetStats:  # noqa: ARG002
        """Return the fleet in numbers, as far as the caller may see it."""
        return self._seen_by(caller).stats()

    @answers(REPORT_INVENTORY)
    async def inventory(self, ask: Inventory, caller: Caller) -> Nothing:
        """Take what a node tells of itself."""
        entry = self.picture.by_id.get(str(caller.node))
        if entry is None:
            raise NotFound("this node is not known yet")
        if ask != entry.inventory:
            text = store.pack_inventory(ask)
            await self._db.write(lambda conn: store.change(conn, entry.id, inventory=text))
            entry.inventory = ask
            self.picture.changed(entry)
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
                state=NodeState.PENDING if fact.pending else NodeState.NEW,
                state_since=fact.at,
                groups=sorted(fact.groups),
                tags=dict(fact.tags),
            )
            store.add(conn, entry)
            return entry

        entry = await self._db.write(keep)
        if entry is not None:
            self.picture.add(entry)
            if self.presence.online(entry.public_key):
                self.turned([Change(entry.public_key, True, "")])  # noqa: FBT003

    async def approved(self, fact: NodeApproved, msg_id: str) -> None:
        """Take a node in that has waited for it."""
        entry = self.picture.by_id.get(fact.id)
        if entry is None:  # the two facts come by different consumers: this one comes again
            raise NotFound(f"{fact.id} has not joined yet")
        if entry.state is NodeState.PENDING:
            entry.state, entry.state_since = NodeState.NEW, fact.at

        def keep(conn: Connection) -> None:
            if outbox.first_time(conn, "registry_approved", msg_id):
                store.keep(conn, [entry])

        await self._db.write(keep)
        self.picture.changed(entry)

    async def revoked(self, fact: NodeRevoked, msg_id: str) -> None:
        """Take a node out of the fleet; its history stays."""
        entry = self.picture.by_id.get(fact.id)
        if entry is None:  # the two facts come by different consumers: this one comes again
            raise NotFound(f"{fact.id} has not joined yet")
        entry.state, entry.state_since = NodeState.REVOKED, fact.at
        reason = f"revoked by {fact.by}" + (f": {fact.reason}" if fact.reason else "")
        entry.reason = clean(reason)[:1000]

        def keep(conn: Connection) -> None:
            if outbox.first_time(conn, "registry_revoked", msg_id):
                store.keep(conn, [entry])

        await self._db.write(keep)
        self.presence.forget(entry.public_key)
        self.picture.changed(entry)

    async def heard(self, message: Raw) -> None:
        """Take a heartbeat."""
        if not self._bus.flooding.admits(message.subject.rsplit(".", 1)[-1]):
            return
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
                self.beats.soon.set()
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

    async def _look_for_clones(self) -> None:
        """Raise an alert where one node's credentials are used twice at the same time."""
        now, patience = time.monotonic(), self._settings.clone_after
        for key, cloned in self.presence.doubled(now, patience):
            entry = self.picture.by_key.get(key)
            if entry is None:
                continue
            entry.alert = _CLONED if cloned else ""
            self.picture.changed(entry)
            if cloned:
                log.warning("%s: %s", entry.name, _CLONED)
                alert = Alert(node=entry.id, what="clone", detail=_CLONED)
                with suppress(MusterError):  # it is in the log and in the picture
                    await self._bus.ask(ALERT, alert)

    async def tell_forever(self) -> None:
        """Tell what has changed, at most four times a second; drop who is silent."""
        told = self.picture.seq
        while True:
            await asyncio.sleep(_TELL)
            self.turned(self.presence.silent(time.monotonic()))
            await self._look_for_clones()
            parts = list(View(self.picture).since(told, _PER_MESSAGE))  # before anything changes
            for part in parts:
                told = part.seq
                try:
                    await self._bus.tell(NODES_CHANGED, part)
                except Exception:  # lossy: whoever misses it asks what has changed since
                    log.exception("changes could not be told")
