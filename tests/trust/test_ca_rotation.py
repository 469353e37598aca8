"""The CA is replaced while nodes and people are there, and away; none of them begins anew."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from muster.kit.identity.authorities import newest
from muster.kit.identity.certificates import fingerprint, split
from tests.system.conftest import ENV, Agent, Server, until
from tests.system.sites import far, site

__all__ = ["far", "site"]

pytestmark = pytest.mark.timeout(300)


def pinned(agent: Agent) -> list[str]:
    """Return the fingerprints of the CAs that a node trusts."""
    found = json.loads((agent.data_dir / "identity.json").read_text())["ca"]
    return [fingerprint(pem) for pem in split(found)]


def joined(server: Server, name: str) -> Agent:
    """Join an agent that asks for news every second."""
    agent = server.join(name, start=False)
    (agent.data_dir / "agent.toml").write_text("[agent]\nrenew = 1\n")
    agent.start()
    server.online(name)
    return agent


def works(server: Server, name: str) -> None:
    """Run something on a node."""
    server.online(name)
    assert server.over(server.run(["true"], name))["targets"][0]["state"] == "done"


def ca(server: Server, *words: str) -> "subprocess.CompletedProcess[str]":
    """Do a step of the rotation."""
    return server.muster("admin", "ca", *words)


def stepped(server: Server, *words: str) -> str:
    """Do a step that works."""
    done = ca(server, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def broker_dies(server: Server) -> None:
    """Kill the broker: everybody has to connect anew."""
    pid = int((server.data_dir / "nats" / "nats.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: server.get("/fleet/stats").read() and _pid(server) != pid, 60, "the broker")


def _pid(server: Server) -> int:
    try:
        return int((server.data_dir / "nats" / "nats.pid").read_text())
    except (OSError, ValueError):
        return 0


def cli(home: Path, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run the command line of a person who has logged in from somewhere."""
    return subprocess.run(
        [sys.executable, "-m", "muster.cli", *words],
        env={**ENV, "HOME": str(home), "LANG": "C.UTF-8"}, input=stdin,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def logged_in(server: Server, home: Path) -> Path:
    """Log somebody in, by the fingerprint that the server shows."""
    home.mkdir()
    shown = json.loads(server.muster("status", "-o", "json").stdout)["fingerprint"]
    url = server.state()["url"]
    words = ("login", url, "--token-stdin", "--name", "far", "--fingerprint", shown)
    done = cli(home, *words, stdin=server.token)
    assert done.returncode == 0, done.stderr
    return home


def prepared(server: Server, here: Agent, away: Agent) -> None:
    """Prepare another CA: the node that is there says that it trusts it, the other one cannot."""
    stepped(server, "prepare")
    until(lambda: len(pinned(here)) == 2, 30, "the notice")
    until(lambda: f"  {here.id}" not in stepped(server, "status"), 90, "the word of the node")
    assert f"  {away.id}" in stepped(server, "status")
    refused = ca(server, "switch")
    assert (refused.returncode, away.id in refused.stderr) == (1, True)
    assert here.id not in refused.stderr


def reloads(server: Server) -> int:
    """Return how often the broker has read its file anew."""
    told = (server.data_dir / "nats" / "nats.log").read_text()
    assert "Failed to reload" not in told
    return told.count("Reloaded server configuration")


def switched(server: Server) -> None:
    """Let the next CA issue, although a node is away; wait until the broker shows it."""
    before = reloads(server)
    stepped(server, "switch", "--force")
    until(lambda: reloads(server) > before, 20, "the reload")


def retired(server: Server, here: Agent) -> None:
    """Trust the old CA no longer."""
    old = pinned(here)
    stepped(server, "retire")
    until(lambda: len(pinned(here)) == 1 and pinned(here) != old, 30, "the end of the old CA")
    assert pinned(here) == [newest((server.data_dir / "tls" / "ca.pem").read_text())]


def used(home: Path) -> str:
    """Use the command line; return what it says beside its answer."""
    done = cli(home, "whoami")
    assert done.stdout == "admin\n", done.stderr
    return done.stderr


def follows(home: Path) -> None:
    """Use the command line: it says once that the CA is another one, and goes on."""
    until(lambda: "another CA" in used(home), 15, "the new certificate")
    assert "another CA" not in used(home)


def test_the_ca_is_replaced_twice_and_nobody_begins_anew(far: Server, tmp_path: Path) -> None:
    """No restart, no new join, no new login: for who is there, and who sleeps through a part."""
    here, away = joined(far, "here"), joined(far, "away")
    ids = here.id, away.id
    often, seldom = logged_in(far, tmp_path / "often"), logged_in(far, tmp_path / "seldom")
    line = far.muster("node", "token").stdout.split()[3]
    for turn in range(2):
        away.kill()
        prepared(far, here, away)
        assert cli(often, "whoami").stdout == "admin\n"
        switched(far)
        broker_dies(far)
        works(far, "here")
        follows(often)
        if turn == 0:  # it slept through two steps
            late_join(far, line, tmp_path / "late")
            away.start()
            works(far, "away")
        retired(far, here)
        if turn == 1:  # it slept through all of them
            away.start()
            works(far, "away")
        broker_dies(far)
        works(far, "here")
        until(lambda: pinned(away) == pinned(here), 90, "the same CA")
    assert (here.id, away.id) == ids
    follows(seldom)  # who slept through both rotations
    assert far.muster("audit", "verify").returncode == 0
    steps = [one["action"] for one in far.api("GET", "/audit?action=ca.")["items"]]
    assert steps[::2] == steps[1::2] == ["ca.retire", "ca.switch", "ca.prepare"] * 2


def late_join(server: Server, line: str, data_dir: Path) -> None:
    """Join with a token that was given out under the old CA."""
    done = subprocess.run(
        [sys.executable, "-m", "muster.agent", "join", line, "--data-dir", data_dir],
        env=ENV, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    late = Agent(data_dir)
    server.agents.append(late)
    late.start()
    until(lambda: server.api("GET", "/fleet/stats")["online"] == 2, 30, "the late one")
    late.kill()


def test_another_certificate_is_no_amnesty(far: Server) -> None:
    """The broker reads its file anew: nobody is cut off, and a revoked node stays out."""
    out, here = joined(far, "out"), joined(far, "here")
    far.api("POST", f"/nodes/{out.id}/revoke", {})
    busy = far.run(["sleep", "8"], "here")
    stepped(far, "prepare")
    switched(far)
    out.kill()
    (out.data_dir / "agent.log").unlink()
    out.start()
    until(lambda: "Authorization" in (out.data_dir / "agent.log").read_text(), 30, "a refusal")
    assert far.over(busy)["counts"] == {"done": 1}
    assert "connection lost" not in (here.data_dir / "agent.log").read_text()
    assert "agent_ready" not in (out.data_dir / "agent.log").read_text()
