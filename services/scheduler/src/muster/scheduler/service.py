"""The scheduler: one path for every run.

Resolve the targets, let the authority sign for each, keep run and targets in one transaction,
send, fold what the agents report, and tell. Accepted means: never lost, executed at most once,
exactly one final state.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from muster.contracts.approvals import ApprovalDecided
from muster.contracts.authority import CHUNK, SIGN, Sign
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import Conflict, NotFound, TooLarge, TooMany
from muster.contracts.names import new_id
from muster.contracts.nodes import RESOLVE, NodeRevoked
from muster.contracts.nodes import Target as Meant
from muster.contracts.runs import (
    ARGS_LIMIT,
    CANCEL_RUN,
    CREATE_RUN,
    GET_RUN,
    LIST_RUNS,
    READ_OUTPUT,
    REPORT,
    RUN_EVENTS,
    SYNC,
    Cancel,
    CancelRun,
    Command,
    CreateRun,
    GetRun,
    ListRuns,
    Output,
    ReadOutput,
    Report,
    RunEvent,
    RunEvents,
    RunEventsAfter,
    RunPage,
    RunView,
    State,
    Sync,
    SyncAnswer,
)
from muster.kit import outbox, wire
from muster.kit.bus import Bus, Caller, answers
from muster.kit.flooding import Pace
from muster.kit.sql import Database
from muster.scheduler import history, outputs, store, syncing, views
from muster.scheduler.approving import Approving
from muster.scheduler.dispatch import Dispatcher
from muster.scheduler.files import Files
from muster.scheduler.keeper import Keeper
from muster.scheduler.rechecking import Rechecking, refuse
from muster.scheduler.settings import Settings
from muster.scheduler.tables import targets

_SYNCS: Final = 20
"""In a second: a node that comes back asks again and again until it has everything."""


class Scheduler(Files):
    """Every run, from the request to the last result."""

    def __init__(self, bus: Bus, db: Database, settings: Settings) -> None:
        """Keep runs in *db*, speak over *bus*."""
        super().__init__(bus, db)
        self._syncs = Pace(_SYNCS)
        self.dispatcher = Dispatcher(bus, settings.resend_after)
        self.keeper = Keeper(db, bus, self.dispatcher, settings)
        self.rechecking = Rechecking(bus, db, self.keeper)
        self.approving = Approving(bus, db, self.keeper, self.dispatcher)

    @answers(CREATE_RUN)
    async def create(self, ask: CreateRun, caller: Caller) -> RunView:
        """Accept a run; the same key from the same person answers with the first one."""
        args = wire.pack(ask.command)
        if len(args) > ARGS_LIMIT:
            raise TooLarge(
                f"a command may have {ARGS_LIMIT} bytes with its input, this: {len(args)}"
            )
        if ask.key and (earlier := await self._earlier(ask, caller, args)):
            return earlier
        meant = (await self.bus.ask(RESOLVE, ask.targets, ticket=caller.token)).items
        now = datetime.now(UTC)
        run = store.NewRun(
            id=new_id(now.timestamp()),
            created=now,
            by=caller.name,
            key=ask.key,
            note=ask.note,
            args=args,
            expires=now + timedelta(seconds=ask.expires_in),
            output_cap=ask.command.output_cap,
        )
        nodes = [node.id for node in meant]
        order = _order("run", run.id, args, run.expires, ask.command)
        signed = await self._signed(caller, order, nodes)
        try:
            await self._db.write(lambda conn: store.insert_run(conn, run, meant, signed))
        except Conflict:
            if earlier := await self._earlier(ask, caller, args):
                return earlier
            raise
        await self.dispatcher.begin(
            (run.id, node, blob + args) for node, blob in zip(nodes, signed, strict=True) if blob
        )
        return _fresh(run, ask.command, meant, signed)

    @answers(GET_RUN)
    async def get(self, ask: GetRun, caller: Caller) -> RunView:
        """Return one run with its targets; waits for its end if asked to."""
        seen = await self.seeing.by(caller)
        run = await self._db.read(lambda conn: views.one(conn, ask.run, seen))
        if not ask.wait or run.over:
            return run
        await self.keeper.finish(run.id, ask.wait)
        return await self._db.read(lambda conn: views.one(conn, run.id, seen))

    @answers(LIST_RUNS)
    async def page(self, ask: ListRuns, caller: Caller) -> RunPage:
        """Return a page of runs, newest first."""
        seen = await self.seeing.by(caller)
        return await self._db.read(lambda conn: views.page(conn, ask, seen))

    @answers(CANCEL_RUN)
    async def cancel(self, ask: CancelRun, caller: Caller) -> RunView:
        """End a run: at once where it never left, by a signed order everywhere else."""
        wanted = [targets.c.run == ask.run]
        if ask.nodes:
            wanted.append(targets.c.node.in_(ask.nodes))
        seen = await self.seeing.by(caller)
        await self._db.read(lambda conn: views.one(conn, ask.run, seen))
        rows = await self._db.read(lambda conn: store.open_targets(conn, *wanted, lock=False))
        if rows:
            args = wire.pack(Cancel())
            nodes = [row.node for row in rows]
            expires = datetime.now(UTC) + timedelta(days=7)
            order = _order("cancel", ask.run, args, expires)
            signed = await self._signed(caller, order, nodes)
            orders = {node: blob + args for node, blob in zip(nodes, signed, strict=True)}
            now = datetime.now(UTC)
            await self.keeper.decide(lambda conn: _cancel(conn, wanted, orders, caller.name, now))
            for node, blob in orders.items():
                await self.dispatcher.send(ask.run, node, "cancel", blob)
        return await self._db.read(lambda conn: views.one(conn, ask.run, seen))

    @answers(RUN_EVENTS)
    async def events(self, ask: RunEventsAfter, caller: Caller) -> RunEvents:
        """Tell what happened after an event number."""
        seen = await self.seeing.by(caller)

        def read(conn: Connection) -> RunEvents:
            run = views.one(conn, ask.run, seen) if seen is not None else store.find(conn, ask.run)
            return history.events(conn, run.id, ask, seen)

        return await self._db.read(read)

    @answers(READ_OUTPUT)
    async def output(self, ask: ReadOutput, caller: Caller) -> Output:
        """Return stored output from an offset on."""
        await self.seeing.target(caller, ask.run, ask.node)
        found = await self._db.read(
            lambda conn: outputs.read(conn, ask.run, ask.node, ask.stream, ask.offset)
        )
        if found is None:
            raise NotFound(f"run {ask.run} has no target {ask.node}")
        return found

    @answers(REPORT)
    async def report(self, ask: Report, caller: Caller) -> Nothing:
        """Take what an agent tells; the answer means that it is committed."""
        await self.keeper.report(str(caller.node), ask)
        return NOTHING

    @answers(SYNC)
    async def sync(self, ask: Sync, caller: Caller) -> SyncAnswer:
        """Give an agent what it has missed, and end what it has lost."""
        node, now = str(caller.node), datetime.now(UTC)
        if not self._syncs.admits(node):
            raise TooMany("too often: wait a moment")
        waiting = await self._db.read(lambda conn: syncing.waiting(conn, node, ask, now))
        refused = await self.rechecking.refused(waiting)
        answer: list[SyncAnswer] = []

        def work(conn: Connection) -> list[RunEvent]:
            refusals = refuse(conn, refused, now)
            found, events = syncing.sync(conn, node, ask, now)
            answer.append(found)
            return [*refusals, *events]

        await self.keeper.decide(work)
        return answer[-1]

    async def node_revoked(self, fact: NodeRevoked, msg_id: str) -> None:
        """End what waits for a node that will never come back."""
        now = datetime.now(UTC)

        def work(conn: Connection) -> list[RunEvent]:
            if not outbox.first_time(conn, "scheduler_revoked", msg_id):
                return []
            rows = store.open_targets(conn, targets.c.node == fact.id)
            gone = "the node was revoked"
            unsent = [row for row in rows if row.sent is None]
            sent = [row for row in rows if row.sent is not None]
            return [
                *store.settle(conn, unsent, State.EXPIRED, gone, now),
                *store.settle(conn, sent, State.LOST, gone, now),
            ]

        await self.keeper.decide(work)

    async def decided(self, fact: ApprovalDecided, msg_id: str) -> None:  # noqa: ARG002
        """Begin, or end, what has waited for another person."""
        await self.approving.decided(fact)

    async def resume(self) -> None:
        """After a start: send again whatever may not have arrived."""
        waiting = targets.c.state.in_([State.ACCEPTED.value, State.SENT.value])
        rows = await self._db.read(
            lambda conn: store.open_targets(conn, waiting, limit=100_000, lock=False)
        )
        await self.dispatcher.begin((row.run, row.node, row.envelope + row.args) for row in rows)

    async def _earlier(self, ask: CreateRun, caller: Caller, args: bytes) -> RunView | None:
        """Return the run that this key has made before."""

        def read(conn: Connection) -> RunView | None:
            row = store.by_key(conn, caller.name, ask.key)
            if row is None:
                return None
            if row.args != args:
                raise Conflict("this idempotency key belongs to another command")
            return views.one(conn, row.id)

        return await self._db.read(read)

    async def _signed(self, caller: Caller, order: Sign, nodes: Sequence[str]) -> list[bytes]:
        """Let the authority sign *order* for each node; it decides whether the caller may."""
        signed: list[bytes] = []
        for start in range(0, len(nodes), CHUNK):
            part = {"nodes": list(nodes[start : start + CHUNK]), "total": len(nodes)}
            ask = order.model_copy(update=part)
            signed += (await self.bus.ask(SIGN, ask, ticket=caller.token, timeout=15)).envelopes
        return signed


def _order(
    verb: str, run: str, args: bytes, expires: datetime, command: Command | None = None
) -> Sign:
    """Return what is to be signed, still without nodes."""
    return Sign.model_construct(
        verb=verb,
        run=run,
        nodes=[],
        digest=hashlib.sha256(args).hexdigest(),
        run_as=command.run_as if command else "",
        expires=expires,
        summary=(command.shell or " ".join(command.argv))[:1000] if command else "",
    )


def _fresh(
    run: store.NewRun, command: Command, meant: Sequence[Meant], signed: Sequence[bytes]
) -> RunView:
    found = [store.fresh_target(node, blob) for node, blob in zip(meant, signed, strict=True)]
    return RunView(
        id=run.id,
        command=command,
        note=run.note,
        created=run.created,
        by=run.by,
        expires=run.expires,
        counts=dict(Counter(target.state for target in found)),
        targets=found,
    )


def _cancel(
    conn: Connection, wanted: Sequence[Any], orders: dict[str, bytes], by: str, now: datetime
) -> list[RunEvent]:
    """End what never left here; keep the signed order for all the others."""
    rows = [row for row in store.open_targets(conn, *wanted) if row.node in orders]
    here = [row for row in rows if row.state in store.HELD and row.sent is None]
    there = [row for row in rows if row not in here]
    store.order(conn, [(row.run, row.node, orders[row.node]) for row in there])
    return store.settle(conn, here, State.CANCELLED, f"cancelled by {by}", now)
