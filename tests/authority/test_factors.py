"""Second factors: a login needs one, a code is good once, and what is lost is replaced."""

from datetime import timedelta

import pyotp
import pytest

from muster.authority import codes
from muster.contracts.authority import LOGIN, Login, Origin, Session
from muster.contracts.errors import (
    Conflict,
    Denied,
    MusterError,
    SecondFactor,
    TooMany,
    Unauthenticated,
)
from muster.contracts.factors import (
    CONFIRM_FACTOR,
    DROP_FACTOR,
    RENEW_RECOVERY,
    SECOND_STEP,
    SHOW_FACTOR,
    START_FACTOR,
    ConfirmFactor,
    DropFactor,
    SecondStep,
    ShowFactor,
    StartFactor,
)
from muster.contracts.people import (
    ACCEPT,
    CREATE_TOKEN,
    FIND_USER,
    RESET_PASSWORD,
    Accept,
    CreateToken,
    FindUser,
    ResetPassword,
)
from muster.contracts.policy import Grant
from tests.authority.conftest import HOME, Stage
from tests.authority.test_signing import sign

PASSWORD = "the password of li"  # noqa: S105


class App:
    """An authenticator app, with the clock of the stage."""

    def __init__(self, stage: Stage, secret: str) -> None:
        """Scan the QR code."""
        self._stage = stage
        self._totp = pyotp.TOTP(secret)

    def code(self, ahead: int = 0) -> str:
        """Return the code of now, or of *ahead* steps later."""
        return str(self._totp.at(int(self._stage.clock().timestamp()) + 30 * ahead))

    def next(self) -> str:
        """Wait for the next code, and return it."""
        self._stage.clock.ahead += timedelta(seconds=30)
        return self.code()


async def with_factor(stage: Stage, name: str = "li", *roles: str) -> tuple[str, App, list[str]]:
    """Let somebody in who sets up a second factor; return session, app and recovery codes."""
    session = await stage.user(name, *(roles or ("operator",)))
    started = await stage.ask(
        START_FACTOR, StartFactor(password=f"the password of {name}"), session
    )
    assert f"Muster:{name}" in started.uri
    app = App(stage, started.secret)
    done = await stage.ask(CONFIRM_FACTOR, ConfirmFactor(code=app.code()), session)
    return session, app, done.codes


async def login(stage: Stage, code: str = "", password: str = PASSWORD) -> Session:
    """Log in as li."""
    ask = Login(name="li", password=password, code=code, origin=HOME)
    return await stage.client.ask(LOGIN, ask, timeout=20)


async def step(stage: Stage, secret: str, code: str) -> Session:
    """Give the code that a login still lacks."""
    return await stage.client.ask(SECOND_STEP, SecondStep(secret=secret, code=code, origin=HOME))


async def test_a_login_needs_both_factors(stage: Stage) -> None:
    """At once, or in two steps; the first step alone is good for nothing."""
    _, app, _ = await with_factor(stage)
    half = await login(stage)
    assert half.needs_code
    assert half.person.grants == []
    with pytest.raises(Unauthenticated):
        await stage.exchange(half.secret)
    with pytest.raises(SecondFactor):
        await step(stage, half.secret, "000000")
    whole = await step(stage, half.secret, app.next())
    assert not whole.needs_code
    assert (await stage.exchange(whole.secret)).person.second_factor
    with pytest.raises(Unauthenticated):
        await step(stage, half.secret, app.next())
    again = await login(stage, app.next())
    assert (await stage.exchange(again.secret)).person.name == "li"
    with pytest.raises(Unauthenticated):
        await login(stage, app.next(), "a wrong password")
    late = await login(stage)
    stage.clock.ahead += timedelta(minutes=6)
    with pytest.raises(Unauthenticated, match="too long"):
        await step(stage, late.secret, app.code())
    refused = [r.detail for r in await stage.audit(action="login") if r.result == "refused"]
    assert "second factor" in refused


async def test_a_code_is_good_once(stage: Stage) -> None:
    """Neither it nor an older one is taken again; one step of drift is."""
    _, app, _ = await with_factor(stage)
    code = app.next()
    await login(stage, code)
    for old in (code, app.code(-1)):
        with pytest.raises(SecondFactor):
            await login(stage, old)
    await login(stage, app.code(1))
    with pytest.raises(SecondFactor):
        await login(stage, app.code(3))


async def test_codes_cannot_be_tried_through(stage: Stage) -> None:
    """After a few wrong ones it gets slow, in each of the places where one is taken."""
    session, app, _ = await with_factor(stage)
    half = await login(stage)
    for number in range(10):
        try:
            await step(stage, half.secret, f"{number:06}")
        except TooMany:
            break
        except SecondFactor:
            continue
    else:
        pytest.fail("ten wrong codes in a row")
    for number in range(10):
        try:
            await stage.ask(SHOW_FACTOR, ShowFactor(code=f"{number:06}"), session)
        except TooMany:
            break
        except SecondFactor:
            continue
    else:
        pytest.fail("ten wrong codes in a row")
    assert app.code()


async def test_codes_cannot_be_tried_through_from_many_addresses(stage: Stage) -> None:
    """Who has the password and a thousand addresses gets no more tries than with one."""
    await with_factor(stage)
    for number in range(10):
        home = Origin(address=f"192.0.2.{number}")
        ask = Login(name="li", password=PASSWORD, code=f"{number:06}", origin=home)
        try:
            await stage.client.ask(LOGIN, ask, timeout=20)
        except TooMany:
            break
        except SecondFactor:
            continue
    else:
        pytest.fail("ten wrong codes in a row")


async def test_recovery_codes_open_once_each(stage: Stage) -> None:
    """However they are typed; new ones make the old ones worthless."""
    session, app, spare = await with_factor(stage)
    assert len(set(spare)) == codes.RECOVERY
    await login(stage, spare[0].upper().replace("-", " "))
    with pytest.raises(SecondFactor):
        await login(stage, spare[0])
    with pytest.raises(Unauthenticated):
        await stage.exchange(f"li:{codes.bare(spare[1])}")
    fresh = await stage.ask(RENEW_RECOVERY, ShowFactor(code=app.next()), session)
    with pytest.raises(SecondFactor):
        await login(stage, spare[2])
    await login(stage, fresh.codes[2])
    used = [r for r in await stage.audit(action="factor.recovery") if "was used" in r.detail]
    assert len(used) == 2


async def test_other_sessions_end_when_it_is_set_up(stage: Stage) -> None:
    """Who came in without it is out; the one that set it up stays, and is fresh."""
    before = await stage.user("li", "operator")
    other = (await login(stage)).secret
    started = await stage.ask(START_FACTOR, StartFactor(password=PASSWORD), before)
    assert not (await login(stage)).needs_code  # not confirmed yet
    app = App(stage, started.secret)
    with pytest.raises(SecondFactor):
        await stage.ask(CONFIRM_FACTOR, ConfirmFactor(code="123456"), before)
    await stage.ask(CONFIRM_FACTOR, ConfirmFactor(code=app.code()), before)
    with pytest.raises(Unauthenticated):
        await stage.exchange(other)
    assert (await stage.exchange(before)).person.second_factor
    with pytest.raises(Conflict):
        await stage.ask(CONFIRM_FACTOR, ConfirmFactor(code=app.next()), before)


async def test_what_needs_it_fresh_needs_it_fresh(stage: Stage) -> None:
    """A grant may ask for it: right after it was shown, for some minutes, never for a token."""
    await stage.role("careful", Grant(actions=["run.create"], nodes="all", fresh=True))
    session, app, _ = await with_factor(stage, "li", "careful")
    node = await stage.node()
    await sign(stage, [node], session)
    token = await stage.ask(CREATE_TOKEN, CreateToken(name="t", scopes=["*"]), session)
    with pytest.raises(Denied, match="second factor"):
        await sign(stage, [node], token.secret)
    stage.clock.ahead += timedelta(minutes=11)
    with pytest.raises(Denied, match="second factor"):
        await sign(stage, [node], session)
    await stage.ask(SHOW_FACTOR, ShowFactor(code=app.code()), session)
    await sign(stage, [node], session)
    for call, ask in (
        (SHOW_FACTOR, ShowFactor(code=app.next())),
        (DROP_FACTOR, DropFactor(password=PASSWORD, code=app.code())),
        (START_FACTOR, StartFactor(password=PASSWORD)),
    ):
        with pytest.raises(Denied, match="a token has no second factor"):
            await stage.ask(call, ask, token.secret)


async def test_it_is_dropped_with_both_or_by_an_administrator(stage: Stage) -> None:
    """The password alone is not enough, nor a code; who has lost it gets a link."""
    session, app, spare = await with_factor(stage)
    with pytest.raises(Denied, match="password"):
        await stage.ask(DROP_FACTOR, DropFactor(password="wrong", code=app.next()), session)  # noqa: S106
    with pytest.raises(SecondFactor):
        await stage.ask(DROP_FACTOR, DropFactor(password=PASSWORD, code="1"), session)
    await stage.ask(DROP_FACTOR, DropFactor(password=PASSWORD, code=app.next()), session)
    assert not (await login(stage)).needs_code
    assert not (await stage.ask(FIND_USER, FindUser(name="li"))).second_factor
    with pytest.raises(MusterError):
        await login(stage, spare[0], "x")
    await with_factor(stage, "wu")
    invited = await stage.ask(RESET_PASSWORD, ResetPassword(name="wu", factor=True))
    accepted = await stage.client.ask(
        ACCEPT,
        Accept(secret=invited.secret, password="another password"),  # noqa: S106
        timeout=20,
    )
    assert not accepted.person.second_factor


async def test_a_reset_alone_leaves_the_second_factor(stage: Stage) -> None:
    """The link chooses a password; it is no way around the code."""
    await with_factor(stage)
    invited = await stage.ask(RESET_PASSWORD, ResetPassword(name="li"))
    accept = Accept(secret=invited.secret, password="another password")  # noqa: S106
    session = await stage.client.ask(ACCEPT, accept, timeout=20)
    assert session.needs_code
    with pytest.raises(Unauthenticated):
        await stage.exchange(session.secret)


async def test_the_secret_is_not_in_the_database(stage: Stage) -> None:
    """Nor are recovery codes: a copy of it gives nobody a second factor."""
    _, app, spare = await with_factor(stage)
    kept = (stage.broker.data_dir / "authority.db").read_bytes()
    kept += (stage.broker.data_dir / "authority.db-wal").read_bytes()
    assert app._totp.secret.encode() not in kept  # noqa: SLF001
    assert not any(code.encode() in kept or codes.bare(code).encode() in kept for code in spare)
