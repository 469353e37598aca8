"""Roles: what they allow, who may change them, and where a command may be signed by them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from muster.contracts.authority import RECHECK, SIGN, Recheck, Sign
from muster.contracts.base import NOTHING
from muster.contracts.errors import Conflict, Denied, Malformed, NotFound, Unauthenticated
from muster.contracts.nodes import (
    NODE_FACTS,
    RESOLVE,
    Facts,
    NodeFacts,
    NodeState,
    Resolved,
    Target,
    Targets,
    WhichNodes,
)
from muster.contracts.people import (
    CHANGE_USER,
    DELETE_ROLE,
    DELETE_USER,
    DELETE_USER_GROUP,
    LIST_ROLES,
    LIST_USER_GROUPS,
    MAY,
    PUT_ROLE,
    PUT_USER_GROUP,
    AskVerdict,
    ChangeUser,
    FindUser,
    RoleName,
    UserGroup,
    UserGroupName,
)
from muster.contracts.policy import ROLES, Grant, Role
from muster.kit.bus import Caller, answers
from tests.authority.conftest import Stage
from tests.authority.test_signing import sign


class Directory:
    """The registry, as far as the authority needs it."""

    def __init__(self) -> None:
        """Know no node."""
        self.known: dict[str, Facts] = {}

    def know(self, *nodes: str) -> None:
        """Know more nodes, each called by its id."""
        self.known |= {node: Facts(id=node, name=node) for node in nodes}

    @answers(NODE_FACTS)
    async def facts(self, ask: WhichNodes, caller: Caller) -> NodeFacts:  # noqa: ARG002
        """Tell what grants go by."""
        return NodeFacts(items=[self.known[node] for node in ask.nodes if node in self.known])

    @answers(RESOLVE)
    async def resolve(self, ask: Targets, caller: Caller) -> Resolved:  # noqa: ARG002
        """Say that all nodes are meant."""
        items = [
            Target(id=one.id, name=one.name, state=NodeState.ONLINE) for one in self.known.values()
        ]
        return Resolved(items=items)


@pytest.fixture
async def directory(stage: Stage) -> AsyncIterator[Directory]:
    """A registry with two nodes: web1, in the group web, and db1, with the tag role=db."""
    made = Directory()
    web, db = await stage.node(), await stage.node()
    made.known = {
        web: Facts(id=web, name="web1", groups=["web"]),
        db: Facts(id=db, name="db1", tags={"role": "db"}),
    }
    async with (
        stage.broker.connect("registry") as bus,
        bus.serving(made, name="registry", version="0.0.1"),
    ):
        yield made


async def test_a_command_is_signed_where_the_grant_reaches(
    stage: Stage, directory: Directory
) -> None:
    """By group and by tag; one node beyond it refuses all of them, with the reason."""
    web, db = directory.known
    await stage.role("web", Grant(actions=["run.*"], nodes="@web"))
    session = await stage.user("li", "web")
    assert await sign(stage, [web], session)
    for nodes in ([db], [web, db]):
        with pytest.raises(Denied, match=r"li may not run.create on db1: none of your roles"):
            await sign(stage, nodes, session)
    directory.known[db] = directory.known[db].model_copy(update={"groups": ["web"]})
    assert await sign(stage, [web, db], session)
    with pytest.raises(Denied, match="as the user root"):
        await sign(stage, [web], session, run_as="root")
    told = [(one.who, one.result) for one in await stage.audit(action="run.run")]
    assert told.count(("li", "denied")) == 3


async def test_a_node_that_the_registry_does_not_know_is_in_no_group(
    stage: Stage, directory: Directory
) -> None:
    """What cannot be asked for counts for nobody."""
    web, _ = directory.known
    await stage.role("web", Grant(actions=["run.*"], nodes="@web"))
    session = await stage.user("li", "web")
    directory.known.clear()
    with pytest.raises(Denied):
        await sign(stage, [web], session)
    assert await sign(stage, [web])  # who may everywhere needs no group


async def test_rights_are_those_of_this_moment(stage: Stage) -> None:
    """A ticket that was given before a change does not help, nor does one of an ended session."""
    node = await stage.node()
    session = await stage.user("li", "operator")
    assert await sign(stage, [node], session)
    old = (await stage.exchange(session)).ticket
    await stage.ask(CHANGE_USER, ChangeUser(name="li", roles=["viewer"]))
    with pytest.raises(Denied):
        await sign(stage, [node], session)
    await stage.ask(DELETE_USER, FindUser(name="li"))
    ask = Sign(verb="run", run="0" * 26, nodes=[node], digest="0" * 64, expires=stage.clock())
    with pytest.raises(Unauthenticated):
        await stage.scheduler.ask(SIGN, ask, ticket=old)


async def test_a_group_gives_its_roles_and_takes_them(stage: Stage) -> None:
    """To all in it, at once."""
    await stage.ask(PUT_USER_GROUP, UserGroup(name="ops", roles=["operator"]))
    session = await stage.user("li", "void", groups=["ops"])
    person = (await stage.exchange(session)).person
    assert person.roles == ["operator", "void"]
    assert "run.create" in person.permissions
    await stage.ask(PUT_USER_GROUP, UserGroup(name="ops", roles=["viewer"]))
    assert "run.create" not in (await stage.exchange(session)).person.permissions
    await stage.ask(DELETE_USER_GROUP, UserGroupName(name="ops"))
    assert (await stage.exchange(session)).person.roles == ["void"]
    assert (await stage.ask(LIST_USER_GROUPS, NOTHING)).items == []
    with pytest.raises(NotFound, match="no group"):
        await stage.ask(CHANGE_USER, ChangeUser(name="li", groups=["ops"]))
    with pytest.raises(NotFound, match="no role"):
        await stage.ask(CHANGE_USER, ChangeUser(name="li", roles=["nothing"]))


async def test_a_role_is_changed_by_who_has_read_it(stage: Stage) -> None:
    """Two changes of the same version: the second one is told to look again."""
    grant = Grant(actions=["run.*"], nodes="@db", run_as=["postgres"], most=3)
    first = await stage.role("dba", grant)
    assert (first.version, first.grants) == (1, [grant])
    results = await asyncio.gather(
        *(stage.role("dba", grant, grant, version=1) for _ in range(5)), return_exceptions=True
    )
    kinds = [type(result) for result in results]
    assert (kinds.count(Role), kinds.count(Conflict)) == (1, 4)
    listed = (await stage.ask(LIST_ROLES, NOTHING)).items
    assert [one.name for one in listed] == sorted([*ROLES, "dba"])
    session = await stage.user("li", "dba")
    with pytest.raises(Conflict, match="in use: li"):
        await stage.ask(DELETE_ROLE, RoleName(name="dba"))
    assert (await stage.exchange(session)).person.grants == [grant, grant]
    await stage.ask(DELETE_USER, FindUser(name="li"))
    await stage.ask(DELETE_ROLE, RoleName(name="dba"))
    with pytest.raises(NotFound):
        await stage.ask(DELETE_ROLE, RoleName(name="dba"))


@pytest.mark.parametrize(
    ("role", "error", "why"),
    [
        (Role(name="admin"), Conflict, "comes with Muster"),
        (Role(name="x", version=3), Conflict, "changed meanwhile"),
        (Role(name="x", grants=[Grant(actions=["fly.high"], nodes="all")]), Malformed, "no action"),
        (Role(name="x", grants=[Grant(actions=["*"], nodes="(web")]), Malformed, "selector"),
        (Role(name="x", grants=[Grant(actions=["*"], nodes="os=linux")]), Malformed, "themselves"),
    ],
)
async def test_a_wrong_role_is_refused(
    stage: Stage, role: Role, error: type[Exception], why: str
) -> None:
    """Nothing is kept of it."""
    before = (await stage.ask(LIST_ROLES, NOTHING)).items
    with pytest.raises(error, match=why):
        await stage.ask(PUT_ROLE, role)
    assert (await stage.ask(LIST_ROLES, NOTHING)).items == before


async def test_nobody_writes_themselves_a_role(stage: Stage) -> None:
    """The right to write roles is not the right to everything; neither is that to a group."""
    await stage.role("scribe", Grant(actions=["role.write", "user.*", "node.read"], nodes="all"))
    session = await stage.user("li", "scribe")
    wide = Role(name="mine", grants=[Grant(actions=["run.create"], nodes="@web")])
    with pytest.raises(Denied, match="you do not hold run.create"):
        await stage.ask(PUT_ROLE, wide, session)
    await stage.ask(PUT_ROLE, wide)
    for call, ask in (
        (PUT_ROLE, wide.model_copy(update={"grants": [], "version": 1})),
        (DELETE_ROLE, RoleName(name="mine")),
        (PUT_USER_GROUP, UserGroup(name="ops", roles=["mine"])),
        (CHANGE_USER, ChangeUser(name="li", roles=["scribe", "mine"])),
    ):
        with pytest.raises(Denied, match="not theirs"):
            await stage.ask(call, ask, session)
    narrow = Role(name="look", grants=[Grant(actions=["node.read"], nodes="@web")])
    assert (await stage.ask(PUT_ROLE, narrow, session)).version == 1


async def test_everybody_can_ask_what_they_may(stage: Stage, directory: Directory) -> None:
    """On which nodes, where after an approval, and why not on the others."""
    assert directory.known
    await stage.role("web", Grant(actions=["run.create"], nodes="@web", approval=True))
    await stage.role("db", Grant(actions=["run.create", "node.read"], nodes="role=db", most=1))
    session = await stage.user("li", "web", "db")
    verdict = await stage.ask(MAY, AskVerdict(action="run.create"), session)
    assert (verdict.allowed, verdict.approval) == ([], ["web1"])
    assert verdict.refused == {"your role allows run.create on at most 1 nodes at once": ["db1"]}
    server = await stage.ask(MAY, AskVerdict(action="audit.read"), session)
    assert list(server.refused) == ["none of your roles allows audit.read"]
    assert (await stage.ask(MAY, AskVerdict(action="audit.read"))).refused == {}
    with pytest.raises(NotFound, match="no action"):
        await stage.ask(MAY, AskVerdict(action="fly.high"), session)


async def test_what_waits_is_checked_with_the_rights_of_now(
    stage: Stage, directory: Directory
) -> None:
    """By person, not by session: who logged out may still, who lost the role may not."""
    web, db = directory.known
    await stage.role("web", Grant(actions=["run.create"], nodes="@web", approval=True, fresh=True))
    await stage.user("li", "web")

    async def refused(person: str) -> set[str]:
        ask = Recheck(person=person, verb="run", nodes=[web, db])
        return set((await stage.scheduler.ask(RECHECK, ask)).refused)

    assert await refused("li") == {db}
    assert await refused("admin") == set()
    assert await refused("nobody") == {web, db}
    await stage.ask(CHANGE_USER, ChangeUser(name="li", disabled=True))
    assert await refused("li") == {web, db}
