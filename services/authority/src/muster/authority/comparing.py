"""Holding a node's own record of what it executed against the audit: two that have to agree."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from muster.authority import chain, store
from muster.authority.part import Part, address_of
from muster.contracts.errors import NoAnswer, NotFound, Unavailable
from muster.contracts.names import new_id
from muster.contracts.records import (
    CHECK_NODE,
    PAGE,
    CheckNode,
    NodeCheck,
    NodeRecord,
    NodeRecords,
    ReadRecords,
)
from muster.contracts.runs import Envelope, State
from muster.kit import wire
from muster.kit.bus import Caller, answers
from muster.kit.identity import envelope
from muster.kit.linking import GENESIS, link

_VALID: Final = timedelta(minutes=1)
_MOST: Final = 200
"""Pages: as much as an honest node keeps, and some."""
_SHOWN: Final = 100
_AWAY: Final = "the node is away, or its agent is too old to show its record"


class Comparing(Part):
    """Two witnesses."""

    @answers(CHECK_NODE)
    async def check_node(self, ask: CheckNode, caller: Caller) -> NodeCheck:
        """Fetch the record of a node, follow it, and compare it with what was signed."""
        row = await self.tools.db.read(lambda conn: store.node(conn, ask.node))
        if row is None or row.revoked is not None:
            raise NotFound("there is no such node (any more)")
        records = await self._fetched(ask.node, caller.name)

        def compare(conn: Connection) -> NodeCheck:
            found = _compared(conn, row, records, self.tools.now())
            wrong = found.broken_at is not None or found.complaint or found.unsigned
            chain.append(
                conn, caller.name, "node.check", now=found.at, nodes=[ask.node],
                result="alert" if wrong else "ok", address=address_of(caller),
                detail=found.complaint or f"{len(found.unsigned)} unsigned of {found.records}",
            )  # fmt: skip
            if records and not wrong:
                store.remember_record(conn, ask.node, records[-1].seq, records[-1].hash)
            return found

        return await self.tools.db.write(compare)

    async def _fetched(self, node: str, who: str) -> list[NodeRecord]:
        found: list[NodeRecord] = []
        for _ in range(_MOST):
            page = await self._page(node, who, found[-1].seq if found else 0)
            found += page.items
            if len(page.items) < PAGE:
                break
        return found

    async def _page(self, node: str, who: str, after: int) -> NodeRecords:
        args, now = wire.pack(ReadRecords(after=after)), self.tools.now()
        epoch = await self.tools.db.read(store.epoch)
        order = Envelope(
            id=new_id(now.timestamp()),
            node=node,
            verb="records",
            run=new_id(now.timestamp()),
            digest=hashlib.sha256(args).hexdigest(),
            caller=who,
            issued=now,
            expires=now + _VALID,
            epoch=epoch,
        )
        blob = envelope.sign(order, self.tools.world.authority_key) + args
        try:
            data = await self.tools.bus.request(
                f"muster.cmd.{node}.records", blob, timeout=10, patience=0
            )
        except (Unavailable, NoAnswer) as error:
            raise Unavailable(_AWAY) from error
        return wire.unpack(NodeRecords, data)


def _compared(
    conn: Connection, node: Any, records: Sequence[NodeRecord], now: datetime
) -> NodeCheck:
    signed = {one.run: one for one in chain.signed_for(conn, node.id)}
    began = [one for one in records if one.state is State.STARTED]
    since = records[0].at if records and records[0].seq > 1 else None
    seen = {one.run for one in records}
    return NodeCheck(
        node=node.id,
        at=now,
        records=len(records),
        since=records[0].at if records else None,
        hash=records[-1].hash if records else "",
        broken_at=_broken_at(records),
        complaint=_complaint(node, records),
        unsigned=[one for one in began if one.run not in signed][:_SHOWN],
        unseen=[
            one for one in signed.values() if one.run not in seen and (not since or one.at > since)
        ][:_SHOWN],
    )


def _broken_at(records: Sequence[NodeRecord]) -> int | None:
    """Return the first record that does not follow; the oldest may follow what is gone."""
    previous, number = (GENESIS, 0) if records and records[0].seq == 1 else ("", 0)
    for one in records:
        if number and one.seq != number + 1:
            return one.seq
        if previous and link(previous, one.model_dump() | {"state": one.state.value}) != one.hash:
            return one.seq
        previous, number = one.hash, one.seq
    return None


def _complaint(node: Any, records: Sequence[NodeRecord]) -> str:
    """Say where the record contradicts the one of an earlier comparison."""
    if not node.record_seq:
        return ""
    last = records[-1].seq if records else 0
    if last < node.record_seq:
        return f"it has {last} records, and had {node.record_seq}: it was cut, or begun anew"
    same = [one for one in records if one.seq == node.record_seq]
    if same and same[0].hash != node.record_hash:
        return f"its record {node.record_seq} is another one than before"
    return ""
