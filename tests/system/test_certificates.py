"""Hosts of an operator who has a CA of their own: they join without a token."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.papers import HostCa, Paper
from tests.system.conftest import ENV, OWN, Agent, Server, until
from tests.system.sites import far, site

__all__ = ["far", "site"]

pytestmark = pytest.mark.timeout(180)


def join(
    url: str, folder: Path, paper: Paper, *more: str, name: str = "node"
) -> "subprocess.CompletedProcess[str]":
    """Join with a certificate and its key, both in files."""
    folder.mkdir(exist_ok=True)
    cert, key = folder / "host.pem", folder / "host.key"
    cert.write_text(paper.pem)
    key.write_bytes(paper.secret)
    return subprocess.run(
        [sys.executable, "-m", "muster.agent", "join", "--server", url, "--cert", cert,
         "--key", key, "--data-dir", folder / name, "--users", OWN, *more],
        env=ENV, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def trusting(server: Server, ca: HostCa, more: str = "") -> None:
    """Let the server trust a CA, from its next start on."""
    server.data_dir.mkdir(mode=0o700, exist_ok=True)
    path = server.data_dir / "hosts.pem"
    path.write_text(ca.pem)
    (server.data_dir / "muster.toml").write_text(f'[authority]\njoin_ca = "{path}"\n{more}')


def runs(server: Server, folder: Path) -> Agent:
    """Run the agent that has joined, and give it something to do."""
    agent = Agent(folder)
    server.agents.append(agent)
    agent.start()
    until(lambda: server.node(agent.id)["state"] == "online", 30, "online")
    assert server.over(server.run(["true"], server.node(agent.id)["name"]))["counts"] == {"done": 1}
    return agent


def test_a_host_joins_by_its_certificate_and_is_approved(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """The whole way, and again after it was installed anew."""
    server, ca = make_server(), HostCa()
    trusting(server, ca)
    server.start()
    url, paper = server.state()["local_url"], ca.issue("web1.example")
    stranger = join(url, tmp_path / "stranger", HostCa().issue())
    assert (stranger.returncode, "may join here" in stranger.stderr) == (1, True)
    done = join(url, tmp_path / "web1", paper)
    assert done.returncode == 0, done.stderr
    assert "has to approve it" in done.stdout
    node = Agent(tmp_path / "web1" / "node").id
    until(lambda: server.api("GET", "/nodes")["items"], 10, "the node")
    assert server.node(node)["name"].startswith("web1")
    assert server.muster("node", "approve", node).returncode == 0
    first = runs(server, tmp_path / "web1" / "node")
    again = join(url, tmp_path / "web1", paper, name="anew")
    assert (again.returncode, node in again.stderr) == (1, True)
    forced = join(url, tmp_path / "web1", paper, "--force", name="anew")
    assert forced.returncode == 0, forced.stderr
    second = Agent(tmp_path / "web1" / "anew").id
    until(lambda: len(server.api("GET", "/nodes")["items"]) == 2, 10, "the second node")
    assert server.muster("node", "approve", second).returncode == 0
    runs(server, tmp_path / "web1" / "anew")
    log = first.data_dir / "agent.log"
    until(lambda: "Authorization" in log.read_text() or "revoked" in log.read_text(), 20, "the end")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["muster1.x", "--cert", "x"], 2),
        (["--cert", "x"], 2),
        (["--cert", "x", "--server", "https://localhost"], 2),
        (["--cert", "/none", "--key", "/none", "--server", "https://localhost"], 1),
    ],
)
def test_what_is_missing_is_named(words: list[str], code: int, tmp_path: Path) -> None:
    """Before the server is asked."""
    done = subprocess.run(
        [sys.executable, "-m", "muster.agent", "join", *words, "--data-dir", tmp_path / "a"],
        env=ENV, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_the_right_server_is_asked_and_no_other(far: Server, tmp_path: Path) -> None:
    """Over TLS: by its CA, by the fingerprint, or not at all."""
    far.stop()
    ca = HostCa()
    trusting(far, ca, "join_approve = false\n")
    far.start()
    url, bundle = far.state()["url"], far.data_dir / "tls" / "ca.pem"
    shown = far.muster("status", "-o", "json").stdout.split('"fingerprint": "')[1][:64]
    (tmp_path / "other.pem").write_text(HostCa().pem)
    for words in ([], ["--ca", str(tmp_path / "other.pem")], ["--fingerprint", "0" * 64]):
        done = join(url, tmp_path / "deceived", ca.issue(), *words)
        assert done.returncode == 1, done.stdout
        assert "certificate" in done.stderr
    plain = join(url.replace("https", "http"), tmp_path / "deceived", ca.issue())
    assert (plain.returncode, "not encrypted" in plain.stderr) == (1, True)
    by_ca = join(url, tmp_path / "a", ca.issue("a.example"), "--ca", str(bundle))
    assert by_ca.returncode == 0, by_ca.stderr
    by_mark = join(url, tmp_path / "b", ca.issue("b.example"), "--fingerprint", shown)
    assert by_mark.returncode == 0, by_mark.stderr
    for name in ("a", "b"):
        runs(far, tmp_path / name / "node")
