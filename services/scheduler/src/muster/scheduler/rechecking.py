"""Rights that were lost after a command was signed: what has not reached its node never will."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection

from muster.contracts.authority import CHUNK, RECHECK, Recheck
from muster.contracts.errors import MusterError
from muster.contracts.people import RightsChanged
from muster.contracts.runs import Command, RunEvent, State
from muster.kit.bus import Bus
from muster.kit.sql import Database
from muster.scheduler import store
from muster.scheduler.keeper import Keeper

log = logging.getLogger(__name__)

_AGAIN: Final = 1.0
_MOST: Final = 100_000

Refused = dict[tuple[str, str], str]
"""Why not, by run and node."""


class Rechecking:
    """Asks the authority again, with the rights that the creators of runs have now."""

    def __init__(self, bus: Bus, db: Database, keeper: Keeper) -> None:
        """Ask over *bus*; refuse by *keeper* what *db* has waiting."""
        self._bus = bus
        self._db = db
        self._keeper = keeper
        self._changed: set[str] | None = set()  # None: everyone's rights
        self._news = asyncio.Event()
        bus.rights.watch(self._heard)

    def _heard(self, change: RightsChanged) -> None:
        if change.everyone:
            self._changed = None
        elif self._changed is not None:
            self._changed |= set(change.names)
        self._news.set()

    async def forever(self) -> None:
        """Whenever rights change, refuse what is not allowed any more."""
        while True:
            await self._news.wait()
            self._news.clear()
            names, self._changed = self._changed, set()
            try:
                await self._recheck(names)
            except MusterError as error:
                log.warning("what waits could not be checked: %s", error)
                self._changed = None if names is None else (self._changed or set()) | names
                self._news.set()
                await asyncio.sleep(_AGAIN)

    async def _recheck(self, names: set[str] | None) -> None:
        rows = await self._db.read(
            lambda conn: store.open_targets(conn, *store.held(names), limit=_MOST, lock=False)
        )
        refused = await self.refused(rows)
        if refused:
            now = datetime.now(UTC)
            await self._keeper.decide(lambda conn: refuse(conn, refused, now))
            log.info("%d targets are refused: rights have changed", len(refused))

    async def refused(self, rows: Sequence[Any]) -> Refused:
        """Return which of these targets may not be run any more, and why."""
        by_person: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for row in rows:
            run_as = Command.model_validate_json(row.args).run_as
            by_person[row.by, run_as].append(row)
        found: Refused = {}
        for (person, run_as), waiting in by_person.items():
            nodes = sorted({row.node for row in waiting})
            why: dict[str, str] = {}
            for start in range(0, len(nodes), CHUNK):
                part = nodes[start : start + CHUNK]
                ask = Recheck(person=person, verb="run", run_as=run_as, nodes=part)
                why |= (await self._bus.ask(RECHECK, ask)).refused
            found |= {(row.run, row.node): why[row.node] for row in waiting if row.node in why}
        return found


def refuse(conn: Connection, refused: Refused, now: datetime) -> list[RunEvent]:
    """End these targets, if they still wait."""
    events: list[RunEvent] = []
    for row in store.lock_targets(conn, list(refused)).values():
        if row.state not in {*store.NOT_THERE, State.WAITING.value}:
            continue  # it has got there meanwhile
        why = f"not allowed any more: {refused[row.run, row.node]}"
        events += store.settle(conn, [row], State.REFUSED, why, now)
    return events
