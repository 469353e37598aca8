"""Passkeys: both factors at once, good for this server alone, and never twice."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from muster.authority import authenticators
from muster.contracts.authority import LOGIN, Login, Session
from muster.contracts.base import NOTHING
from muster.contracts.devices import (
    APPROVE_DEVICE,
    START_DEVICE,
    TAKE_DEVICE,
    ApproveDevice,
    StartDevice,
    TakeDevice,
)
from muster.contracts.errors import (
    Conflict,
    Denied,
    Expired,
    MusterError,
    NotFound,
    SecondFactor,
    Unauthenticated,
)
from muster.contracts.factors import (
    DROP_FACTOR,
    SECOND_STEP,
    SHOW_FACTOR,
    START_FACTOR,
    DropFactor,
    SecondStep,
    ShowFactor,
    StartFactor,
)
from muster.contracts.names import new_id
from muster.contracts.oidc import WAYS
from muster.contracts.passkeys import (
    ADD_PASSKEY,
    ASK_FOR_MY_PASSKEY,
    ASK_FOR_PASSKEY,
    DROP_PASSKEY,
    LIST_PASSKEYS,
    LOGIN_BY_PASSKEY,
    RENAME_PASSKEY,
    SHOW_PASSKEY,
    START_PASSKEY,
    AddPasskey,
    AskForPasskey,
    DropPasskey,
    LoginByPasskey,
    PasskeyAdded,
    RenamePasskey,
    ShowPasskey,
    StartPasskey,
)
from muster.contracts.people import (
    ACCEPT,
    CHANGE_USER,
    CREATE_TOKEN,
    FIND_USER,
    RESET_PASSWORD,
    Accept,
    ChangeUser,
    CreateToken,
    FindUser,
    ResetPassword,
)
from muster.contracts.policy import Grant
from tests.authority.authenticator import ORIGIN, Authenticator
from tests.authority.conftest import HOME, Stage
from tests.authority.test_factors import with_factor
from tests.authority.test_signing import sign


@pytest.fixture
async def stage(backstage: Stage) -> AsyncIterator[Stage]:
    """The authority of a server that people reach by a name."""
    backstage.settings = backstage.settings.model_copy(update={"public_url": f"{ORIGIN}/"})
    async with backstage.playing():
        yield backstage


async def add(
    stage: Stage, session: str, name: str = "li", key: Authenticator | None = None, **bent: Any
) -> tuple[Authenticator, PasskeyAdded]:
    """Add a passkey; it is called as its person's phone."""
    key = key or Authenticator()
    ask = StartPasskey(password=f"the password of {name}")
    asked = await stage.ask(START_PASSKEY, ask, session)
    made = AddPasskey(name=f"{name}'s phone", response=key.make(asked.options, **bent))
    return key, await stage.ask(ADD_PASSKEY, made, session)


async def with_passkey(
    stage: Stage, name: str = "li", *roles: str
) -> tuple[str, Authenticator, PasskeyAdded]:
    """Let somebody in who adds a passkey."""
    session = await stage.user(name, *(roles or ("operator",)))
    key, added = await add(stage, session, name)
    return session, key, added


async def asked(stage: Stage, half: str = "") -> str:
    """Return what the browser is to ask for at a login."""
    ask = AskForPasskey(half=half, origin=HOME)
    return (await stage.client.ask(ASK_FOR_PASSKEY, ask, timeout=20)).options


async def answer(stage: Stage, response: str, half: str = "") -> Session:
    """Say what the browser says."""
    ask = LoginByPasskey(response=response, half=half, origin=HOME)
    return await stage.client.ask(LOGIN_BY_PASSKEY, ask, timeout=20)


async def login(stage: Stage, key: Authenticator, half: str = "", **bent: Any) -> Session:
    """Log in with a passkey."""
    return await answer(stage, key.show(await asked(stage, half), **bent), half)


async def by_password(stage: Stage, name: str = "li", code: str = "") -> Session:
    """Log in with a password."""
    ask = Login(name=name, password=f"the password of {name}", code=code, origin=HOME)
    return await stage.client.ask(LOGIN, ask, timeout=20)


async def listed(stage: Stage, session: str) -> dict[str, bool]:
    """Return somebody's passkeys, and whether each was used."""
    found = await stage.ask(LIST_PASSKEYS, NOTHING, session)
    return {one.name: one.used is not None for one in found.items}


async def test_another_factor_takes_the_one_that_is_there(stage: Stage) -> None:
    """A session and a password are not enough to add one, or to put one in the other's place."""
    session, app, _ = await with_factor(stage)
    stage.clock.ahead += timedelta(hours=1)
    for call, ask in (
        (START_PASSKEY, StartPasskey(password="the password of li")),  # noqa: S106
        (START_FACTOR, StartFactor(password="the password of li")),  # noqa: S106
    ):
        with pytest.raises(Denied, match="second factor first"):
            await stage.ask(call, ask, session)
    await stage.ask(SHOW_FACTOR, ShowFactor(code=app.code()), session)
    await add(stage, session)


async def test_the_name_of_a_credential_is_letters(stage: Stage) -> None:
    """What no database could hold is refused before it is looked for, and is on record."""
    _, key, _ = await with_passkey(stage)
    said = json.loads(key.show(await asked(stage)))
    with pytest.raises(Denied, match="no passkey"):
        await answer(stage, json.dumps(said | {"id": "\0"}))
    assert (await stage.audit(action="login"))[0].result == "refused"


async def test_a_passkey_is_both_factors(stage: Stage) -> None:
    """No name, no password, no code; the session is fresh, and it is on record."""
    assert (await stage.client.ask(WAYS, NOTHING)).passkeys
    session, key, added = await with_passkey(stage)
    assert (added.passkey.name, len(added.codes)) == ("li's phone", 10)
    assert await listed(stage, session) == {"li's phone": False}
    assert json.loads(await asked(stage))["allowCredentials"] == []
    for _ in range(2):
        whole = await login(stage, key)
        assert (whole.person.name, whole.needs_code) == ("li", False)
        assert (await stage.exchange(whole.secret)).person.second_factor
    assert await listed(stage, session) == {"li's phone": True}
    assert (await stage.audit(action="passkey.add"))[0].detail == "li's phone"
    assert (await stage.audit(action="login"))[0].detail == "passkey li's phone"


async def test_several_passkeys_of_one_person(stage: Stage) -> None:
    """Each opens; recovery codes come with the first; the same one is not added twice."""
    session, key, _ = await with_passkey(stage)
    other, added = await add(stage, session)
    assert added.codes == []
    assert key.handle == other.handle
    assert (await login(stage, key)).person.name == "li"
    assert (await login(stage, other)).person.name == "li"
    with pytest.raises(Conflict, match="already"):
        await add(stage, session, key=key)
    wu = await stage.user("wu", "viewer")
    with pytest.raises(Conflict, match="already"):
        await add(stage, wu, "wu", key=key)
    ask = StartPasskey(password="the password of li")  # noqa: S106
    options = json.loads((await stage.ask(START_PASSKEY, ask, session)).options)
    assert len(options["excludeCredentials"]) == 2
    await stage.ask(RENAME_PASSKEY, RenamePasskey(id=added.passkey.id, name="key"), session)
    assert set(await listed(stage, session)) == {"li's phone", "key"}
    with pytest.raises(NotFound):
        await stage.ask(RENAME_PASSKEY, RenamePasskey(id=added.passkey.id, name="x"), wu)


async def test_after_a_password_it_is_the_second_factor(stage: Stage) -> None:
    """The password alone opens nothing any more; a recovery code does, once."""
    session = await stage.user("li", "operator")
    other = (await by_password(stage)).secret
    key, added = await add(stage, session)
    with pytest.raises(Unauthenticated):
        await stage.exchange(other)
    half = await by_password(stage)
    assert (half.needs_code, half.passkey) == (True, True)
    with pytest.raises(Unauthenticated):
        await stage.exchange(half.secret)
    assert len(json.loads(await asked(stage, half.secret))["allowCredentials"]) == 1
    whole = await login(stage, key, half.secret)
    assert (await stage.exchange(whole.secret)).person.name == "li"
    with pytest.raises(Unauthenticated, match="too long"):
        await login(stage, key, half.secret)
    again = await by_password(stage)
    step = SecondStep(secret=again.secret, code=added.codes[0], origin=HOME)
    assert (await stage.client.ask(SECOND_STEP, step)).secret
    with pytest.raises(SecondFactor):
        await by_password(stage, code="123456")


async def test_the_passkey_of_somebody_else_finishes_no_login(stage: Stage) -> None:
    """Whose password it was is whose passkey it has to be."""
    _, mine, _ = await with_passkey(stage)
    _, theirs, _ = await with_passkey(stage, "wu")
    half = await by_password(stage)
    with pytest.raises(Unauthenticated, match="somebody else"):
        await login(stage, theirs, half.secret)
    other = await by_password(stage, "wu")
    options = await asked(stage, other.secret)
    with pytest.raises(Denied, match="asked of somebody else"):
        await answer(stage, mine.show(options), half.secret)
    with pytest.raises(Denied, match="asked of somebody else"):
        await answer(stage, mine.show(await asked(stage)), half.secret)
    plain = await stage.user("plain", "viewer")
    with pytest.raises(NotFound, match="no passkey"):
        await stage.ask(ASK_FOR_MY_PASSKEY, NOTHING, plain)


async def test_a_challenge_is_good_once(stage: Stage) -> None:
    """For what it was made for, and for five minutes; a made-up one is good for nothing."""
    session, key, _ = await with_passkey(stage)
    response = key.show(await asked(stage))
    await answer(stage, response)
    with pytest.raises(Expired):
        await answer(stage, response)
    mine = (await stage.ask(ASK_FOR_MY_PASSKEY, NOTHING, session)).options
    with pytest.raises(Expired):
        await answer(stage, key.show(mine))
    made_up = json.dumps({"challenge": "AAAA", "userVerification": "required"})
    with pytest.raises(Expired):
        await answer(stage, key.show(made_up))
    late = await asked(stage)
    stage.clock.ahead = timedelta(minutes=6)
    with pytest.raises(Expired, match="begin again"):
        await answer(stage, key.show(late))
    refused = [r for r in await stage.audit(action="login") if r.result == "refused"]
    assert {r.who for r in refused} == {"@stranger"}
    assert "passkey: this has taken too long" in refused[0].detail


BENT: list[tuple[dict[str, Any], str]] = [
    ({"origin": "https://evil.example"}, "origin"),
    ({"origin": "http://localhost:8421"}, "origin"),
    ({"origin": "https://localhost:8420"}, "origin"),
    ({"party": "evil.example"}, "RP ID"),
    ({"flags": 0x01}, "not verified"),
    ({"flags": 0x04}, "not present"),
    ({"signature": b"\x30\x06\x02\x01\x01\x02\x01\x01"}, "signature"),
    ({"signature": b""}, "fit"),
    ({"client": {"type": "webauthn.create"}}, "client data type"),
    ({"client": {"crossOrigin": True}}, "no passkey"),
]


@pytest.mark.parametrize(("bent", "why"), BENT)
async def test_what_was_not_said_here_opens_nothing(
    stage: Stage, bent: dict[str, Any], why: str
) -> None:
    """At another site, for another name, without a finger or a PIN, or signed by somebody else."""
    _, key, _ = await with_passkey(stage)
    with pytest.raises(Denied, match=why):
        await login(stage, key, **bent)
    assert (await stage.audit(action="login"))[0].result == "refused"
    assert (await login(stage, key)).secret


@pytest.mark.parametrize(
    ("bent", "why"),
    [one for one in BENT if not {"signature", "client"} & set(one[0])]
    + [({"client": {"type": "webauthn.get"}}, "client data type")],
)
async def test_what_was_not_made_here_is_not_kept(
    stage: Stage, bent: dict[str, Any], why: str
) -> None:
    """The same when a passkey is added."""
    session = await stage.user("li", "operator")
    with pytest.raises(Denied, match=why):
        await add(stage, session, **bent)
    assert await listed(stage, session) == {}


@pytest.mark.parametrize(
    "response",
    [
        "[]",
        "{}",
        '{"id":1}',
        "[" * 30_000,
        '{"id":"a","response":{"clientDataJSON":"bm8"}}',
        '{"id":"a","response":{"clientDataJSON":"eyJjaGFsbGVuZ2UiOjF9"}}',
        '{"id":"\\ud800","response":{"clientDataJSON":"eyJjaGFsbGVuZ2UiOiJhIn0"}}',
    ],
)
async def test_nonsense_is_refused(stage: Stage, response: str) -> None:
    """Whatever a stranger sends, the answer is no, and not a fault of ours."""
    with pytest.raises(Denied, match="no passkey"):
        await answer(stage, response)


async def test_a_passkey_of_nobody_here_opens_nothing(stage: Stage) -> None:
    """Nor does one that says that it belongs to another of our people."""
    _, key, _ = await with_passkey(stage)
    _, other, _ = await with_passkey(stage, "wu")
    with pytest.raises(Unauthenticated, match="not known here"):
        await login(stage, Authenticator(handle=key.handle))
    with pytest.raises(Unauthenticated):
        await login(stage, key, handle=other.handle)
    with pytest.raises(Unauthenticated):
        await login(stage, key, handle="")
    forged = Authenticator(id=key.id, handle=key.handle)
    with pytest.raises(Denied, match="signature"):
        await login(stage, forged)


async def test_a_copy_of_a_passkey_is_noticed(stage: Stage) -> None:
    """When its count does not go up it is refused, and there is an alert; 0 means no count."""
    session, key, _ = await with_passkey(stage)
    await login(stage, key, uses=5)
    for uses in (5, 4, 0):
        with pytest.raises(Denied, match="a copy of it"):
            await login(stage, key, uses=uses)
    options = (await stage.ask(ASK_FOR_MY_PASSKEY, NOTHING, session)).options
    with pytest.raises(Denied, match="a copy of it"):
        await stage.ask(SHOW_PASSKEY, ShowPasskey(response=key.show(options, uses=5)), session)
    alerts = [r for r in await stage.audit(action="passkey.copy") if r.result == "alert"]
    assert [r.detail for r in alerts][:2] == [
        "li's phone: it says 5 after 5",
        "li's phone: it says 0 after 5",
    ]
    assert {r.who for r in alerts} == {"li"}
    assert (await login(stage, key, uses=6)).secret
    _, silent, _ = await with_passkey(stage, "wu")
    for _ in range(2):
        assert (await login(stage, silent, uses=0)).secret


async def test_a_passkey_makes_a_session_fresh(stage: Stage) -> None:
    """Where a grant asks for the second factor anew: at the login, and whenever it is shown."""
    await stage.role("careful", Grant(actions=["run.create"], nodes="all", fresh=True))
    _, key, _ = await with_passkey(stage, "li", "careful")
    session = (await login(stage, key)).secret
    node = await stage.node()
    await sign(stage, [node], session)
    stage.clock.ahead = timedelta(minutes=11)
    with pytest.raises(Denied, match="second factor"):
        await sign(stage, [node], session)
    options = (await stage.ask(ASK_FOR_MY_PASSKEY, NOTHING, session)).options
    stranger = await with_passkey(stage, "wu")
    with pytest.raises(Denied, match="not a passkey of yours"):
        await stage.ask(SHOW_PASSKEY, ShowPasskey(response=stranger[1].show(options)), session)
    with pytest.raises(Denied, match="second factor"):
        await sign(stage, [node], session)
    options = (await stage.ask(ASK_FOR_MY_PASSKEY, NOTHING, session)).options
    response = ShowPasskey(response=key.show(options))
    with pytest.raises(Denied, match="asked of somebody else"):
        await stage.ask(SHOW_PASSKEY, response, stranger[0])
    options = (await stage.ask(ASK_FOR_MY_PASSKEY, NOTHING, session)).options
    await stage.ask(SHOW_PASSKEY, ShowPasskey(response=key.show(options)), session)
    await sign(stage, [node], session)


async def test_a_session_that_lets_another_in_hands_on_no_more_than_it_has(stage: Stage) -> None:
    """A command line that is let in later is as fresh as the session that said yes, no fresher."""
    await stage.role("careful", Grant(actions=["run.create"], nodes="all", fresh=True))
    _, key, _ = await with_passkey(stage, "li", "careful")
    session, node = (await login(stage, key)).secret, await stage.node()
    stage.clock.ahead = timedelta(minutes=11)
    device = await stage.client.ask(START_DEVICE, StartDevice(name="laptop", origin=HOME))
    await stage.ask(APPROVE_DEVICE, ApproveDevice(code=device.code), session)
    taken = await stage.client.ask(TAKE_DEVICE, TakeDevice(secret=device.secret, origin=HOME))
    assert taken.session
    with pytest.raises(Denied, match="second factor"):
        await sign(stage, [node], taken.session.secret)


async def test_a_removed_passkey_opens_nothing(stage: Stage) -> None:
    """It takes the password and a fresh second factor; with the last one the codes are gone."""
    session, key, added = await with_passkey(stage)
    drop = DropPasskey(id=added.passkey.id, password="the password of li")  # noqa: S106
    wrong = drop.model_copy(update={"password": "wrong"})
    with pytest.raises(Denied, match="password"):
        await stage.ask(DROP_PASSKEY, wrong, session)
    stage.clock.ahead = timedelta(minutes=11)
    with pytest.raises(Denied, match="show your second factor"):
        await stage.ask(DROP_PASSKEY, drop, session)
    wu = await with_passkey(stage, "wu")
    other = drop.model_copy(update={"password": "the password of wu"})
    with pytest.raises(NotFound):
        await stage.ask(DROP_PASSKEY, other, wu[0])
    await stage.ask(SHOW_FACTOR, ShowFactor(code=added.codes[0]), session)
    await stage.ask(DROP_PASSKEY, drop, session)
    with pytest.raises(Unauthenticated, match="not known here"):
        await login(stage, key)
    assert not (await by_password(stage)).needs_code
    assert not (await stage.ask(FIND_USER, FindUser(name="li"))).second_factor
    with pytest.raises(MusterError):
        await stage.ask(SHOW_FACTOR, ShowFactor(code=added.codes[1]), session)


async def test_app_and_passkey_stand_for_themselves(stage: Stage) -> None:
    """Each goes without the other, and the recovery codes go with the last."""
    session, app, spare = await with_factor(stage)
    key, added = await add(stage, session)
    assert added.codes == []
    half = await by_password(stage)
    assert (half.needs_code, half.passkey) == (True, True)
    drop = DropFactor(password="the password of li", code=app.next())  # noqa: S106
    await stage.ask(DROP_FACTOR, drop, session)
    assert (await by_password(stage)).needs_code
    assert (await login(stage, key)).secret
    again = drop.model_copy(update={"code": spare[0]})
    with pytest.raises(NotFound, match="no authenticator app"):
        await stage.ask(DROP_FACTOR, again, session)
    assert (await by_password(stage, code=spare[1])).secret
    assert (await stage.ask(FIND_USER, FindUser(name="li"))).second_factor


async def test_only_who_proves_it_adds_one(stage: Stage) -> None:
    """The password again, in the session that asked; never by a token."""
    session = await stage.user("li", "operator")
    with pytest.raises(Denied, match="password"):
        await stage.ask(START_PASSKEY, StartPasskey(password="wrong"), session)  # noqa: S106
    ask = StartPasskey(password="the password of li")  # noqa: S106
    token = await stage.ask(CREATE_TOKEN, CreateToken(name="t", scopes=["*"]), session)
    with pytest.raises(Denied, match="token"):
        await stage.ask(START_PASSKEY, ask, token.secret)
    options = (await stage.ask(START_PASSKEY, ask, session)).options
    other = (await by_password(stage)).secret
    made = AddPasskey(name="x", response=Authenticator().make(options))
    with pytest.raises(Denied, match="asked of somebody else"):
        await stage.ask(ADD_PASSKEY, made, other)
    with pytest.raises(Expired):
        await stage.ask(ADD_PASSKEY, made, session)
    assert await listed(stage, session) == {}


async def test_who_is_shut_out_stays_out(stage: Stage) -> None:
    """Disabled, or without a password until the new one is chosen; a whole reset takes it."""
    _, key, _ = await with_passkey(stage)
    await stage.ask(CHANGE_USER, ChangeUser(name="li", disabled=True))
    with pytest.raises(Unauthenticated, match="not known here"):
        await login(stage, key)
    await stage.ask(CHANGE_USER, ChangeUser(name="li", disabled=False))
    invited = await stage.ask(RESET_PASSWORD, ResetPassword(name="li"))
    with pytest.raises(Denied, match="second factor"):
        await login(stage, key)
    accept = Accept(secret=invited.secret, password="the password of li")  # noqa: S106
    half = await stage.client.ask(ACCEPT, accept, timeout=20)
    assert (half.needs_code, half.passkey) == (True, True)
    assert (await login(stage, key, half.secret)).secret
    await stage.ask(RESET_PASSWORD, ResetPassword(name="li", factor=True))
    with pytest.raises(Unauthenticated):
        await login(stage, key)


@pytest.mark.parametrize(
    "url", ["", "http://127.0.0.1:8420", "https://[2001:db8::1]:8420", "http://muster.example"]
)
async def test_without_a_name_there_are_no_passkeys(backstage: Stage, url: str) -> None:
    """Browsers bind them to a name and to https; the refusal says what to do."""
    backstage.settings = backstage.settings.model_copy(update={"public_url": url})
    async with backstage.playing():
        assert not (await backstage.client.ask(WAYS, NOTHING)).passkeys
        session = await backstage.user("li", "operator")
        ask = StartPasskey(password="the password of li")  # noqa: S106
        with pytest.raises(Conflict, match="--address NAME|https only"):
            await backstage.ask(START_PASSKEY, ask, session)
        assert (await backstage.ask(LIST_PASSKEYS, NOTHING, session)).trouble
        with pytest.raises(Conflict):
            await asked(backstage)


async def test_the_same_on_postgresql(backstage: Stage, postgres_url: str) -> None:
    """Added, used, a recovery code, removed: another database answers the same."""
    backstage.settings = backstage.settings.model_copy(update={"public_url": ORIGIN})
    backstage.database = f"{postgres_url}&schema=t{new_id()}"
    async with backstage.playing():
        session, key, added = await with_passkey(backstage)
        assert (await login(backstage, key)).secret
        assert (await by_password(backstage, code=added.codes[0])).secret
        drop = DropPasskey(id=added.passkey.id, password="the password of li")  # noqa: S106
        await backstage.ask(DROP_PASSKEY, drop, session)
        assert not (await by_password(backstage)).needs_code


def test_the_origin_is_what_a_browser_says() -> None:
    """The usual port is left out, another one is not."""
    party = authenticators.party_of
    assert party("https://m.example").origin == "https://m.example"
    assert party("https://m.example:443/").origin == "https://m.example"
    assert party("https://M.example:8420").origin == "https://m.example:8420"
    assert party("http://a.localhost:80").origin == "http://a.localhost"
    assert party("https://m.example:8420").id == "m.example"
