"""The command line before the real gateway, with small peers behind it on a real bus."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from muster.cli.context import Context
from muster.contracts import runs as r
from muster.contracts.passkeys import DropPasskey
from muster.contracts.runs import RUN_CHANGED
from muster.kit.bus import Caller, answers
from muster.kit.identity.certificates import create_ca, issue_server
from muster.kit.testing import Broker
from tests.cli.conftest import Muster, Said
from tests.gateway.world import NODE, NOW, RUN, Scheduler, World, view, world


class Runs(Scheduler):
    """A scheduler whose runs have one target."""

    @property
    def target(self) -> r.TargetView:
        """How the target is now."""
        begun = r.TargetView(node=NODE, name="web1", state=r.State.ACCEPTED)
        return self.events[-1].target if self.events else begun

    @property
    def _view(self) -> r.RunView:
        over = NOW if self.target.state.final else None
        return view(targets=[self.target], finished=over, seq=len(self.events))

    @answers(r.CREATE_RUN)
    async def create(self, ask: r.CreateRun, caller: Caller) -> r.RunView:
        """Accept a run."""
        self.note(ask, caller)
        return self._view

    @answers(r.GET_RUN)
    async def get(self, ask: r.GetRun, caller: Caller) -> r.RunView:
        """Get the run."""
        self.note(ask, caller)
        await asyncio.sleep(min(ask.wait, 0.1))
        return self._view

    def happens(self, state: r.State, data: bytes, offset: int) -> r.RunEvent:
        """Let something happen."""
        piece = r.Piece(stream=r.Stream.OUT, offset=offset, data=data)
        target = r.TargetView(node=NODE, name="web1", state=state, stdout=offset + len(data))
        over = NOW if state.final else None
        seq = len(self.events) + 1
        event = r.RunEvent(run=RUN, seq=seq, target=target, pieces=[piece], finished=over)
        self.events.append(event)
        return event


@pytest.fixture(scope="module")
def broker_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Run one broker for these tests."""
    broker = Broker(tmp_path_factory.mktemp("cli"))
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture
async def here(broker_here: Broker, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[World]:
    """Open a gateway."""
    monkeypatch.setattr("tests.gateway.world.Scheduler", Runs)
    async with world(broker_here) as opened:
        yield opened


@pytest.fixture
def tool(here: World, tmp_path: Path) -> Muster:
    """Return a command line with a session of its own."""
    context = tmp_path / "context.json"
    context.write_text(json.dumps({"url": here.url, "token": here.secret(), "ca": None}))
    context.chmod(0o600)
    return Muster(tmp_path)


async def _said(tool: Muster, *line: str) -> Said:
    return await asyncio.to_thread(tool, *line)


async def test_output_goes_all_the_way(here: World, tool: Muster) -> None:
    """Live over the WebSocket: what has happened before, and what happens then."""
    scheduler: Any = here.scheduler
    expected = b""
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        begun = group.create_task(_said(tool, "run", "web1", "--", "x"))
        for number in range(5):
            line = bytes([0xFF, number]) + b"\n"
            event = scheduler.happens(r.State.STARTED, line, len(expected))
            expected += line
            await here.bus.tell(RUN_CHANGED, event, RUN)
            await asyncio.sleep(0.4)
        end = scheduler.happens(r.State.DONE, b"end", len(expected))
        await here.bus.tell(RUN_CHANGED, end, RUN)
    said = begun.result()
    assert (said.code, said.out) == (0, expected + b"end"), said.told
    ask = scheduler.last(r.CreateRun)
    assert (ask.command.argv, ask.targets.selector) == (["x"], "web1")
    assert ask.key
    asked = [one for one, _ in here.asked(r.RunEventsAfter) if one.limit == 200]
    assert len(asked) == 1  # everything else came live


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["whoami"], 0),
        (["node", "ls"], 0),
        (["node", "show", "web1"], 0),
        (["node", "show", "nobody"], 4),
        (["node", "rename", "web1", "web2"], 0),
        (["node", "rename", "web1", "Not A Name"], 2),
        (["node", "tag", "web1", "a=b"], 0),
        (["node", "group", "web1", "db"], 0),
        (["node", "revoke", "web1", "-y"], 0),
        (["node", "token", "--tag", "a=b"], 0),
        (["node", "token", "ls"], 0),
        (["node", "token", "rm", RUN], 0),
        (["runs", "ls", "--active", "--node", "web1"], 0),
        (["runs", "show", RUN[:8]], 0),
        (["runs", "cancel", RUN], 0),
        (["runs", "files", RUN, "web1"], 0),
        (["account", "ls"], 0),
        (["account", "show", "ci"], 0),
        (["account", "new", "ci", "--role", "operator", "--expires", "1d"], 0),
        (["account", "renew", "ci"], 1),
        (["account", "renew", "ci", "--new-key"], 0),
        (["account", "new", "ci", "--creds", "no/where/ci.creds"], 2),
        (["account", "revoke", "ci", "-y"], 0),
        (["account", "set", "li", "--disable"], 0),
        (["audit", "ls"], 0),
        (["audit", "verify"], 0),
        (["factor", "ls"], 0),
        (["factor", "rm", "nobody"], 4),
        (["user", "link", "li", "sub-1"], 0),
        (["user", "unlink", "li"], 0),
    ],
    ids=str,
)
async def test_every_command_speaks_the_api(line: list[str], code: int, tool: Muster) -> None:
    """Nothing that the gateway does not understand, and the other way round."""
    said = await _said(tool, *line)
    assert said.code == code, said.told
    assert "Traceback" not in said.told


async def test_a_passkey_is_removed_by_its_name(here: World, tool: Muster) -> None:
    """With the password, which nobody sees; its name is text, whatever it holds."""
    listed = await _said(tool, "factor", "ls", "-o", "name")
    assert listed.out == b"<phone>\n"
    for wanted in ("<phone>", RUN):
        said = await asyncio.to_thread(
            tool.on_a_terminal, "factor", "rm", wanted, answer=b"a password\n", after=b"assword"
        )
        assert said.code == 0, said.text
        assert "<phone> is gone" in said.text
        assert "a password" not in said.text
        assert here.authority.last(DropPasskey) == DropPasskey(id=RUN, password="a password")  # noqa: S106


async def test_a_file_goes_all_the_way(here: World, tool: Muster) -> None:
    """In parts on the bus, whole on the disk."""
    here.scheduler.content = b"x"
    said = await _said(tool, "runs", "fetch", RUN, "--to", "out")
    assert said.code == 0, said.told
    assert (tool.home / "out" / "web1" / "a" / "b.txt").read_bytes() == b"x"


async def test_tls_is_trusted_by_our_own_authority_alone(
    broker_here: Broker, tmp_path: Path
) -> None:
    """Its file is named beside the context; another authority is told, and nothing is sent."""
    ca = create_ca()
    issued = issue_server(ca, ["127.0.0.1"])
    for name, text in {"s.pem": issued.cert, "s.key": issued.key, "ca.pem": ca.cert}.items():
        (tmp_path / name).write_bytes(text)
    (tmp_path / "other.pem").write_bytes(create_ca().cert)
    tool, path = Muster(tmp_path), tmp_path / "context.json"
    options = {"tls_cert": tmp_path / "s.pem", "tls_key": tmp_path / "s.key"}
    async with world(broker_here, **options) as here:
        for authority, code in (("ca.pem", 0), ("other.pem", 12), (ca.cert.decode(), 0)):
            context = Context(here.url, here.secret(), authority)
            context.save(path)
            said = await _said(tool, "whoami")
            assert said.code == code, said.told
    assert here.url.startswith("https:")


async def test_who_may_not_is_told(here: World, tool: Muster) -> None:
    """Exit code 7."""
    context = json.loads((tool.home / "context.json").read_text())
    context["token"] = here.secret(["node.read"], name="eve")
    (tool.home / "context.json").write_text(json.dumps(context))
    said = await _said(tool, "audit", "ls")
    assert said.code == 7, said.told
    assert "whoami" in said.told
