"""Service accounts: what an external system gets, what the broker holds it to, and how it ends."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from nats.errors import Error, NoRespondersError
from nats.js.errors import APIError
from pydantic import ValidationError
from sqlalchemy import Connection

from muster.authority import account_keys, directory, store
from muster.authority.account_keys import MOST
from muster.authority.part import digest
from muster.authority.rescuing import reset
from muster.authority.sessions import kept
from muster.contracts.accounts import (
    CREATE_ACCOUNT,
    FIND_ACCOUNT,
    LIST_ACCOUNTS,
    RENEW_ACCOUNT,
    REVOKE_ACCOUNT,
    Account,
    AccountCredentials,
    AccountName,
    CreateAccount,
    RenewAccount,
)
from muster.contracts.authority import LIST_AUDIT
from muster.contracts.base import NOTHING, Call, Message
from muster.contracts.errors import Conflict, Denied, Malformed, NotFound, Unauthenticated
from muster.contracts.people import (
    CHANGE_USER,
    DELETE_USER,
    FIND_USER,
    LIST_CREDENTIALS,
    LIST_USERS,
    MAY,
    PUT_USER_GROUP,
    RESET_PASSWORD,
    REVOKE_CREDENTIAL,
    ChangeUser,
    FindUser,
    ListCredentials,
    ListUsers,
    ResetPassword,
    RevokeCredential,
    UserGroup,
)
from muster.contracts.policy import Grant
from muster.kit.bus import Raw
from muster.kit.identity.nkeys import Key
from muster.kit.identity.outside import OUTER
from muster.kit.sql import Database, open_database
from tests.authority.conftest import HOME, Clock, Stage
from tests.authority.outside import External, connected, told

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

AUDIT = LIST_AUDIT.subject
NOT_TO_SAY = (
    "muster.in", "muster.in.other.x", "muster.in.ci", "muster.hb.n234567abcdefghij",
    "muster.cmd.n234567abcdefghij.run", "muster.svc.authority.ticket", "_INBOX.x",
    "muster.svc.authority.ticket.other", "muster.svc.authority.exchange", "_INBOX_other.x",
    "muster.svc.authority.login", "muster.svc.authority.user_create", "muster.svc.registry.list",
    "muster.svc.authority.sign",
    "muster.svc.authority.api_token_create", "muster.svc.authority.approve", "muster.fact.x.y",
    "muster.live.authority.rights", "muster.audit.authority.x", "muster.dead.x", "$SRV.PING",
    "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.MSG.GET.IN", "$JS.API.STREAM.PURGE.IN",
    "$JS.API.DIRECT.GET.IN", "$JS.API.CONSUMER.CREATE.IN", "$JS.ACK.IN.x", "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.CLAIMS.UPDATE", "_R_.x", "x",
)  # fmt: skip
NOT_TO_HEAR = (
    ">", "*", "*.>", "muster.>", "muster.in.>", "muster.in.ci.>", "muster.in.ci.x",
    "muster.in.other.>", "muster.cmd.>", "muster.hb.*", "muster.svc.>", "muster.fact.>",
    "muster.svc.authority.ticket.ci", "muster.live.>", "_INBOX.>", "_INBOX_other.>", "_INBOX_ci",
    "_R_.>", "$SYS.>", "$SRV.>", "$JS.>", "$JS.API.>",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have the sockets of refused attempts collected, which nats-py leaves open."""
    yield
    gc.collect()


async def created(
    stage: Stage, name: str = "ci", *roles: str, secret: str = "", **more: Any
) -> tuple[AccountCredentials, Key]:
    """Make a service account, with a key that only its owner has."""
    key = Key.generate("U")
    ask = CreateAccount(name=name, key=key.public, roles=list(roles), **more)
    return await stage.ask(CREATE_ACCOUNT, ask, secret), key


def outside(
    made: tuple[AccountCredentials, Key], **options: Any
) -> AbstractAsyncContextManager[External]:
    """Connect from outside."""
    return connected(*made, **options)


@asynccontextmanager
async def auditor(stage: Stage, name: str = "ci") -> AsyncGenerator[External]:
    """Connect a service account that may read the audit."""
    await stage.role("auditor", Grant(actions=["audit.read"], nodes="all"))
    async with outside(await created(stage, name, "auditor")) as found:
        yield found


async def stored(stage: Stage) -> list[tuple[str, bytes]]:
    """Return all that external systems have told."""
    return await told(stage.broker)


async def find(stage: Stage, name: str = "ci") -> Account:
    """Return how others see it."""
    found: Account = await stage.ask(FIND_ACCOUNT, AccountName(name=name))
    return found


async def test_what_is_acknowledged_is_stored(stage: Stage) -> None:
    """On the broker's disk, under the source's own name, and it survives the broker's death."""
    made = await created(stage)
    async with outside(made) as ci:
        acknowledged = await ci.publish("build.done", b'{"job": 7}')
        assert (acknowledged.stream, acknowledged.seq) == ("IN", 1)
    assert await stored(stage) == [("muster.in.ci.build.done", b'{"job": 7}')]
    await asyncio.to_thread(stage.broker.restart)
    assert await stored(stage) == [("muster.in.ci.build.done", b'{"job": 7}')]
    async with outside(made) as ci:
        assert (await ci.publish("build.done")).seq == 2


async def test_the_broker_lets_it_do_its_own_and_nothing_else(stage: Stage) -> None:
    """Every subject of others, of services, of nodes and of the broker, to say and to hear."""
    await created(stage, "other")
    async with outside(await created(stage)) as ci:
        assert await ci.may_publish("muster.in.ci.x")
        assert await ci.may_publish("muster.svc.authority.ticket.ci")
        assert await ci.may_publish(MAY.subject)
        assert await ci.may_subscribe("_INBOX_ci.>")
        assert [one for one in NOT_TO_SAY if await ci.may_publish(one)] == []
        assert [one for one in NOT_TO_HEAR if await ci.may_subscribe(one)] == []
        asks = {call.subject for call in OUTER if call.needs not in {"self", "@account"}}
        assert [one for one in asks if await ci.may_publish(one)] == []


async def test_its_roles_say_what_it_may_ask(stage: Stage) -> None:
    """Exactly what is granted, of what is open to external systems at all."""
    await created(stage, "ci", "operator")
    by_role = {
        name: set((await find(stage, name)).subjects)
        for name in ("ci", (await created(stage, "boss", "admin"))[0].name)
    }
    own = {"muster.in.ci.>", "muster.svc.authority.ticket.ci"}
    needs = {"node.read", "run.create", "run.read", "self"}
    assert by_role["ci"] - own == {call.subject for call in OUTER if call.needs in needs}
    assert len(by_role["boss"]) == len(OUTER) + 1
    for one in ("user_create", "role_put", "approve", "api_token_create", "account_create"):
        assert f"muster.svc.authority.{one}" not in by_role["boss"]


async def test_a_ticket_is_its_own_and_goes_with_each_question(stage: Stage) -> None:
    """Without one it is nobody; with one it may do what its roles allow, and its name is known."""
    async with auditor(stage) as ci:
        code, _ = await ci.ask(AUDIT, "")
        assert code == "unauthenticated"
        code, page = await ci.ask(AUDIT, await ci.ticket(), limit=1)
        assert (code, len(page["items"])) == ("", 1)
        code, verdict = await ci.ask(MAY.subject, await ci.ticket(), action="user.write")
        assert (code, list(verdict["refused"])) == ("", ["none of your roles allows user.write"])
    assert (await find(stage)).expires


async def test_a_reply_subject_reaches_nothing_else(stage: Stage) -> None:
    """The broker and the services answer where the asker says: there, nobody else listens.

    In one account with the services, the broker's own acknowledgement would arrive as a heartbeat.
    """
    heard: list[Raw] = []

    async def hear(message: Raw) -> None:
        heard.append(message)

    await created(stage, "other")
    before = len(await stored(stage))
    aims = [
        "muster.hb.n234567abcdefghij", "muster.cmd.n234567abcdefghij.run", "muster.in.other.forged",
        "muster.svc.authority.ticket.other", "muster.live.authority.rights", "muster.fact.x.y",
        "muster.audit.authority.x", "_INBOX_gateway.x", "$JS.API.STREAM.PURGE.IN",
        "$SYS.REQ.CLAIMS.UPDATE",
    ]  # fmt: skip
    async with (
        stage.broker.connect("registry") as registry,
        registry.hearing("muster.hb.*", hear),
        registry.hearing("muster.live.authority.rights", hear),
        stage.client.hearing("_INBOX_gateway.x", hear),
        outside(await created(stage)) as ci,
    ):
        heard.clear()
        for aim in aims:
            assert await ci.may_publish("muster.in.ci.x", reply=aim)
            assert await ci.may_publish("muster.svc.authority.ticket.ci", reply=aim)
            assert await ci.may_publish(MAY.subject, reply=aim)
        await ci.ticket()
        await stage.client.flush()
        assert heard == []
    async with asyncio.timeout(10):
        while len(found := await stored(stage)) - before < len(aims):
            await asyncio.sleep(0.05)
    assert {subject for subject, _ in found} == {"muster.in.ci.x"}
    assert len(found) - before == len(aims)


@pytest.mark.parametrize(
    "name", ["*", ">", "", "a.b", "A", "ci.*", "-x", "x" * 64, "ci\n", " ", "é"]
)
async def test_a_hostile_name_is_refused(stage: Stage, name: str) -> None:
    """By the contract, on the bus too, and once more where credentials are made."""

    class Careless(Message):
        name: str
        key: str

    careless = Call(CREATE_ACCOUNT.subject, Careless, AccountCredentials, "user.write")
    with pytest.raises(Malformed, match="name"):
        await stage.ask(careless, Careless(name=name, key=Key.generate("U").public))
    with pytest.raises(ValidationError):
        stage.broker.world.mint_external(name, Key.generate("U").public, stage.clock())


async def test_only_a_genuine_key_of_a_user_is_taken(stage: Stage) -> None:
    """Not one with a typing error, nor one that another account has."""
    key = Key.generate("U").public
    for wrong in (key[:-1] + ("A" if key[-1] != "A" else "B"), "U" + "A" * 55):
        with pytest.raises(Malformed, match="no public key"):
            await stage.ask(CREATE_ACCOUNT, CreateAccount(name="x", key=wrong))
    await stage.ask(CREATE_ACCOUNT, CreateAccount(name="one", key=key))
    with pytest.raises(Conflict, match="one has this key"):
        await stage.ask(CREATE_ACCOUNT, CreateAccount(name="two", key=key))


async def refused(made: tuple[AccountCredentials, Key]) -> bool:
    """Try to connect, once."""
    try:
        async with outside(made, allow_reconnect=False, connect_timeout=2):
            return False
    except Error:
        return True


async def cut(ci: External) -> None:
    """Wait until it has lost its connection, and see that it does not get it back."""
    async with asyncio.timeout(3):
        while ci.client.is_connected:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)  # it tries again meanwhile
    assert not ci.client.is_connected


async def test_its_credentials_end_on_a_live_connection_too(stage: Stage) -> None:
    """When they say; trying again is refused."""
    made = await created(stage, ttl=2)
    async with outside(made) as ci:
        await ci.publish("x")
        async with asyncio.timeout(10):
            await ci.closed.wait()
            while not await refused(made):  # in its last second it is let in, and out again
                await asyncio.sleep(0.1)
    assert (await find(stage)).expires is None


async def test_who_is_revoked_is_out_at_once_and_for_good(stage: Stage) -> None:
    """The live connection is cut before the answer; a restart of the broker changes nothing."""
    made = await created(stage)
    async with outside(await created(stage, "other")) as other:
        async with outside(made) as ci:
            await ci.publish("x")
            assert await stage.ask(REVOKE_ACCOUNT, AccountName(name="ci")) == NOTHING
            await cut(ci)
        assert other.client.is_connected
        assert await refused(made)
        stage.broker.write_config()
        await asyncio.to_thread(stage.broker.restart)
        async with asyncio.timeout(20):
            while not other.client.is_connected:
                await asyncio.sleep(0.02)
    assert await refused(made)
    with pytest.raises(NotFound):
        await stage.ask(REVOKE_ACCOUNT, AccountName(name="ci"))


async def test_a_broker_that_was_away_learns_of_it(stage: Stage) -> None:
    """Revoked while nobody could be told: it is written down, and told at the next connection."""
    made = await created(stage)
    await asyncio.to_thread(stage.broker.kill)
    db = open_database(stage.database, migrations="muster.authority")
    async with db as opened:
        await opened.write(lambda conn: directory.remove(conn, "ci"))
    await asyncio.to_thread(stage.broker.start)  # with the account as it was
    async with asyncio.timeout(30):
        while not await refused(made):
            await asyncio.sleep(0.1)


async def test_another_one_of_the_same_name_is_another_one(stage: Stage) -> None:
    """Old credentials, old tickets, old roles and old messages are not its own."""
    await stage.role("auditor", Grant(actions=["audit.read"], nodes="all"))
    old = await created(stage, "ci", "auditor")
    async with outside(old) as ci:
        await ci.publish("x")
        ticket = await ci.ticket()
    await stage.ask(REVOKE_ACCOUNT, AccountName(name="ci"))
    assert await stored(stage) == []
    new = await created(stage)
    assert await refused(old)
    async with outside(new) as ci:
        assert not await ci.may_publish(AUDIT)
        question = {"action": "audit.read"}
        assert (await ci.ask(MAY.subject, ticket, **question))[0] == "unauthenticated"
        _, verdict = await ci.ask(MAY.subject, await ci.ticket(), **question)
        assert verdict["refused"]
        await stage.ask(RENEW_ACCOUNT, RenewAccount(name="ci", key=old[1].public))
    assert await refused(old)  # not even with its key again: the signature is of then


async def test_disabled_is_out_and_enabled_is_in_again(stage: Stage) -> None:
    """At once, with the very same credentials, and as for people."""
    made = await created(stage)
    async with outside(made) as ci:
        await stage.ask(CHANGE_USER, ChangeUser(name="ci", disabled=True))
        await cut(ci)
        found = await find(stage)
        assert (found.disabled, found.subjects) == (True, [])
        await stage.ask(CHANGE_USER, ChangeUser(name="ci", disabled=False))
    async with outside(made) as ci:
        await ci.publish("x")
        await ci.ticket()


async def test_a_change_of_rights_is_with_the_broker_at_once(stage: Stage) -> None:
    """Given and taken by account, by role and by group, without other credentials."""

    async def held() -> bool:
        await ci.anew()
        return await ci.may_publish(AUDIT)

    reads = Grant(actions=["audit.read"], nodes="all")
    made = await stage.role("auditor", reads)
    await stage.ask(PUT_USER_GROUP, UserGroup(name="robots"))
    async with outside(await created(stage, "ci", groups=["robots"])) as ci:
        assert not await ci.may_publish(AUDIT)
        await stage.ask(CHANGE_USER, ChangeUser(name="ci", roles=["auditor"]))
        assert await held()
        ticket = await ci.ticket()
        await stage.role("auditor", Grant(actions=["node.read"], nodes="all"), version=made.version)
        assert not await held()
        _, verdict = await ci.ask(MAY.subject, ticket, action="audit.read")
        assert verdict["refused"]
        await stage.role("auditor2", reads)
        await stage.ask(PUT_USER_GROUP, UserGroup(name="robots", roles=["auditor2"]))
        assert await held()
        await stage.ask(PUT_USER_GROUP, UserGroup(name="robots"))
        assert not await held()


async def test_renewed_in_time_nothing_is_cut(stage: Stage) -> None:
    """The old credentials of the same key end when they say; those of another key at once."""
    made = await created(stage, ttl=600)
    async with outside(made) as ci:
        fresh = await stage.ask(RENEW_ACCOUNT, RenewAccount(name="ci", ttl=3600))
        assert fresh.expires > made[0].expires
        await ci.publish("x")
        async with outside((fresh, made[1])) as again:
            await again.publish("x")
            other = Key.generate("U")
            renew = RenewAccount(name="ci", key=other.public)
            newest = await stage.ask(RENEW_ACCOUNT, renew)
            await cut(ci)
            await cut(again)
    async with outside((newest, other)) as ci:
        await ci.publish("x")
    assert (await find(stage)).key == other.public


async def test_of_renewals_two_are_good(stage: Stage) -> None:
    """The newest and the one before it: what was left lying about is worthless."""
    made = await created(stage)
    second = await stage.ask(RENEW_ACCOUNT, RenewAccount(name="ci"))
    third = await stage.ask(RENEW_ACCOUNT, RenewAccount(name="ci"))
    assert await refused(made)
    for one in (second, third):
        async with outside((one, made[1])) as ci:
            await ci.publish("x")


async def test_after_its_end_a_key_has_to_be_sent(stage: Stage) -> None:
    """Nobody knows the old one any more."""
    await created(stage, ttl=0.05)
    await asyncio.sleep(0.1)
    with pytest.raises(Conflict, match="send a public key"):
        await stage.ask(RENEW_ACCOUNT, RenewAccount(name="ci"))


async def test_nobody_gives_it_what_is_not_theirs(stage: Stage) -> None:
    """Who may manage people makes accounts, but none that may do more, nor touches such."""
    await stage.role("personnel", Grant(actions=["user.*"], nodes="all"))
    secret = await stage.user("li", "personnel")
    viewer = await stage.user("wu", "viewer")
    await created(stage, "boss", "admin")
    await created(stage, "plain", secret=secret)
    with pytest.raises(Denied, match="not theirs"):
        await created(stage, "ci", "admin", secret=secret)
    asks: list[tuple[Call[Any, Any], Message]] = [
        (REVOKE_ACCOUNT, AccountName(name="boss")),
        (RENEW_ACCOUNT, RenewAccount(name="boss", key=Key.generate("U").public)),
        (CHANGE_USER, ChangeUser(name="boss", disabled=True)),
    ]
    for call, ask in asks:
        with pytest.raises(Denied, match="not theirs"):
            await stage.ask(call, ask, secret)
    for call in (CREATE_ACCOUNT, RENEW_ACCOUNT, REVOKE_ACCOUNT, LIST_ACCOUNTS, FIND_ACCOUNT):
        question = call.ask.model_validate({"name": "x", "key": Key.generate("U").public})
        with pytest.raises(Denied, match="may not user"):
            await stage.ask(call, question, viewer)


async def test_it_is_a_user_without_a_way_in_for_people(stage: Stage) -> None:
    """It is listed among users, but nobody logs in as it, invites it, or makes it a person."""
    made, key = await created(stage, "ci", "viewer", note="the build server")
    user = await stage.ask(FIND_USER, FindUser(name="ci"))
    assert (user.account, user.full_name, user.roles) == (True, "the build server", ["viewer"])
    names = {one.name for one in (await stage.ask(LIST_USERS, ListUsers())).items}
    people = {one.name for one in (await stage.ask(LIST_USERS, ListUsers(people=True))).items}
    assert names - people == {"ci"}
    for password in ("x", key.public, made.jwt[:900]):
        with pytest.raises(Unauthenticated):
            await stage.login(password, "ci")
    for secret in (key.public, key.seed, made.jwt[:200], digest(key.public)):
        with pytest.raises(Unauthenticated):
            await stage.exchange(secret)
    with pytest.raises(Conflict, match="no password"):
        await stage.ask(RESET_PASSWORD, ResetPassword(name="ci"))
    with pytest.raises(Conflict, match="account revoke ci"):
        await stage.ask(DELETE_USER, FindUser(name="ci"))
    with pytest.raises(NotFound):
        await reset(stage.settings, "ci")
    with pytest.raises(NotFound, match="no service account"):
        await stage.ask(REVOKE_ACCOUNT, AccountName(name="admin"))
    with pytest.raises(Conflict, match="already"):
        await created(stage, "admin")


async def test_its_credentials_are_among_its_ways_in(stage: Stage) -> None:
    """They are listed like a session or a token, and ending them cuts the connection."""
    async with outside(await created(stage)) as ci:
        [one] = (await stage.ask(LIST_CREDENTIALS, ListCredentials(person="ci"))).items
        assert (one.kind, one.person) == ("key", "ci")
        await stage.ask(REVOKE_CREDENTIAL, RevokeCredential(id=one.id))
        await cut(ci)


async def test_everything_is_on_record(stage: Stage) -> None:
    """Who made, renewed, disabled and revoked which account."""
    await created(stage, "ci", "viewer")
    await stage.ask(RENEW_ACCOUNT, RenewAccount(name="ci"))
    await stage.ask(CHANGE_USER, ChangeUser(name="ci", disabled=True))
    await stage.ask(REVOKE_ACCOUNT, AccountName(name="ci"))
    records = (await stage.audit())[:4]
    assert [one.action for one in records] == [
        "account.revoke", "user.change", "account.renew", "account.create",
    ]  # fmt: skip
    assert all(one.who == "admin" and "ci" in one.detail for one in records)


async def test_one_source_hides_nothing_of_another(stage: Stage) -> None:
    """A message id that another one has used is no duplicate a moment later."""
    async with (
        outside(await created(stage)) as ci,
        outside(await created(stage, "other")) as other,
    ):
        await other.publish("x", b"first", **{"Nats-Msg-Id": "build-7"})
        await asyncio.sleep(0.3)
        await ci.publish("done", b"genuine", **{"Nats-Msg-Id": "build-7"})
    assert [body for _, body in await stored(stage)] == [b"first", b"genuine"]


async def test_what_is_too_large_is_refused_by_name(stage: Stage) -> None:
    """Not stored, not acknowledged; the connection stays."""
    async with outside(await created(stage)) as ci:
        with pytest.raises(APIError, match="size"):
            await ci.publish("x", b"x" * (256 * 1024 + 1))
        await ci.publish("x", b"x" * (250 * 1024))


async def test_who_is_not_there_is_told_at_once(stage: Stage) -> None:
    """A service that does not answer is no time-out for an external system either."""
    async with outside(await created(stage, "ci", "viewer")) as ci:
        with pytest.raises(NoRespondersError):
            await ci.ask("muster.svc.registry.list", await ci.ticket())


async def test_a_few_hundred_are_enough(stage: Stage) -> None:
    """More do not fit into what the broker takes at once, and that is said."""

    def fill(conn: Connection) -> None:
        row = {"password": "", "roles": [], "must_change": False, "account": True}
        for number in range(MOST):
            directory.add(conn, row | {"name": f"a{number}", "created": stage.clock()})

    async with open_database(stage.database, migrations="muster.authority") as db:
        await db.write(fill)
    with pytest.raises(Conflict, match="revoke one first"):
        await created(stage)


async def test_the_same_on_both_databases(db: Database) -> None:
    """Accounts, their credentials, and what the broker lets each do."""
    now = Clock()().replace(microsecond=0)

    def fill(conn: Connection) -> None:
        store.begin(conn)
        row = {"password": "", "roles": ["viewer"], "must_change": False, "account": True}
        directory.add(conn, row | {"name": "ci", "created": now})
        for number, hours in enumerate((-1, 1, 2)):
            made, ends = now - timedelta(minutes=9 - number), now + timedelta(hours=hours)
            row = kept(f"s{number}", store.KEY, "ci", made, ends, HOME)
            store.add_secret(conn, row | {"key": "UK", "signer": f"A{number}"})

    await db.write(fill)
    assert set(await db.read(lambda conn: account_keys.templates(conn, now))) == {"A1", "A2"}
    [one] = await db.read(lambda conn: account_keys.accounts(conn, now))
    assert (one.name, one.key, one.expires) == ("ci", "UK", now + timedelta(hours=2))
    assert await db.read(lambda conn: account_keys.holder(conn, "UK", now)) == "ci"
    await db.write(lambda conn: account_keys.make_room(conn, "ci", "UK", now))
    assert set(await db.read(lambda conn: account_keys.templates(conn, now))) == {"A2"}
    touched = await db.write(lambda conn: directory.touched(conn, ["ci"], now))
    assert await db.read(lambda conn: account_keys.concerned(conn, touched))
    await db.write(lambda conn: directory.remove(conn, "ci"))
    assert await db.read(lambda conn: account_keys.templates(conn, now)) == {}
    assert not await db.read(lambda conn: account_keys.concerned(conn, touched))
