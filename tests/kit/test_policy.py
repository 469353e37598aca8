"""The one decision: default deny, on named nodes, with every condition."""

from datetime import UTC, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from muster.contracts.policy import ACTIONS, NODES, ROLES, SERVER, Grant, Window
from muster.kit import policy
from muster.kit.policy import Request, decide, may, within
from muster.kit.selectors import Facts

NOW = datetime(2026, 11, 18, 10, 30, tzinfo=UTC)  # a Wednesday
WEB = Facts(id="nweb", name="web1", groups=["web"])
DB = Facts(id="ndb", name="db1", groups=["db"], tags={"role": "db"})
RUN = Request("run.create", NOW)


def test_without_a_grant_nothing_is_allowed() -> None:
    """The default is no, and it says why."""
    verdict = decide([], RUN, [WEB, DB])
    assert not verdict.allowed
    assert verdict.refused == dict.fromkeys(["nweb", "ndb"], "none of your roles allows run.create")
    assert "audit.read" in may([], Request("audit.read", NOW))
    assert policy.permissions([]) == []


def test_each_node_is_decided_by_itself() -> None:
    """What is allowed on one node says nothing of another."""
    verdict = decide([Grant(actions=["run.*"], nodes="@web")], RUN, [WEB, DB])
    assert verdict.allowed == {"nweb"}
    assert verdict.refused == {"ndb": "none of your roles allows run.create on this node"}


def test_grants_add_up() -> None:
    """Two grants allow what either allows, each on its own nodes."""
    grants = [
        Grant(actions=["run.create"], nodes="web*"),
        Grant(actions=["*"], nodes="role=db", approval=True),
    ]
    verdict = decide(grants, RUN, [WEB, DB])
    assert (verdict.allowed, verdict.approval) == ({"nweb"}, {"ndb"})


def test_an_approval_is_not_asked_of_who_needs_none() -> None:
    """The grant without the condition counts."""
    grants = [
        Grant(actions=["run.create"], nodes="all", approval=True),
        Grant(actions=["run.create"], nodes="@web"),
    ]
    assert decide(grants, RUN, [WEB, DB]).approval == {"ndb"}


def test_a_user_on_the_node_has_to_be_granted() -> None:
    """Without a name it is the agent's own; `*` is anybody."""
    named = [Grant(actions=["run.create"], nodes="all", run_as=["www-*"])]
    assert decide(named, RUN, [WEB]).allowed
    assert decide(named, Request("run.create", NOW, run_as="www-data"), [WEB]).allowed
    refused = decide(named, Request("run.create", NOW, run_as="root"), [WEB]).refused
    assert "as the user root" in refused["nweb"]
    anybody = [*ROLES["admin"].grants]
    assert decide(anybody, Request("run.create", NOW, run_as="root"), [WEB]).allowed


def test_conditions_are_named_when_they_fail() -> None:
    """Hours, number and second factor: the reason says which."""
    night = Window(start=time(22), end=time(6))
    for grant, said in (
        (Grant(actions=["*"], nodes="all", during=[night]), "certain hours"),
        (Grant(actions=["*"], nodes="all", most=1), "at most 1"),
        (Grant(actions=["*"], nodes="all", fresh=True), "second factor"),
    ):
        assert said in decide([grant], RUN, [WEB, DB]).refused["nweb"]
    fresh = Grant(actions=["*"], nodes="all", fresh=True, most=2, during=[Window()])
    assert decide([fresh], Request("run.create", NOW, fresh=True), [WEB, DB]).allowed


@pytest.mark.parametrize(
    ("window", "at", "inside"),
    [
        (Window(), "2026-11-18T00:00+00:00", True),
        (Window(days=["thu"]), "2026-11-18T23:59+00:00", False),
        (Window(start=time(8), end=time(18)), "2026-11-18T08:00+00:00", True),
        (Window(start=time(8), end=time(18)), "2026-11-18T18:00+00:00", False),
        (Window(start=time(8), end=time(18), zone="Asia/Shanghai"), "2026-11-18T00:30+00:00", True),
        (Window(start=time(22), end=time(6), days=["fri"]), "2026-11-21T05:59+00:00", True),
        (Window(start=time(22), end=time(6), days=["fri"]), "2026-11-21T06:00+00:00", False),
        (Window(start=time(22), end=time(6), days=["fri"]), "2026-11-20T05:00+00:00", False),
        # the night in which clocks go back has 02:30 twice, both in the window
        (Window(start=time(2), end=time(3), zone="Europe/Berlin"), "2026-10-25T00:30+00:00", True),
        (Window(start=time(2), end=time(3), zone="Europe/Berlin"), "2026-10-25T01:30+00:00", True),
    ],
)
def test_hours(window: Window, at: str, inside: bool) -> None:  # noqa: FBT001
    """By the clock of the zone; a window over midnight belongs to the day on which it starts."""
    assert within(window, datetime.fromisoformat(at)) is inside


def test_the_server_is_not_a_node() -> None:
    """Everything on some nodes is nothing on the server."""
    some = [Grant(actions=["*"], nodes="@web")]
    assert policy.permissions(some) == sorted(NODES)
    assert all(may(some, Request(action, NOW)) for action in SERVER)
    assert policy.permissions(ROLES["admin"].grants) == sorted(ACTIONS)
    assert not any(may(ROLES["admin"].grants, Request(action, NOW)) for action in SERVER)


@pytest.mark.parametrize(
    ("grant", "why"),
    [
        (Grant(actions=["run.creat"], nodes="all"), "no action run.creat"),
        (Grant(actions=["job.*"], nodes="all"), "no action job"),
        (Grant(actions=["*"], nodes="all", during=[Window(zone="Europe/Nowhere")]), "time zone"),
        (Grant(actions=["*"], nodes="all", during=[Window(zone="../../etc/passwd")]), "time zone"),
        (Grant(actions=["*"], nodes="@db and os.family=debian"), "tell of themselves: os.family"),
        (Grant(actions=["node.*", "run.read"], nodes="@db", during=[Window()]), ""),
    ],
)
def test_a_mistake_in_a_grant_is_told(grant: Grant, why: str) -> None:
    """It would otherwise be a right that nobody has, or that a node gives itself."""
    assert why in policy.complaint(grant)
    assert bool(policy.complaint(grant)) == bool(why)


def test_a_grant_of_nothing_is_malformed() -> None:
    """No action, half a pattern, no nodes."""
    for wrong in ([], ["ru*"], ["RUN.create"]):
        with pytest.raises(ValidationError):
            Grant(actions=wrong, nodes="all")
    with pytest.raises(ValidationError):
        Grant(actions=["*"], nodes="")


def test_an_unknown_zone_is_never() -> None:
    """A grant from a server with more zones opens nothing here."""
    assert not within(Window(zone="Europe/Nowhere"), NOW)
    assert not within(Window(zone=""), NOW)


def test_nobody_can_give_what_is_not_theirs() -> None:
    """Only what is held everywhere and always counts, as whom it is held."""
    admin = ROLES["admin"].grants
    assert policy.exceeds(admin, [grant for role in ROLES.values() for grant in role.grants]) == ""
    operator = [*ROLES["operator"].grants, Grant(actions=["user.*"], nodes="all")]
    assert policy.exceeds(operator, ROLES["viewer"].grants) == ""
    assert policy.exceeds(operator, [Grant(actions=["run.create"], nodes="@db")]) == ""
    for wanted in (
        admin,
        [Grant(actions=["node.write"], nodes="web1")],
        [Grant(actions=["run.create"], nodes="all", run_as=["root"])],
    ):
        assert "yourself" in policy.exceeds(operator, wanted)
    for held in (
        Grant(actions=["*"], nodes="@web"),
        Grant(actions=["*"], nodes="all", most=5),
        Grant(actions=["*"], nodes="all", approval=True),
        Grant(actions=["*"], nodes="all", fresh=True),
        Grant(actions=["*"], nodes="all", during=[Window(days=["mon"])]),
    ):
        assert policy.exceeds([held], [Grant(actions=["run.read"], nodes="@web")])


_GRANTS = st.lists(
    st.builds(
        Grant,
        actions=st.lists(st.sampled_from([*ACTIONS, "run.*", "node.*", "*"]), min_size=1),
        nodes=st.sampled_from(["all", "@web", "db1", "role=db", "not @web"]),
        run_as=st.sampled_from([[], ["root"], ["*"]]),
        most=st.sampled_from([None, 1, 2]),
        approval=st.booleans(),
        fresh=st.booleans(),
    ),
    max_size=4,
)
_REQUESTS = st.builds(
    Request,
    action=st.sampled_from(list(NODES)),
    now=st.just(NOW),
    run_as=st.sampled_from(["", "root"]),
    fresh=st.booleans(),
)


@given(_GRANTS, _GRANTS, _REQUESTS)
def test_more_grants_never_take_away(some: list[Grant], more: list[Grant], ask: Request) -> None:
    """Every node gets exactly one verdict, and a further role only widens it."""
    before, after = decide(some, ask, [WEB, DB]), decide([*some, *more], ask, [WEB, DB])
    for verdict in (before, after):
        sets = [verdict.allowed, verdict.approval, set(verdict.refused)]
        assert sorted(node for one in sets for node in one) == ["ndb", "nweb"]
    assert before.allowed <= after.allowed
    assert set(after.refused) <= set(before.refused)


@given(_GRANTS, _REQUESTS)
def test_the_coarse_gate_never_refuses_what_is_allowed(some: list[Grant], ask: Request) -> None:
    """Whoever may do something somewhere passes the first gate."""
    verdict = decide(some, ask, [WEB, DB])
    if verdict.allowed or verdict.approval:
        assert policy.allows(policy.permissions(some), ask.action)


def test_ten_thousand_nodes_are_decided_together() -> None:
    """One pass over the named nodes, whatever the grants."""
    nodes = [Facts(id=f"n{i}", name=f"web{i}", groups=["web"]) for i in range(10_000)]
    verdict = decide([Grant(actions=["run.create"], nodes="web*5 and @web")], RUN, nodes)
    assert len(verdict.allowed) == 1000


_SCOPES = st.lists(st.sampled_from([*ACTIONS, "run.*", "node.*", "*"]), max_size=3)


@given(_GRANTS, _SCOPES, _REQUESTS)
def test_scopes_only_take_away(some: list[Grant], scopes: list[str], ask: Request) -> None:
    """Within the scopes nothing changes, outside of them nothing is left."""
    left = decide(policy.narrowed(some, scopes), ask, [WEB, DB])
    if policy.allows(scopes, ask.action):
        assert left == decide(some, ask, [WEB, DB])
    else:
        assert set(left.refused) == {"ndb", "nweb"}


@given(_GRANTS, _REQUESTS)
def test_the_reach_is_what_would_be_allowed(some: list[Grant], ask: Request) -> None:
    """A list shows a node exactly if asking for that node alone would be allowed."""
    reach = policy.reach(some, ask)
    for node in (WEB, DB):
        assert reach.covers(node) == (node.id in decide(some, ask, [node]).allowed)


@given(_GRANTS, _GRANTS, _REQUESTS)
def test_who_gives_within_bounds_gives_no_more_than_they_have(
    held: list[Grant], wanted: list[Grant], ask: Request
) -> None:
    """Whatever the receiver may do then, the giver may do as well."""
    if policy.exceeds(held, wanted) == "":
        given_ = decide(wanted, ask, [WEB, DB])
        own = decide(held, ask, [WEB, DB])
        assert given_.allowed <= own.allowed
