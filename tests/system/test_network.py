"""A host of its own: another network namespace, another address, TLS, and a cable to cut."""

import base64
import json
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.conftest import ENV, Agent, Server, until
from tests.system.sites import Site, far, site

__all__ = ["far", "site"]

pytestmark = pytest.mark.timeout(180)


def _token(server: Server) -> list[str]:
    """Return the words that `muster node token` tells to type, behind ``muster agent``."""
    line = server.muster("node", "token").stdout.strip()
    assert line.startswith("muster agent join ")
    return [*line.split()[2:], "--users", "root"]


def _join(site: Site, words: list[str], data_dir: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*site.inside, sys.executable, "-m", "muster.agent", *words, "--data-dir", data_dir],
        env=ENV, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def _tampered(token: str) -> str:
    """Return the token with the fingerprint of another CA."""
    prefix, _, body = token.partition(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    said["f"] = ("0" if said["f"][0] != "0" else "1") + said["f"][1:]
    text = base64.urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode())
    return f"{prefix}.{text.decode().rstrip('=')}"


def test_a_host_in_another_network_joins_and_obeys(far: Server, site: Site, tmp_path: Path) -> None:
    """The printed line is all it takes; the CA is verified first, and the token works once."""
    words = _token(far)
    refused = _join(site, [words[0], _tampered(words[1]), *words[2:]], tmp_path / "deceived")
    assert refused.returncode != 0
    assert "not the one that the token names" in refused.stderr
    assert [token["used"] for token in far.api("GET", "/join-tokens")["items"]] == [None]
    joined = _join(site, words, tmp_path / "node")
    assert joined.returncode == 0, joined.stderr
    again = _join(site, words, tmp_path / "second")
    assert again.returncode != 0
    assert "has been used" in again.stderr
    agent = Agent(tmp_path / "node")
    far.agents.append(agent)
    for path in (agent.data_dir, *agent.data_dir.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    agent.start(*site.inside)
    node = until(lambda: far.api("GET", "/nodes")["items"][0].get("inventory"), 30, "an inventory")
    assert site.there in [one["address"] for one in node["addresses"]]
    name = far.api("GET", "/nodes")["items"][0]["name"]
    shown = far.muster("run", name, "--", shutil.which("ip") or "ip", "-br", "address")
    assert site.there in shown.stdout
    assert site.here not in shown.stdout


def test_a_cut_cable(far: Server, site: Site, tmp_path: Path) -> None:
    """Offline in 15 s; what is run meanwhile waits, and runs once when the host is back."""
    assert _join(site, _token(far), tmp_path / "node").returncode == 0
    agent = Agent(tmp_path / "node")
    far.agents.append(agent)
    agent.start(*site.inside)
    until(lambda: far.api("GET", "/fleet/stats")["online"] == 1, 30, "online")
    name = far.api("GET", "/nodes")["items"][0]["name"]
    ledger = tmp_path / "ledger"
    write = f"echo x >> {ledger}; sync {ledger}; "
    busy = far.run([], name, command={"argv": [], "shell": f"{write}sleep 20; echo end"})
    until(ledger.exists)
    site.cable("down")
    cut = time.monotonic()
    until(lambda: far.node(name)["state"] == "offline", 25, "offline")
    assert time.monotonic() - cut <= 17  # 15 s, and what a busy machine adds
    waits = far.run([], name, command={"argv": [], "shell": write})
    until(lambda: far.target(waits)["state"] == "queued", 10, "queued")
    site.cable("up")
    until(lambda: far.node(name)["state"] == "online", 15, "online again")
    assert far.over(waits, 20)["counts"] == {"done": 1}
    assert far.over(busy, 60)["counts"] == {"done": 1}
    assert far.output(busy, agent.id) == b"end\n"
    assert ledger.read_text() == "x\nx\n"


def _login(
    site: Site, home: Path, server: Server, *words: str
) -> "subprocess.CompletedProcess[str]":
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [*site.inside, sys.executable, "-m", "muster.cli", "login", server.state()["url"],
         "--token-stdin", "--name", "far", *words],
        env={**ENV, "HOME": str(home), "LANG": "C.UTF-8"}, input=server.token,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_person_in_another_network_trusts_the_right_server(
    far: Server, site: Site, tmp_path: Path
) -> None:
    """Its CA is taken by the fingerprint that the server shows, never unseen, never another one."""
    shown = json.loads(far.muster("status", "-o", "json").stdout)["fingerprint"]
    assert len(shown) == 64
    unseen = _login(site, tmp_path / "unseen", far)
    assert (unseen.returncode, "--fingerprint" in unseen.stderr) == (1, True)
    assert shown in unseen.stderr
    wrong = _login(site, tmp_path / "wrong", far, "--fingerprint", "0" * 64)
    assert (wrong.returncode, "in between" in wrong.stderr) == (1, True)
    right = _login(site, tmp_path / "right", far, "--fingerprint", shown)
    assert right.returncode == 0, right.stderr
    listed = subprocess.run(
        [*site.inside, sys.executable, "-m", "muster.cli", "whoami"],
        env={**ENV, "HOME": str(tmp_path / "right"), "LANG": "C.UTF-8"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert listed.stdout == "admin\n"
    for home in ("unseen", "wrong"):
        assert not list((tmp_path / home).rglob("*.json"))
