"""Deciding: what a caller may do at this very moment, whatever an earlier ticket said."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection

from muster.authority import directory, store
from muster.authority.sessions import Sessions, person_of
from muster.contracts.authority import CHUNK
from muster.contracts.errors import Denied, NotFound, Unauthenticated
from muster.contracts.nodes import NODE_FACTS, RESOLVE, NodeFacts, Targets, WhichNodes
from muster.contracts.people import (
    MAY,
    RIGHTS_AFTER,
    AskVerdict,
    RightsAfter,
    RightsChanged,
    Verdict,
)
from muster.contracts.policy import ACTIONS, NODES, Grant
from muster.kit import policy
from muster.kit.bus import Caller, answers
from muster.kit.selectors import Facts

_ROOM: Final = 200


class Deciding(Sessions):
    """One decision, for every question of who may do what where."""

    def bearer(self, conn: Connection, caller: Caller) -> Any:
        """Return the living way in that the caller's ticket was given for."""
        if caller.ticket is None:
            raise Denied("this is for people")
        row = store.by_id(conn, caller.ticket.session)
        if row is None or self.over(row, self.tools.now(), store.WAYS) or row.person != caller.name:
            raise Unauthenticated("the session is over: log in again")
        return row

    def wish(
        self, conn: Connection, caller: Caller, action: str, run_as: str = ""
    ) -> tuple[list[Grant], policy.Request]:
        """Return what the caller holds now, and what they want to do, as the policy asks for it."""
        row = self.bearer(conn, caller)
        asked = policy.Request(action, self.tools.now(), run_as, fresh=self.is_fresh(row))
        return person_of(conn, row).grants, asked

    def is_fresh(self, row: Any) -> bool:
        """Whether the second factor was shown in a session just now."""
        span = timedelta(minutes=self.tools.settings.fresh_minutes)
        return row.fresh is not None and self.tools.now() - row.fresh < span

    def grants(self, conn: Connection, caller: Caller) -> list[Grant]:
        """Return what the caller holds now."""
        return person_of(conn, self.bearer(conn, caller)).grants

    def held(self, conn: Connection, caller: Caller, action: str) -> list[Grant]:
        """Return what the caller holds now, if an action on the server is among it."""
        grants, request = self.wish(conn, caller, action)
        if why := policy.may(grants, request):
            raise Denied(f"{caller.name} may not {action}: {why}")
        return grants

    def may_give(
        self, conn: Connection, caller: Caller, roles: Iterable[str], groups: Iterable[str]
    ) -> None:
        """Let nobody give rights, or take them, that they do not have themselves."""
        known = {group.name: group for group in directory.all_groups(conn)}
        names = set(roles)
        for group in groups:
            if group not in known:
                raise NotFound(f"there is no group of users {group}")
            names |= set(known[group].roles)
        wanted: list[Grant] = []
        for name in sorted(names):
            role = directory.role(conn, name)
            if role is None:
                raise NotFound(f"there is no role {name}")
            wanted += role.grants
        self.may_grant(conn, caller, wanted)

    def may_touch(self, conn: Connection, caller: Caller, name: str) -> Any:
        """Return a person; let nobody change one who may do more than they themselves."""
        row = directory.person(conn, name)
        if row is None:
            raise NotFound(f"there is no user {name}")
        self.may_give(conn, caller, [*row.roles, *row.mapped], row.groups)
        return row

    def may_grant(self, conn: Connection, caller: Caller, wanted: Iterable[Grant]) -> None:
        """Refuse if *wanted* exceeds what the caller holds."""
        if why := policy.exceeds(self.grants(conn, caller), wanted):
            raise Denied(f"nobody can give or take what is not theirs: {why}")

    async def facts(self, nodes: Sequence[str]) -> dict[str, Facts]:
        """Ask the registry for what grants may go by: names, groups and tags."""
        found: dict[str, Facts] = {}
        for start in range(0, len(nodes), CHUNK):
            ask = WhichNodes(nodes=list(nodes[start : start + CHUNK]))
            answer: NodeFacts = await self.tools.bus.ask(NODE_FACTS, ask)
            found |= {
                node.id: Facts(node.id, node.name, node.groups, node.tags) for node in answer.items
            }
        return found

    @answers(MAY)
    async def may(self, ask: AskVerdict, caller: Caller) -> Verdict:
        """Say what the caller may do, and why not the rest."""
        if ask.action not in ACTIONS:
            raise NotFound(f"there is no action {ask.action}: {', '.join(sorted(ACTIONS))}")
        grants, request = await self.tools.db.read(
            lambda conn: self.wish(conn, caller, ask.action, ask.run_as)
        )
        if ask.action not in NODES:
            why = policy.may(grants, request)
            return Verdict(action=ask.action, refused={why: []} if why else {})
        for needed in ("node.read", ask.action):  # which nodes there are is not for everybody
            if not policy.allows(policy.permissions(grants), needed):
                return Verdict(action=ask.action, refused={f"you may not {needed} anywhere": []})
        targets = Targets(selector=ask.nodes)
        meant = (await self.tools.bus.ask(RESOLVE, targets, ticket=caller.token)).items
        known = await self.facts([node.id for node in meant])
        decided = policy.decide(grants, request, list(known.values()))
        refused: dict[str, list[str]] = {}
        for node, why in decided.refused.items():
            refused.setdefault(why, []).append(known[node].name)
        return Verdict(
            action=ask.action,
            allowed=sorted(known[node].name for node in decided.allowed),
            approval=sorted(known[node].name for node in decided.approval),
            refused={why: sorted(names) for why, names in refused.items()},
        )

    @answers(RIGHTS_AFTER)
    async def rights_after(self, ask: RightsAfter, caller: Caller) -> RightsChanged:  # noqa: ARG002
        """Tell a service whose rights have changed after a revision."""
        return await self.tools.db.read(lambda conn: directory.touched_after(conn, ask.revision))
