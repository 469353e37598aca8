"""The account of external systems: what leads out of it, and who is in it."""

import asyncio
import gc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from muster.contracts.accounts import GET_TICKET
from muster.contracts.base import NODE, SERVICE
from muster.kit import bus
from muster.kit.client import Credentials
from muster.kit.files import write_private
from muster.kit.identity import natsjwt, outside
from muster.kit.identity.nkeys import Key
from muster.kit.identity.world import INNER, World
from muster.kit.testing import Broker

PUSH = "$SYS.REQ.CLAIMS.UPDATE"
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have the sockets of refused attempts collected, which nats-py leaves open."""
    yield
    gc.collect()


def said(token: str) -> Any:
    """Return what an account's JWT says."""
    return natsjwt.claims(token)["nats"]


async def push(broker: Broker, *signers: str) -> None:
    """Let credentials in that these have signed, for the account ``ci``."""
    token = broker.world.current_external_jwt({key: outside.template("ci", []) for key in signers})
    async with broker.connect("authority-sys") as system:
        assert b"200" in await system.request(PUSH, token.encode(), timeout=10)


async def let_in(broker: Broker, token: str, key: Key) -> bool:
    """Whether the broker takes this JWT."""
    try:
        async with (
            asyncio.timeout(1.5),
            bus.connect(broker.url, name="ci", creds=lambda: Credentials(token, key), slowest=0.2),
        ):
            return True
    except TimeoutError:
        return False


def test_only_what_is_for_others_leads_inside() -> None:
    """No call of nodes and services, none about people and their ways in, and no wildcard."""
    needs = {call.needs for call in outside.OUTER if call is not GET_TICKET}
    assert not needs & {NODE, SERVICE, "user.read", "user.write", "role.write", "run.approve"}
    assert not set(outside.OUTER) & set(INNER)
    wild = {one for one in outside.SUBJECTS if "*" in one or ">" in one}
    assert wild == {"muster.in.>", f"{GET_TICKET.subject}.*"}


def test_an_account_of_an_earlier_release_is_brought_up(tmp_path: Path) -> None:
    """The doors are added, and who was revoked stays so."""
    world = World.open(tmp_path / "keys")
    revoked = {Key.generate("U").public: 12345}
    old = {"limits": natsjwt.UNLIMITED, "signing_keys": [], "revocations": revoked}
    name = world.account.public
    write_private(world.account_file, natsjwt.encode("account", name, "M", old, world.operator))
    token = world.current_account_jwt()
    assert said(token)["revocations"] == revoked
    assert said(token)["exports"] == outside.exports()
    assert world.current_account_jwt() == token
    assert world.current_account_jwt({}) != token


def test_who_is_in_it_is_kept(tmp_path: Path) -> None:
    """In a file of its own, so that a restart of the broker forgets nobody and lets nobody in."""
    world = World.open(tmp_path / "keys")
    signer = world.mint_external("ci", Key.generate("U").public, datetime.now(UTC))[1]
    made = world.current_external_jwt({signer: outside.template("ci", ["node.read"])})
    assert world.current_external_jwt() == made
    assert world.external_file.stat().st_mode & 0o777 == 0o600
    [scope] = said(made)["signing_keys"]
    assert scope["key"] == signer
    assert "muster.svc.registry.list" in scope["template"]["pub"]["allow"]
    assert said(world.current_external_jwt({}))["signing_keys"] == []


async def test_a_credential_is_good_only_while_its_signer_is_in(broker: Broker) -> None:
    """Not before it is let in, not after it is taken out, and no other key signs for it."""
    key, until = Key.generate("U"), datetime.now(UTC) + timedelta(hours=1)
    token, signer = broker.world.mint_external("ci", key.public, until)
    assert not await let_in(broker, token, key)
    await push(broker, signer)
    assert await let_in(broker, token, key)
    again, _ = broker.world.mint_external("ci", key.public, until)
    assert not await let_in(broker, again, key)
    assert not await let_in(broker, token, Key.generate("U"))
    await push(broker)
    assert not await let_in(broker, token, key)


async def test_a_credential_cannot_bring_rights_of_its_own(broker: Broker) -> None:
    """Whoever had its signer's key could not ask for more than the account says."""
    signer, key = Key.generate("A"), Key.generate("U")
    await push(broker, signer.public)
    nats: dict[str, Any] = {"issuer_account": broker.world.external.public}
    plain = natsjwt.encode("user", key.public, "ci", nats, signer)
    more = natsjwt.encode("user", key.public, "ci", nats | {"pub": {"allow": [">"]}}, signer)
    assert await let_in(broker, plain, key)
    assert not await let_in(broker, more, key)


async def test_its_credentials_open_no_other_account(broker: Broker) -> None:
    """Neither that of the services nor the broker's own."""
    signer, key = Key.generate("A"), Key.generate("U")
    await push(broker, signer.public)
    for account in (broker.world.account.public, broker.world.system.public):
        token = natsjwt.encode("user", key.public, "ci", {"issuer_account": account}, signer)
        assert not await let_in(broker, token, key)
