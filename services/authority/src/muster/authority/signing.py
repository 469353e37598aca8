"""Signing commands: after the caller's right has been checked, on the named nodes, on record."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from muster.authority import chain, directory, store
from muster.authority.deciding import Deciding
from muster.authority.part import address_of
from muster.contracts.authority import RECHECK, SIGN, Recheck, Rechecked, Sign, Signed
from muster.contracts.errors import Denied, Malformed, NotFound
from muster.contracts.names import new_id
from muster.contracts.runs import Envelope
from muster.kit import policy
from muster.kit.bus import Caller, answers
from muster.kit.identity import envelope
from muster.kit.selectors import Facts

_ACTIONS: Final = {"run": "run.create", "cancel": "run.create", "read": "run.read"}
_INLINE: Final = 50
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class _Decision:
    epoch: int = 0
    refusal: str = ""
    undecided: bool = False
    """The grants go by names, groups and tags, which have to be asked for."""


class Signing(Deciding):
    """The only place where a command becomes one."""

    @answers(SIGN)
    async def sign(self, ask: Sign, caller: Caller) -> Signed:
        """Sign one command for each node."""
        if ask.verb not in _ACTIONS:
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
            epoch=decision.epoch,
        )
        key = self.tools.world.authority_key
        if len(ask.nodes) <= _INLINE:
            return Signed(envelopes=envelope.sign_many(model, ask.nodes, key))
        return Signed(envelopes=await asyncio.to_thread(envelope.sign_many, model, ask.nodes, key))

    @answers(RECHECK)
    async def recheck(self, ask: Recheck, caller: Caller) -> Rechecked:  # noqa: ARG002
        """Say where a command that still waits may not be run any more, and why."""
        if ask.verb not in _ACTIONS:
            raise Malformed(f"there is no verb {ask.verb}")
        grants = await self.tools.db.read(lambda conn: directory.rights_of(conn, ask.person))
        # what was approved, or shown the second factor for, once was so for this command
        free = [one.model_copy(update={"approval": False, "most": None}) for one in grants]
        request = policy.Request(_ACTIONS[ask.verb], self.tools.now(), ask.run_as, fresh=True)
        known = await self.facts(ask.nodes) if policy.depends(free, request) else {}
        nodes = [known.get(node) or Facts(node, node) for node in ask.nodes]
        refused = policy.decide(free, request, nodes).refused
        return Rechecked(refused={node: why[:200] for node, why in refused.items()})

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
        grants = self.grants(conn, caller)
        request = policy.Request(_ACTIONS[ask.verb], now, ask.run_as)
        if facts is None and policy.depends(grants, request):
            return _Decision(undecided=True)
        nodes = [(facts or {}).get(node) or Facts(node, node) for node in ask.nodes]
        verdict = policy.decide(grants, request, nodes)
        refusal = _refusal(
            caller.name, request.action, verdict, {one.id: one.name for one in nodes}
        )
        chain.append(
            conn, caller.name, f"run.{ask.verb}", now=now, nodes=ask.nodes,
            result="denied" if refusal else "ok", detail=refusal or ask.summary,
            address=address_of(caller), run=ask.run,
        )  # fmt: skip
        return _Decision(store.epoch(conn), refusal)


def _refusal(name: str, action: str, verdict: policy.Verdict, names: Mapping[str, str]) -> str:
    """Say why not, for the first few nodes; one node that is refused refuses the whole."""
    refused = verdict.refused | dict.fromkeys(verdict.approval, "another person has to approve")
    if not refused:
        return ""
    why = next(iter(refused.values()))
    some = ", ".join(names[one] for one in list(refused)[:_NAMED])
    more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
    return f"{name} may not {action} on {some}{more}: {why}"
