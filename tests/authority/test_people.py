"""People: who gets in, what for, and until when."""

import asyncio
import re
import stat
import time
from datetime import timedelta

import pytest

from muster.authority.slowing import Slowing
from muster.contracts.authority import (
    CHANGE_PASSWORD,
    LIST_JOIN_TOKENS,
    LOGOUT,
    ChangePassword,
    Exchange,
    Origin,
)
from muster.contracts.base import NOTHING
from muster.contracts.errors import Denied, Malformed, TooMany, Unauthenticated
from muster.contracts.policy import ACTIONS
from tests.authority.conftest import HOME, Stage

NEW = "a long new password"


async def change(stage: Stage, secret: str, old: str, new: str = NEW) -> None:
    """Change the password of whoever has the session *secret*."""
    ticket = (await stage.exchange(secret)).ticket
    await stage.client.ask(CHANGE_PASSWORD, ChangePassword(old=old, new=new), ticket=ticket)


async def test_the_first_password_is_for_the_owner_of_the_server_and_for_once(stage: Stage) -> None:
    """It is in a private file until it is changed, and until then it opens nothing else."""
    file = stage.broker.data_dir / "first-login.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    one_time = stage.first["password"]
    session = await stage.login(one_time)
    assert session.person.must_change_password
    assert session.person.permissions == []
    ticket = (await stage.exchange(session.secret)).ticket
    with pytest.raises(Denied):
        await stage.client.ask(LIST_JOIN_TOKENS, NOTHING, ticket=ticket)
    await change(stage, session.secret, one_time)
    assert not file.exists()
    granted = await stage.exchange(session.secret)
    assert granted.person.permissions == sorted(ACTIONS)
    assert not granted.person.must_change_password
    await stage.client.ask(LIST_JOIN_TOKENS, NOTHING, ticket=granted.ticket)
    with pytest.raises(Unauthenticated):
        await stage.login(one_time)
    await stage.login(NEW)


async def test_a_restart_makes_no_second_administrator(backstage: Stage) -> None:
    """The one-time password and the local token stay what they are."""
    async with backstage.playing() as authority:
        first, token = backstage.first, authority.local_token.read_text()
    async with backstage.playing() as authority:
        assert backstage.first == first
        assert authority.local_token.read_text() == token
        await change(
            backstage, (await backstage.login(first["password"])).secret, first["password"]
        )
        authority.first_login.write_text("left by a crash")
    async with backstage.playing() as authority:
        assert not authority.first_login.exists()


async def test_nobody_is_told_which_names_exist(stage: Stage) -> None:
    """A wrong password and an unknown name get the same answer, after about the same time."""
    texts, times = set(), []
    for name in ("admin", "nobody", "a\0b", "ADMIN", "' OR 1=1 --"):
        begun = time.monotonic()
        with pytest.raises(Unauthenticated) as caught:
            await stage.login("wrong", name)
        texts.add(str(caught.value))
        times.append(time.monotonic() - begun)
    assert len(texts) == 1
    assert min(times[2:]) > 0.01  # a hash was computed for each (the second one may do two)


async def test_each_try_is_on_record(stage: Stage) -> None:
    """With the name that was tried and the address, but never with the password."""
    with pytest.raises(Unauthenticated):
        await stage.login("the wrong word", "bad\x1bname\0")
    await stage.login(stage.first["password"])
    told = [(one.who, one.result, one.address) for one in await stage.audit(action="login")]
    assert told == [("admin", "ok", HOME.address), ("bad\\x1bname\\x00", "refused", HOME.address)]
    assert not any("wrong word" in one.detail for one in await stage.audit())


async def test_guessing_is_slowed_where_it_is_done(stage: Stage) -> None:
    """Thirty guesses at once are not thirty chances; the right person elsewhere gets in."""
    guesses = [stage.login(f"guess {n}") for n in range(30)]
    results = await asyncio.gather(*guesses, return_exceptions=True)
    kinds = [type(result) for result in results]
    assert kinds.count(Unauthenticated) == 5
    assert kinds.count(TooMany) == 25
    with pytest.raises(TooMany, match="wait"):
        await stage.login(stage.first["password"])
    await stage.login(stage.first["password"], origin=Origin(address="192.0.2.8"))


def test_the_wait_grows_and_is_forgotten() -> None:
    """Four tries are free, then 2, 4, … at most 60 seconds; success or an hour clears it."""
    now = [1000.0]
    slowing = Slowing(lambda: now[0])
    for _ in range(5):
        slowing.attempt("li", "::1")
    for expected in (2, 4, 8, 16, 32, 60, 60):
        now[0] += expected - 0.5
        with pytest.raises(TooMany):
            slowing.attempt("li", "::1")
        now[0] += 0.5
        slowing.attempt("li", "::1")
    slowing.attempt("li", "::2")
    slowing.attempt("wang", "::1")
    slowing.succeeded("li", "::1")
    for _ in range(5):
        slowing.attempt("li", "::1")
    now[0] += 3601
    for _ in range(5):
        slowing.attempt("li", "::1")
    with pytest.raises(TooMany):
        slowing.attempt("li", "::1")


async def test_a_session_ends_by_itself(stage: Stage) -> None:
    """After 12 hours without a request, and after 30 days whatever happens."""
    password = stage.first["password"]
    idle, used = await stage.login(password), await stage.login(password)
    assert re.fullmatch(r"mses_[\w-]{43}", idle.secret)
    stage.clock.ahead = timedelta(hours=11)
    await stage.exchange(used.secret)
    stage.clock.ahead = timedelta(hours=13)
    await stage.exchange(used.secret)
    with pytest.raises(Unauthenticated, match="log in again"):
        await stage.exchange(idle.secret)
    for hours in range(24, 30 * 24, 11):
        stage.clock.ahead = timedelta(hours=hours)
        await stage.exchange(used.secret)
    stage.clock.ahead = timedelta(days=30, seconds=1)
    with pytest.raises(Unauthenticated):
        await stage.exchange(used.secret)


async def test_a_ticket_ends_with_its_session(stage: Stage) -> None:
    """It lives five minutes, but never longer than what it was given for."""
    session = await stage.login(stage.first["password"])
    granted = await stage.exchange(session.secret)
    assert timedelta(seconds=299) < granted.expires - stage.clock() <= timedelta(seconds=300)
    for days in (11 / 24, *(n / 2.5 for n in range(2, 75))):
        stage.clock.ahead = timedelta(days=days)
        await stage.exchange(session.secret)
    stage.clock.ahead = timedelta(days=30, seconds=-60)
    assert (await stage.exchange(session.secret)).expires == session.expires


async def test_logging_out_ends_one_session(stage: Stage) -> None:
    """The others go on; doing it twice is no error; a stranger's secret is nobody's."""
    password = stage.first["password"]
    mine, other = await stage.login(password), await stage.login(password)
    for secret in (mine.secret, mine.secret, "mses_unknown", ""):
        await stage.client.ask(LOGOUT, Exchange(secret=secret))
    with pytest.raises(Unauthenticated):
        await stage.exchange(mine.secret)
    await stage.exchange(other.secret)
    assert len(await stage.audit(action="logout")) == 1


async def test_a_new_password_ends_all_other_sessions(stage: Stage) -> None:
    """Whoever knew the old one is out; who changed it stays."""
    password = stage.first["password"]
    mine, other = await stage.login(password), await stage.login(password)
    with pytest.raises(Denied, match="old password"):
        await change(stage, mine.secret, "wrong")
    with pytest.raises(Denied, match="another"):
        await change(stage, mine.secret, password, password)
    with pytest.raises(Malformed):
        await stage.client.ask(
            CHANGE_PASSWORD,
            ChangePassword.model_construct(old=password, new="short"),
            ticket=(await stage.exchange(mine.secret)).ticket,
        )
    await change(stage, mine.secret, password)
    await stage.exchange(mine.secret)
    with pytest.raises(Unauthenticated):
        await stage.exchange(other.secret)
    assert [one.who for one in await stage.audit(action="password.change")] == ["admin"]


async def test_the_local_token_is_for_who_can_read_the_servers_files(stage: Stage) -> None:
    """It opens everything, also before the first login; logging out does not end it."""
    path = stage.broker.data_dir / "keys" / "local.token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = path.read_text()
    assert (await stage.exchange(secret)).person.permissions == sorted(ACTIONS)
    await stage.client.ask(LOGOUT, Exchange(secret=secret))
    stage.clock.ahead = timedelta(days=400)
    await stage.exchange(secret)


async def test_no_secret_is_in_the_database(stage: Stage) -> None:
    """Whoever reads the file can use nothing of it."""
    password = stage.first["password"]
    session = await stage.login(password)
    await change(stage, session.secret, password)
    token = await stage.token()
    await stage.join(token.secret)
    local = (stage.broker.data_dir / "keys" / "local.token").read_text()
    files = list(stage.broker.data_dir.glob("authority.db*"))
    assert files
    stored = b"".join(path.read_bytes() for path in files)
    for secret in (password, NEW, session.secret, token.secret, local):
        assert secret.encode() not in stored
    assert b"$argon2id$" in stored
