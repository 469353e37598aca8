"""App passwords: what they are good for, how they end, and how wrong ones are slowed down."""

from datetime import timedelta

import pytest

from muster.contracts.authority import EXCHANGE, LIST_AUDIT, Exchange, Granted, ListAudit, Origin
from muster.contracts.errors import Denied, Malformed, TooMany, Unauthenticated
from muster.contracts.people import (
    CHANGE_USER,
    CREATE_TOKEN,
    DELETE_USER,
    LIST_CREDENTIALS,
    RESET_PASSWORD,
    REVOKE_CREDENTIAL,
    ChangeUser,
    CreateToken,
    FindUser,
    ListCredentials,
    ResetPassword,
    RevokeCredential,
    TokenCreated,
)
from tests.authority.conftest import HOME, Stage

PASSWORD = "the password of li"  # noqa: S105


async def made(stage: Stage, secret: str, *scopes: str, ttl: float = 3600) -> TokenCreated:
    """Make an app password."""
    ask = CreateToken(name="a drive", scopes=list(scopes or ("node.read",)), ttl=ttl, app=True)
    told: TokenCreated = await stage.ask(CREATE_TOKEN, ask, secret)
    return told


async def shown(stage: Stage, name: str, secret: str, origin: Origin = HOME) -> Granted:
    """Come with a name and a password, as the gateway passes them on."""
    return await stage.client.ask(EXCHANGE, Exchange(secret=secret, name=name, origin=origin))


async def test_it_stands_for_its_person_within_its_scopes(stage: Stage) -> None:
    """No more than the scopes, and no more than the person."""
    li = await stage.user("li", "operator")
    told = await made(stage, li, "node.read", "user.write")
    granted = await shown(stage, "li", told.secret)
    assert (granted.person.name, granted.person.permissions) == ("li", ["node.read"])
    with pytest.raises(Denied):
        await stage.client.ask(LIST_AUDIT, ListAudit(), ticket=granted.ticket)


async def test_it_is_good_with_its_name_alone(stage: Stage) -> None:
    """Not as a token, not for another; and no password, session or token is good in its place."""
    li = await stage.user("li", "operator")
    await stage.user("wu", "admin")
    token = await stage.ask(CREATE_TOKEN, CreateToken(name="t", scopes=["node.read"]), li)
    told = await made(stage, li)
    wrong = [("", told.secret), ("wu", told.secret), ("LI", told.secret), ("li", PASSWORD)]
    wrong += [("li", token.secret), ("li", li), ("li", told.secret[:-1]), ("li", told.id)]
    for number, (name, secret) in enumerate(wrong):
        with pytest.raises(Unauthenticated):
            await shown(stage, name, secret, Origin(address=f"192.0.2.{number}"))
    assert (await shown(stage, "li", told.secret)).person.name == "li"


async def test_it_says_what_it_is_for_and_makes_no_others(stage: Stage) -> None:
    """All rights are too much for what has no second factor."""
    li = await stage.user("li", "admin")
    with pytest.raises(Malformed, match="what the app password is for"):
        await made(stage, li, "*")
    told = await made(stage, li, "node.*", "run.*", "user.*")
    ticket = (await shown(stage, "li", told.secret)).ticket
    for app in (True, False):
        ask = CreateToken(name="more", scopes=["node.read"], app=app)
        with pytest.raises(Denied, match="cannot make tokens"):
            await stage.client.ask(CREATE_TOKEN, ask, ticket=ticket)


async def test_only_its_hash_is_kept(stage: Stage) -> None:
    """Who reads the database comes in with nothing of it."""
    told = await made(stage, await stage.user("li", "operator"))
    files = list(stage.broker.data_dir.glob("authority.db*"))
    assert files
    assert not any(told.secret.encode() in path.read_bytes() for path in files)


async def test_it_is_listed_with_its_last_use(stage: Stage) -> None:
    """Beside sessions and tokens, with what it may."""
    li = await stage.user("li", "operator")
    told = await made(stage, li)
    stage.clock.ahead = timedelta(minutes=5)
    await shown(stage, "li", told.secret)
    listed = (await stage.ask(LIST_CREDENTIALS, ListCredentials(), li)).items
    [one] = [found for found in listed if found.kind == "app"]
    assert (one.id, one.name, one.scopes) == (told.id, "a drive", ["node.read"])
    assert one.seen - one.created >= timedelta(minutes=5)


async def test_it_ends_at_once(stage: Stage) -> None:
    """Revoked, expired, or its person disabled, reset or deleted."""
    li = await stage.user("li", "operator")
    told = await made(stage, li)
    await stage.ask(REVOKE_CREDENTIAL, RevokeCredential(id=told.id), li)
    with pytest.raises(Unauthenticated):
        await shown(stage, "li", told.secret)
    told = await made(stage, li)
    await stage.ask(CHANGE_USER, ChangeUser(name="li", disabled=True))
    with pytest.raises(Unauthenticated):
        await shown(stage, "li", told.secret)
    await stage.ask(CHANGE_USER, ChangeUser(name="li", disabled=False))
    assert await shown(stage, "li", told.secret)
    await stage.ask(RESET_PASSWORD, ResetPassword(name="li"))
    with pytest.raises(Unauthenticated):
        await shown(stage, "li", told.secret)
    wu = await stage.user("wu", "operator")
    told = await made(stage, wu, ttl=60)
    stage.clock.ahead = timedelta(seconds=61)
    with pytest.raises(Unauthenticated):
        await shown(stage, "wu", told.secret)
    stage.clock.ahead = timedelta()
    await stage.ask(DELETE_USER, FindUser(name="wu"))
    with pytest.raises(Unauthenticated):
        await shown(stage, "wu", told.secret)


async def test_wrong_ones_are_slowed_down_and_on_record(stage: Stage) -> None:
    """By name and address; neither the person elsewhere nor their login is held up."""
    told = await made(stage, await stage.user("li", "operator"))
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await shown(stage, "li", "mapp_guess")
    with pytest.raises(TooMany):
        await shown(stage, "li", told.secret)
    assert await shown(stage, "li", told.secret, Origin(address="192.0.2.9"))
    assert (await stage.login(PASSWORD, "li")).person.name == "li"
    records = await stage.audit(action="app.")
    assert [(one.who, one.action, one.result) for one in records][:5] == [
        ("li", "app.login", "refused")
    ] * 5
    assert (records[-1].action, records[-1].address) == ("app.create", HOME.address)


async def test_right_ones_are_never_slowed_down(stage: Stage) -> None:
    """A drive asks all day."""
    told = await made(stage, await stage.user("li", "operator"))
    for _ in range(12):
        assert await shown(stage, "li", told.secret)
