"""Approvals: what waits for another person, and the signatures once it was approved."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from muster.authority import approvals, chain, directory, store
from muster.authority.deciding import Deciding
from muster.authority.part import address_of
from muster.contracts.approvals import (
    APPROVAL_DECIDED,
    APPROVE,
    LIST_APPROVALS,
    REFUSE,
    RELEASE,
    ApprovalDecided,
    Approvals,
    ApprovalState,
    Approve,
    ListApprovals,
    Refuse,
    Release,
    Released,
)
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import Conflict, Denied, Expired, NotFound
from muster.contracts.policy import Grant
from muster.kit import outbox, policy
from muster.kit.bus import Caller, answers
from muster.kit.identity import envelope
from muster.kit.selectors import Facts

_ACTION: Final = "run.approve"


class Approving(Deciding):
    """Four eyes."""

    @answers(LIST_APPROVALS)
    async def approvals(self, ask: ListApprovals, caller: Caller) -> Approvals:
        """Return the caller's own, and those that the caller may decide."""
        now = self.tools.now()

        def read(conn: Connection) -> tuple[list[Grant], list[Any]]:
            return self.grants(conn, caller), approvals.page(conn, ask, now)

        grants, rows = await self.tools.db.read(read)
        known = await self.facts(sorted({node for row in rows for node in row.nodes}))
        reach = policy.reach(grants, policy.Request(_ACTION, now))
        shown = [
            row
            for row in rows[: ask.limit]
            if row.by == caller.name
            or all(reach.covers(known.get(node) or Facts(node, node)) for node in row.nodes)
        ]
        names = {node: facts.name for node, facts in known.items()}
        return Approvals(
            items=[approvals.view(row, names, now) for row in shown],
            next=rows[ask.limit - 1].run if len(rows) > ask.limit else "",
        )

    @answers(APPROVE)
    async def approve(self, ask: Approve, caller: Caller) -> Nothing:
        """Let the run of another person begin."""
        await self._settle(ask.run, ApprovalState.APPROVED, ask.reason, caller)
        return NOTHING

    @answers(REFUSE)
    async def refuse(self, ask: Refuse, caller: Caller) -> Nothing:
        """Let the run of another person never begin."""
        await self._settle(ask.run, ApprovalState.REFUSED, ask.reason, caller)
        return NOTHING

    async def _settle(self, run: str, state: ApprovalState, reason: str, caller: Caller) -> None:
        row = await self.tools.db.read(lambda conn: approvals.find(conn, run))
        known = await self.facts(row.nodes) if row is not None else {}
        refusal = await self.tools.db.write(
            lambda conn: self._decided(conn, run, state, reason, caller, known)
        )
        if refusal:
            raise Denied(refusal)

    def _decided(  # what is decided, by whom, on what
        self,
        conn: Connection,
        run: str,
        state: ApprovalState,
        reason: str,
        caller: Caller,
        known: Mapping[str, Facts],
    ) -> str:
        """Write the decision down, or return why the caller may not decide; on record."""
        now = self.tools.now()
        row = approvals.find(conn, run, lock=True)
        if row is None:
            raise NotFound("there is no approval for such a run")
        nodes = [known.get(node) or Facts(node, node) for node in row.nodes]
        verdict = policy.decide(*self.wish(conn, caller, _ACTION), nodes)
        refusal = "nobody approves what they want themselves" if row.by == caller.name else ""
        refusal = refusal or next(iter(verdict.refused.values()), "")
        refusal = refusal or ("your own approving needs approval" if verdict.approval else "")
        verb = "approve" if state is ApprovalState.APPROVED else "refuse"
        chain.append(
            conn, caller.name, f"run.{verb}", now=now, nodes=row.nodes, run=run,
            result="denied" if refusal else "ok", address=address_of(caller),
            detail=refusal or reason or f"of {row.by}: {row.summary}",
        )  # fmt: skip
        if refusal:
            return refusal
        if row.expires <= now:
            raise Expired("the run has expired: it has to be asked for again")
        if row.state != ApprovalState.PENDING:
            raise Conflict(f"this was {row.state} already")
        approvals.settle(conn, run, state, caller.name, reason, now)
        fact = ApprovalDecided(
            run=run, approved=state is ApprovalState.APPROVED, by=caller.name, reason=reason
        )
        outbox.put(conn, APPROVAL_DECIDED, fact, run)
        return ""

    @answers(RELEASE)
    async def release(self, ask: Release, caller: Caller) -> Released:  # noqa: ARG002
        """Sign what was approved, if who asked for it may still do it."""
        now = self.tools.now()
        row = await self.tools.db.read(lambda conn: approvals.find(conn, ask.run))
        if row is None or row.state != ApprovalState.APPROVED:
            raise Denied("this run was not approved")
        if row.expires <= now:
            raise Expired("the run has expired")
        if unknown := set(ask.nodes) - set(row.nodes):
            raise Denied(f"not approved: {', '.join(sorted(unknown)[:5])}")
        refused = await self.not_any_more(row.by, "run", row.run_as, ask.nodes)
        nodes = [node for node in ask.nodes if node not in refused]
        if not nodes:
            return Released(envelopes=[b""] * len(ask.nodes), refused=refused)

        def note(conn: Connection) -> int:
            chain.append(
                conn, row.by, "run.run", now=now, nodes=nodes, run=ask.run,
                detail=f"approved by {row.decided_by}: {row.summary}",
            )  # fmt: skip
            return store.epoch(conn)

        epoch = await self.tools.db.write(note)
        model = approvals.order(row, nodes[0], epoch, now)
        key = self.tools.world.authority_key
        signed = await asyncio.to_thread(envelope.sign_many, model, nodes, key)
        by_node = dict(zip(nodes, signed, strict=True))
        return Released(envelopes=[by_node.get(node, b"") for node in ask.nodes], refused=refused)

    async def not_any_more(
        self, person: str, verb: str, run_as: str, nodes: Sequence[str]
    ) -> dict[str, str]:
        """Say where what was allowed to *person* once is not allowed now, and why."""
        grants = await self.tools.db.read(lambda conn: directory.rights_of(conn, person))
        # what was approved, or shown the second factor for, once was so for this command
        free = [policy.unconditional(grant) for grant in grants]
        request = policy.Request(ACTIONS[verb], self.tools.now(), run_as)
        known = await self.facts(nodes) if policy.depends(free, request) else {}
        asked = [known.get(node) or Facts(node, node) for node in nodes]
        refused = policy.decide(free, request, asked).refused
        return {node: why[:200] for node, why in refused.items()}


ACTIONS: Final = {"run": "run.create", "cancel": "run.create", "read": "run.read"}
"""What has to be allowed for each verb."""


def wait_for(conn: Connection, ask: Any, person: str, nodes: Sequence[str], now: datetime) -> None:
    """Keep what *person* asks for on *nodes* until another person decides."""
    approvals.ask_for(
        conn,
        {
            "run": ask.run,
            "by": person,
            "digest": ask.digest,
            "run_as": ask.run_as,
            "summary": ask.summary,
            "created": now,
            "expires": ask.expires,
        },
        nodes,
    )
