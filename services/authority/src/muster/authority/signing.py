"""Signing commands: after the caller's right has been checked, on the named nodes, on record."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from muster.authority import approvals, chain, store
from muster.authority.approving import ACTIONS, Approving, wait_for
from muster.authority.part import address_of
from muster.contracts.authority import RECHECK, SIGN, Recheck, Rechecked, Sign, Signed
from muster.contracts.errors import Denied, Malformed, NotFound
from muster.contracts.names import new_id
from muster.contracts.runs import Envelope
from muster.kit import policy
from muster.kit.bus import Caller, answers
from muster.kit.identity import envelope
from muster.kit.selectors import Facts

_INLINE: Final = 50
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class _Decision:
    epoch: int = 0
    refusal: str = ""
    waits: frozenset[str] = frozenset()
    """Nodes for which another person has to approve."""
    undecided: bool = False
    """The grants go by names, groups and tags, which have to be asked for."""


class Signing(Approving):
    """The only place where a command becomes one."""

    @answers(SIGN)
    async def sign(self, ask: Sign, caller: Caller) -> Signed:
        """Sign one command for each node."""
        if ask.verb not in ACTIONS:
            raise Malformed(f"there is no verb {ask.verb}")
        now = self.tools.now()
        decision = await self.tools.db.write(lambda conn: self._decide(conn, ask, caller, now))
        if decision.undecided:
            facts = await self.facts(ask.nodes)
            decision = await self.tools.db.write(
                lambda conn: self._decide(conn, ask, caller, now, facts)
            )
        if decision.refusal:
            raise Denied(decision.refusal)
        nodes = [node for node in ask.nodes if node not in decision.waits]
        if not nodes:
            return Signed(envelopes=[b""] * len(ask.nodes))
        model = Envelope(
            id=new_id(now.timestamp()),
            node=nodes[0],
            verb=ask.verb,
            run=ask.run,
            digest=ask.digest,
            run_as=ask.run_as,
            caller=caller.name,
            issued=now,
            expires=ask.expires,
            epoch=decision.epoch,
        )
        key = self.tools.world.authority_key
        if len(nodes) <= _INLINE:
            signed = envelope.sign_many(model, nodes, key)
        else:
            signed = await asyncio.to_thread(envelope.sign_many, model, nodes, key)
        by_node = dict(zip(nodes, signed, strict=True))
        return Signed(envelopes=[by_node.get(node, b"") for node in ask.nodes])

    @answers(RECHECK)
    async def recheck(self, ask: Recheck, caller: Caller) -> Rechecked:  # noqa: ARG002
        """Say where a command that still waits may not be run any more, and why."""
        if ask.verb not in ACTIONS:
            raise Malformed(f"there is no verb {ask.verb}")
        refused = await self.not_any_more(ask.person, ask.verb, ask.run_as, ask.nodes)
        return Rechecked(refused=refused)

    def _decide(
        self,
        conn: Connection,
        ask: Sign,
        caller: Caller,
        now: datetime,
        facts: Mapping[str, Facts] | None = None,
    ) -> _Decision:
        """Decide by the rights of this moment, and write it into the audit: yes or no."""
        if missing := store.missing(conn, ask.nodes):
            raise NotFound(f"unknown or revoked: {', '.join(sorted(missing)[:10])}")
        grants, request = self.wish(conn, caller, ACTIONS[ask.verb], ask.run_as)
        if ask.verb == "cancel":  # ending needs less than beginning
            grants = [policy.unconditional(grant) for grant in grants]
        if facts is None and policy.depends(grants, request):
            return _Decision(undecided=True)
        nodes = [(facts or {}).get(node) or Facts(node, node) for node in ask.nodes]
        verdict = policy.decide(grants, request, nodes, total=ask.total)
        names = {one.id: one.name for one in nodes}
        refusal = _refusal(caller.name, request.action, verdict, names, ask.verb)
        waits = frozenset() if refusal else frozenset(verdict.approval)
        parts = [(ask.nodes, "denied", refusal)] if refusal else [
            ([node for node in ask.nodes if node not in waits], "ok", ask.summary),
            (sorted(waits), "waiting", ask.summary),
        ]  # fmt: skip
        for some, result, detail in parts:
            if some:
                chain.append(
                    conn, caller.name, f"run.{ask.verb}", now=now, nodes=some, result=result,
                    detail=detail, address=address_of(caller), run=ask.run,
                )  # fmt: skip
        if waits:
            wait_for(conn, ask, caller.name, sorted(waits), now)
        if ask.verb == "cancel" and not refusal:
            approvals.withdraw(conn, ask.run, caller.name, now)
        return _Decision(store.epoch(conn), refusal, waits)


def _refusal(
    name: str, action: str, verdict: policy.Verdict, names: Mapping[str, str], verb: str
) -> str:
    """Say why not, for the first few nodes; one node that is refused refuses the whole."""
    refused = dict(verdict.refused)
    if verb == "read":  # nobody is asked for a look at a file
        refused |= dict.fromkeys(verdict.approval, "another person would have to approve")
    if not refused:
        return ""
    why = next(iter(refused.values()))
    some = ", ".join(names[one] for one in list(refused)[:_NAMED])
    more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
    return f"{name} may not {action} on {some}{more}: {why}"
