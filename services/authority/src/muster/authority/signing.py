"""Signing commands: after the caller's right has been checked, on the named nodes, on record."""

import asyncio
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from muster.authority import chain, store
from muster.authority.part import Part
from muster.contracts.authority import SIGN, Sign, Signed
from muster.contracts.errors import Denied, Malformed, NotFound
from muster.contracts.names import new_id
from muster.contracts.runs import Envelope
from muster.kit import policy
from muster.kit.bus import Caller, answers
from muster.kit.identity import envelope

_NEEDS: Final = {"run": "run.create", "cancel": "run.create", "read": "run.read"}
_INLINE: Final = 50


class Signing(Part):
    """The only place where a command becomes one."""

    @answers(SIGN)
    async def sign(self, ask: Sign, caller: Caller) -> Signed:
        """Sign one command for each node."""
        needed = _NEEDS.get(ask.verb)
        if needed is None:
            raise Malformed(f"there is no verb {ask.verb}")
        if caller.ticket is None or not policy.allows(caller.ticket.person.permissions, needed):
            raise Denied(f"{caller.name} may not {needed}")
        now = self.tools.now()
        epoch = await self.tools.db.write(lambda conn: _record(conn, ask, caller, now))
        model = Envelope(
            id=new_id(now.timestamp()),
            node=ask.nodes[0],
            verb=ask.verb,
            run=ask.run,
            digest=ask.digest,
            run_as=ask.run_as,
            caller=caller.name,
            issued=now,
            expires=ask.expires,
            epoch=epoch,
        )
        key = self.tools.world.authority_key
        if len(ask.nodes) <= _INLINE:
            return Signed(envelopes=envelope.sign_many(model, ask.nodes, key))
        return Signed(envelopes=await asyncio.to_thread(envelope.sign_many, model, ask.nodes, key))


def _record(conn: Connection, ask: Sign, caller: Caller, now: datetime) -> int:
    """Write the audit record, if every node may still be spoken to; returns the epoch."""
    if missing := store.missing(conn, ask.nodes):
        raise NotFound(f"unknown or revoked: {', '.join(sorted(missing)[:10])}")
    address = caller.ticket.origin.address if caller.ticket else ""
    chain.append(
        conn, caller.name, f"run.{ask.verb}", now=now, nodes=ask.nodes,
        detail=ask.summary, address=address, run=ask.run,
    )  # fmt: skip
    return store.epoch(conn)
