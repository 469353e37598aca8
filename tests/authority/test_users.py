"""Users: how they come, what others may do to them, and how they go."""

from datetime import timedelta
from typing import Any

import pytest

from muster.contracts.authority import LIST_JOIN_TOKENS
from muster.contracts.base import NOTHING
from muster.contracts.errors import Conflict, Denied, Expired, Malformed, NotFound, Unauthenticated
from muster.contracts.people import (
    ACCEPT,
    CHANGE_USER,
    CREATE_TOKEN,
    CREATE_USER,
    DELETE_USER,
    FIND_USER,
    LIST_CREDENTIALS,
    LIST_USERS,
    MAY,
    RESET_PASSWORD,
    REVOKE_CREDENTIAL,
    RIGHTS_AFTER,
    RIGHTS_CHANGED,
    Accept,
    AskVerdict,
    ChangeUser,
    CreateToken,
    CreateUser,
    FindUser,
    ListCredentials,
    ListUsers,
    ResetPassword,
    RevokeCredential,
    RightsAfter,
    RightsChanged,
)
from muster.contracts.policy import Grant
from tests.authority.conftest import HOME, Stage

PASSWORD = "a password of my own"  # noqa: S105


async def test_an_invitation_lets_one_person_in_once(stage: Stage) -> None:
    """Who has the link chooses the password, and is in; the link is worthless then."""
    invited = await stage.ask(
        CREATE_USER, CreateUser(name="li", roles=["viewer"], full_name="李华")
    )
    assert (await stage.ask(FIND_USER, FindUser(name="li"))).invited
    with pytest.raises(Unauthenticated):
        await stage.login("x", "li")
    for secret in (invited.secret, "mses_" + invited.secret[5:]):
        with pytest.raises(Unauthenticated):
            await stage.exchange(secret)  # an invitation is no session
    accept = Accept(secret=invited.secret, password=PASSWORD, origin=HOME)
    session = await stage.client.ask(ACCEPT, accept, timeout=20)
    assert session.person.roles == ["viewer"]
    with pytest.raises(NotFound, match="used"):
        await stage.client.ask(ACCEPT, accept, timeout=20)
    assert (await stage.login(PASSWORD, "li")).person.name == "li"
    told = [one.action for one in await stage.audit(who="li")]
    assert told == ["login", "login", "user.accept", "login"]


async def test_an_invitation_ends(stage: Stage) -> None:
    """After its time, with its person, and when another one is made."""
    first = await stage.ask(CREATE_USER, CreateUser(name="li", ttl=60))
    second = await stage.ask(RESET_PASSWORD, ResetPassword(name="li"))

    async def accept(secret: str) -> None:
        ask = Accept(secret=secret, password=PASSWORD)
        await stage.client.ask(ACCEPT, ask, timeout=20)

    with pytest.raises(NotFound):
        await accept(first.secret)
    stage.clock.ahead = timedelta(days=1, seconds=1)
    with pytest.raises(Expired):
        await accept(second.secret)
    third = await stage.ask(RESET_PASSWORD, ResetPassword(name="li"))
    await stage.ask(CHANGE_USER, ChangeUser(name="li", disabled=True))
    with pytest.raises(NotFound):
        await accept(third.secret)
    await stage.ask(DELETE_USER, FindUser(name="li"))
    with pytest.raises(NotFound):
        await accept(third.secret)


async def test_a_short_password_is_refused(stage: Stage) -> None:
    """Ten characters at least; the invitation stays good."""
    invited = await stage.ask(CREATE_USER, CreateUser(name="li"))
    short = Accept.model_construct(secret=invited.secret, password="short", origin=HOME)  # noqa: S106
    with pytest.raises(Malformed, match="password"):
        await stage.client.ask(ACCEPT, short)
    await stage.client.ask(ACCEPT, Accept(secret=invited.secret, password=PASSWORD), timeout=20)


async def test_who_is_disabled_is_out_everywhere(stage: Stage) -> None:
    """Sessions, tokens and logins, until enabled again; then sessions are gone, tokens work."""
    session = await stage.user("li", "operator")
    token = await stage.ask(CREATE_TOKEN, CreateToken(name="ci"), session)
    assert (await stage.exchange(token.secret)).person.name == "li"
    changed = await stage.ask(CHANGE_USER, ChangeUser(name="li", disabled=True))
    assert changed.disabled
    for secret in (session, token.secret):
        with pytest.raises(Unauthenticated):
            await stage.exchange(secret)
    with pytest.raises(Unauthenticated):
        await stage.login("the password of li", "li")
    await stage.ask(CHANGE_USER, ChangeUser(name="li", disabled=False))
    await stage.exchange(token.secret)
    await stage.login("the password of li", "li")
    with pytest.raises(Unauthenticated):
        await stage.exchange(session)


async def test_a_name_that_comes_again_inherits_nothing(stage: Stage) -> None:
    """Neither roles nor sessions nor tokens of who had it before."""
    session = await stage.user("li", "operator")
    token = await stage.ask(CREATE_TOKEN, CreateToken(name="ci"), session)
    await stage.ask(DELETE_USER, FindUser(name="li"))
    again = await stage.user("li")
    assert (await stage.exchange(again)).person.permissions == []
    for secret in (session, token.secret):
        with pytest.raises(Unauthenticated):
            await stage.exchange(secret)
    with pytest.raises(Conflict, match="already"):
        await stage.ask(CREATE_USER, CreateUser(name="li"))


async def test_nobody_rises_by_the_rights_to_manage_users(stage: Stage) -> None:
    """They can neither give nor take what is not theirs, nor become who may do more."""
    clerk = Grant(actions=["user.*", "role.write", "node.read"], nodes="all")
    await stage.role("clerk", clerk)
    session = await stage.user("li", "clerk")
    await stage.user("wang", "admin")
    wanted: list[tuple[Any, Any]] = [
        (CREATE_USER, CreateUser(name="evil", roles=["operator"])),
        (CHANGE_USER, ChangeUser(name="li", roles=["clerk", "admin"])),
        (CHANGE_USER, ChangeUser(name="wang", roles=[])),
        (CHANGE_USER, ChangeUser(name="wang", disabled=True)),
        (RESET_PASSWORD, ResetPassword(name="wang")),
        (RESET_PASSWORD, ResetPassword(name="admin")),
        (DELETE_USER, FindUser(name="wang")),
    ]
    for call, ask in wanted:
        with pytest.raises(Denied, match="not theirs"):
            await stage.ask(call, ask, session)
    [other] = (await stage.ask(LIST_CREDENTIALS, ListCredentials(person="wang"), session)).items
    with pytest.raises(Denied, match="not theirs"):
        await stage.ask(REVOKE_CREDENTIAL, RevokeCredential(id=other.id), session)
    await stage.ask(CREATE_USER, CreateUser(name="zhao", roles=["void", "clerk"]), session)


async def test_somebody_may_always_do_everything(stage: Stage) -> None:
    """The last administrator cannot be disabled, degraded or reset; the console's never deleted."""
    last = "leave nobody"
    with pytest.raises(Conflict, match=last):
        await stage.ask(CHANGE_USER, ChangeUser(name="admin", disabled=True))
    with pytest.raises(Conflict, match=last):
        await stage.ask(CHANGE_USER, ChangeUser(name="admin", roles=["operator"]))
    with pytest.raises(Conflict, match=last):
        await stage.ask(RESET_PASSWORD, ResetPassword(name="admin"))
    await stage.ask(CREATE_USER, CreateUser(name="wang", roles=["admin"]))  # has not come yet
    with pytest.raises(Conflict, match=last):
        await stage.ask(CHANGE_USER, ChangeUser(name="admin", disabled=True))
    second = await stage.user("zhao", "admin")
    with pytest.raises(Conflict, match="console"):
        await stage.ask(DELETE_USER, FindUser(name="admin"), second)
    await stage.ask(CHANGE_USER, ChangeUser(name="admin", disabled=True), second)
    with pytest.raises(Unauthenticated):
        await stage.exchange(stage.local)


async def test_a_token_does_less_than_its_person(stage: Stage) -> None:
    """Its scopes bound it, also when the person's rights grow; it makes no further tokens."""
    session = await stage.user("li", "operator")
    ask = CreateToken(name="grafana", scopes=["node.*", "audit.read"], ttl=3600)
    token = await stage.ask(CREATE_TOKEN, ask, session)
    assert (await stage.exchange(token.secret)).person.permissions == ["node.read"]
    with pytest.raises(Denied, match="make tokens"):
        await stage.ask(CREATE_TOKEN, CreateToken(name="more"), token.secret)
    await stage.ask(CHANGE_USER, ChangeUser(name="li", roles=["admin"]))
    allowed = (await stage.exchange(token.secret)).person.permissions
    assert allowed == ["audit.read", "node.read", "node.revoke", "node.write"] + [
        "node.join"
    ] * 0 or set(allowed) == {"audit.read", "node.join", "node.read", "node.revoke", "node.write"}
    stage.clock.ahead = timedelta(seconds=3601)
    with pytest.raises(Unauthenticated):
        await stage.exchange(token.secret)


async def test_sessions_and_tokens_are_listed_and_ended(stage: Stage) -> None:
    """With where they came from; ending one leaves the others."""
    session = await stage.user("li", "viewer")
    other = (await stage.login("the password of li", "li")).secret
    token = await stage.ask(CREATE_TOKEN, CreateToken(name="ci", scopes=["run.read"]), session)
    mine = (await stage.ask(LIST_CREDENTIALS, ListCredentials(), session)).items
    assert [(one.kind, one.name, one.current) for one in mine] == [
        ("token", "ci", False), ("session", "", False), ("session", "", True),
    ]  # fmt: skip
    assert {one.address for one in mine if one.kind == "session"} == {HOME.address}
    with pytest.raises(Denied):
        await stage.ask(LIST_CREDENTIALS, ListCredentials(person="admin"), session)
    await stage.ask(REVOKE_CREDENTIAL, RevokeCredential(id=mine[1].id), session)
    with pytest.raises(Unauthenticated):
        await stage.exchange(other)
    await stage.exchange(token.secret)
    theirs = (await stage.ask(LIST_CREDENTIALS, ListCredentials(person="li"))).items
    for one in theirs:
        await stage.ask(REVOKE_CREDENTIAL, RevokeCredential(id=one.id))
    for secret in (session, token.secret):
        with pytest.raises(Unauthenticated):
            await stage.exchange(secret)
    with pytest.raises(NotFound):
        await stage.ask(REVOKE_CREDENTIAL, RevokeCredential(id=theirs[0].id))


async def test_people_are_found_page_by_page(stage: Stage) -> None:
    """By name, by a part of the full name, whatever letters it has."""
    for number in range(7):
        await stage.ask(CREATE_USER, CreateUser(name=f"u{number}", full_name=f"Nr {number} 100%"))
    names, cursor = [], ""
    while True:
        page = await stage.ask(LIST_USERS, ListUsers(limit=3, cursor=cursor))
        names += [one.name for one in page.items]
        cursor = page.next
        if not cursor:
            break
    assert names == ["admin", *(f"u{number}" for number in range(7))]
    found = await stage.ask(LIST_USERS, ListUsers(query="NR 3 100%"))
    assert [one.name for one in found.items] == ["u3"]
    assert (await stage.ask(LIST_USERS, ListUsers(query="_"))).items == []
    with pytest.raises(NotFound):
        await stage.ask(FIND_USER, FindUser(name="nobody"))


async def test_a_change_of_rights_is_told_and_can_be_asked_for(stage: Stage) -> None:
    """Every change has a number; an older ticket shows that it is older."""
    heard: list[RightsChanged] = []

    async def hear(change: RightsChanged, tokens: tuple[str, ...]) -> None:
        del tokens
        heard.append(change)

    async with stage.client.listening(RIGHTS_CHANGED, hear):
        await stage.user("li", "viewer")
        await stage.ask(CHANGE_USER, ChangeUser(name="li", roles=["operator"]))
        await stage.ask(CHANGE_USER, ChangeUser(name="li", roles=[]))
        await stage.client.flush()
    assert [change.names for change in heard] == [["li"], ["li"]]
    assert heard[1].revision == heard[0].revision + 1
    missed = await stage.client.ask(RIGHTS_AFTER, RightsAfter(revision=heard[0].revision))
    assert (missed.names, missed.revision, missed.everyone) == (["li"], heard[1].revision, False)
    nothing = await stage.client.ask(RIGHTS_AFTER, RightsAfter(revision=heard[1].revision))
    assert nothing.names == []
    assert not nothing.everyone


async def test_a_one_time_password_opens_nothing_but_its_own_change(stage: Stage) -> None:
    """No token can be made with it, no question asked."""
    session = (await stage.login(stage.first["password"])).secret
    for call, ask in (
        (CREATE_TOKEN, CreateToken(name="ci")),
        (LIST_CREDENTIALS, ListCredentials()),
        (MAY, AskVerdict(action="run.create")),
        (LIST_JOIN_TOKENS, NOTHING),
    ):
        with pytest.raises(Denied, match="change your password"):
            await stage.ask(call, ask, session)
