"""What an approval sets going: the signatures of a run that waited for another person."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from muster.contracts.approvals import RELEASE, ApprovalDecided, Release
from muster.contracts.authority import CHUNK
from muster.contracts.errors import Denied, Expired
from muster.contracts.runs import RunEvent, State
from muster.kit.bus import Bus
from muster.kit.sql import Database
from muster.scheduler import store
from muster.scheduler.dispatch import Dispatcher
from muster.scheduler.keeper import Keeper
from muster.scheduler.tables import targets


class Approving:
    """Begins, or ends, what has waited."""

    def __init__(self, bus: Bus, db: Database, keeper: Keeper, dispatcher: Dispatcher) -> None:
        """Have it signed over *bus*, write by *keeper*, send by *dispatcher*."""
        self._bus = bus
        self._db = db
        self._keeper = keeper
        self._dispatcher = dispatcher

    async def decided(self, fact: ApprovalDecided) -> None:
        """Take what somebody has decided; told twice, the second time finds nothing waiting."""
        rows = await self._db.read(lambda conn: _waiting(conn, fact.run, lock=False))
        if not fact.approved:
            why = f"refused by {fact.by}: {fact.reason}" if fact.reason else f"refused by {fact.by}"
            await self._end(fact.run, {row.node: why for row in rows})
            return
        for start in range(0, len(rows), CHUNK):
            await self._release(fact.run, rows[start : start + CHUNK])

    async def _release(self, run: str, rows: list[Any]) -> None:
        nodes = [row.node for row in rows]
        try:
            answer = await self._bus.ask(RELEASE, Release(run=run, nodes=nodes), timeout=15)
        except (Denied, Expired) as error:
            await self._end(run, dict.fromkeys(nodes, str(error)))
            return
        signed = {node: blob for node, blob in zip(nodes, answer.envelopes, strict=True) if blob}
        now = datetime.now(UTC)

        def begin(conn: Connection) -> list[RunEvent]:
            found = [row for row in _waiting(conn, run) if row.node in signed]
            if found:
                store.sign(conn, run, [(row.node, signed[row.node]) for row in found])
            return store.settle(conn, found, State.ACCEPTED, "", now)

        events = await self._keeper.decide(begin)
        begun = {event.target.node for event in events}
        commands = [
            (run, row.node, signed[row.node] + row.args) for row in rows if row.node in begun
        ]
        await self._dispatcher.begin(commands)
        await self._end(run, answer.refused)

    async def _end(self, run: str, refused: dict[str, str]) -> None:
        if not refused:
            return
        now = datetime.now(UTC)

        def end(conn: Connection) -> list[RunEvent]:
            rows = [row for row in _waiting(conn, run) if row.node in refused]
            return [
                event
                for row in rows
                for event in store.settle(conn, [row], State.REFUSED, refused[row.node], now)
            ]

        await self._keeper.decide(end)


def _waiting(conn: Connection, run: str, *, lock: bool = True) -> list[Any]:
    where = (targets.c.run == run) & (targets.c.state == State.WAITING.value)
    return list(store.open_targets(conn, where, limit=100_000, lock=lock))
