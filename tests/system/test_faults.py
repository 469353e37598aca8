"""Killed, cut and revoked in the middle of work: nothing is lost, nothing is done twice.

Each command appends its own line to a ledger and syncs it; at the end the ledger is compared
with what the server says.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from _pytest.outcomes import Failed

from tests.system.conftest import ENV, Agent, Server, until


def write(ledger: Path, text: str) -> str:
    """Return a script that writes *text* into the ledger before it goes on."""
    return f"echo {text} >> {ledger}; sync {ledger}; "


def test_a_killed_agent_does_not_end_its_command(server: Server, tmp_path: Path) -> None:
    """kill -9 of the agent: the command goes on, and the next agent tells its end and output."""
    agent = server.join("one")
    ledger = tmp_path / "ledger"
    run = server.run(
        [], "one", command={"argv": [], "shell": write(ledger, "x") + "sleep 3; echo end"}
    )
    until(ledger.exists)
    agent.kill()
    until(lambda: server.node("one")["state"] == "offline", 3, "offline within a second or so")
    time.sleep(0.5)
    agent.start()
    view = server.over(run)
    assert view["counts"] == {"done": 1}
    assert server.output(run, agent.id) == b"end\n"
    assert ledger.read_text() == "x\n"


def test_a_command_that_ended_while_the_agent_was_dead(server: Server, tmp_path: Path) -> None:
    """Its exit code and output are told when the agent is back."""
    agent = server.join("one")
    ledger = tmp_path / "ledger"
    script = write(ledger, "x") + "sleep 1; echo late; exit 7"
    run = server.run([], "one", command={"argv": [], "shell": script})
    until(ledger.exists)
    agent.kill()
    time.sleep(1.5)
    agent.start()
    target = server.over(run)["targets"][0]
    assert (target["state"], target["exit"]) == ("failed", 7)
    assert server.output(run, agent.id) == b"late\n"
    assert ledger.read_text() == "x\n"


def test_a_command_that_was_killed_with_its_agent_is_interrupted(
    server: Server, tmp_path: Path
) -> None:
    """Agent and command killed together, as by a crash of the host: interrupted, never again."""
    agent = server.join("one")
    ledger = tmp_path / "ledger"
    run = server.run(
        [], "one", command={"argv": [], "shell": write(ledger, "$$ $PPID") + "sleep 60"}
    )
    until(lambda: ledger.exists() and len(ledger.read_text().split()) == 2)
    command, supervisor = map(int, ledger.read_text().split())
    agent.kill()
    for pid in (supervisor, command):
        os.kill(pid, signal.SIGKILL)
    agent.start()
    target = server.over(run)["targets"][0]
    assert target["state"] == "interrupted"
    time.sleep(1)
    assert len(ledger.read_text().splitlines()) == 1


def test_a_killed_broker_in_mid_run(server: Server, tmp_path: Path) -> None:
    """kill -9 of nats-server: the command goes on, its end arrives, it ran once."""
    agent = server.join("one")
    ledger = tmp_path / "ledger"
    run = server.run(
        [], "one", command={"argv": [], "shell": write(ledger, "x") + "sleep 2; echo end"}
    )
    until(ledger.exists)
    os.kill(int((server.data_dir / "nats" / "nats.pid").read_text()), signal.SIGKILL)
    view = server.over(run, 60)
    assert view["counts"] == {"done": 1}
    assert server.output(run, agent.id) == b"end\n"
    assert ledger.read_text() == "x\n"


def test_a_killed_server_in_mid_run(server: Server, tmp_path: Path) -> None:
    """kill -9 of everything but the agent: accepted runs end, once, after the next start."""
    agent = server.join("one")
    ledger = tmp_path / "ledger"
    runs = [
        server.run([], "one", command={"argv": [], "shell": write(ledger, str(n)) + "sleep 1"})
        for n in range(10)
    ]
    assert server.process
    server.process.kill()
    server.process.wait()
    time.sleep(1)
    server.start()
    for run in runs:
        assert server.over(run, 60)["counts"] == {"done": 1}
    assert Counter(ledger.read_text().split()) == Counter(str(n) for n in range(10))
    assert agent.process
    assert agent.process.poll() is None


@pytest.mark.timeout(300)
def test_a_ledger_under_random_kills(make_server: Callable[..., Server], tmp_path: Path) -> None:
    """Agents, scheduler and broker killed at random: every accepted run ends once, none twice."""
    server = make_server("--no-agent", "--no-dashboard", "--processes")
    server.start()
    agents = [server.join("one"), server.join("two")]
    ledger = tmp_path / "ledger"
    ledger.touch()
    dice = random.Random(7)
    runs: dict[str, str] = {}
    for number in range(40):
        name = dice.choice(["one", "two"])
        key = f"{number}-{name}"
        body = {
            "command": {"shell": write(ledger, key) + f"sleep {dice.random():.2f}"},
            "targets": {"names": [name]},
        }
        until(lambda: _accepted(server, body, key, runs), 60, "accepted")  # noqa: B023
        if number % 5 == 4:
            _kill_something(server, agents, dice)
    for agent in agents:
        if agent.process is None:
            agent.start()
    ends = {key: server.over(run, 90)["targets"][0]["state"] for key, run in runs.items()}
    count = Counter(ledger.read_text().split())
    assert set(ends.values()) <= {"done", "interrupted"}, ends
    assert len(runs) == 40
    for key, state in ends.items():
        assert count[key] <= 1, f"{key} ran {count[key]} times"
        assert state != "done" or count[key] == 1


def _accepted(server: Server, body: dict[str, object], key: str, runs: dict[str, str]) -> bool:
    """Try to start a run; an error means unknown, and the same key makes a retry harmless."""
    request = urllib.request.Request(  # noqa: S310
        f"{server.url}/api/v1/runs",
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {server.token}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            runs[key] = json.load(answer)["id"]
    except OSError:
        return False
    return True


def _kill_something(server: Server, agents: list[Agent], dice: random.Random) -> None:
    kind = dice.choice(["agent", "scheduler", "broker", "authority"])
    if kind == "agent":
        agent = dice.choice(agents)
        agent.kill()
        agent.start()
    elif kind == "broker":
        os.kill(int((server.data_dir / "nats" / "nats.pid").read_text()), signal.SIGKILL)
    else:
        assert server.process
        listed = subprocess.run(
            ["pgrep", "-P", str(server.process.pid), "-f", f"muster.{kind}"],
            capture_output=True, text=True, check=False,
        ).stdout.split()  # fmt: skip
        for pid in listed:
            os.kill(int(pid), signal.SIGKILL)


def test_a_join_token_works_once(server: Server, tmp_path: Path) -> None:
    """The second use is refused, and says what to do."""
    line = server.api("POST", "/join-tokens", {})["line"]
    results = [
        subprocess.run(
            [sys.executable, "-m", "muster.agent", "join", line, "--data-dir", tmp_path / f"a{n}"],
            env=ENV, capture_output=True, text=True, timeout=60, check=False,
        )
        for n in range(2)
    ]  # fmt: skip
    assert results[0].returncode == 0, results[0].stderr
    assert results[1].returncode != 0
    assert "muster node token" in results[1].stderr
    assert server.api("GET", "/fleet/stats")["nodes"] == 1


def test_a_revoked_node_is_cut_and_stays_out(server: Server) -> None:
    """At once, and after a restart of the broker; what waits for it is over."""
    agent = server.join("one")
    node = agent.id
    assert server.over(server.run(["true"], "one"))["counts"] == {"done": 1}
    waiting = server.run(["sleep", "60"], "one")
    until(lambda: server.target(waiting)["state"] == "started")
    done = server.muster("node", "revoke", "one", "-y")
    assert done.returncode == 0, done.stderr
    until(lambda: server.over(waiting)["targets"][0]["state"] == "lost", 5)

    def connected() -> bool:
        port = server.state()["monitor_port"]
        url = f"http://127.0.0.1:{port}/connz?auth=1"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return node in json.dumps(json.load(answer))

    until(lambda: not connected(), 3, "cut")
    server.stop()
    server.start()
    time.sleep(3)
    assert not connected()
    assert server.api("GET", "/nodes?state=revoked")["items"][0]["id"] == node


def test_presence_is_quick(server: Server) -> None:
    """kill -9: offline in a second; back: online a second after it has connected."""
    agent = server.join("one")
    server.join("two")
    began = time.monotonic()
    agent.kill()
    until(lambda: server.node("one")["state"] == "offline", 5)
    assert time.monotonic() - began < 2
    agent.start()
    server.online("one", 10)


@pytest.mark.parametrize("victim", ["muster.registry", "nats-server"])
def test_the_picture_is_right_again_after_a_restart(
    make_server: Callable[..., Server], victim: str
) -> None:
    """kill -9 of registry or broker, and of an agent meanwhile: 5 s later all is told as it is."""
    server = make_server("--no-agent", "--no-dashboard", "--processes")
    server.start()
    agents = {name: server.join(name) for name in ("one", "two", "three")}
    parts = psutil.Process(server.state()["pid"]).children(recursive=True)
    next(part for part in parts if victim in " ".join(part.cmdline())).kill()
    agents["two"].kill()
    expected = {"one": "online", "two": "offline", "three": "online"}
    killed = time.monotonic()

    def right() -> bool:
        with suppress(Failed):  # the gateway may not answer in between
            nodes = server.api("GET", "/nodes")["items"]
            return {node["name"]: node["state"] for node in nodes} == expected
        return False

    time.sleep(1)
    until(right, 20, "the right picture")
    assert time.monotonic() - killed < 15  # 5 s, and what a busy machine adds
    for _ in range(10):  # and it stays right
        assert right()
        time.sleep(0.2)


def test_a_queued_target_is_delivered_when_the_node_returns(server: Server, tmp_path: Path) -> None:
    """Sent while the node is away: queued, then done, in the order in which it was asked for."""
    agent = server.join("one")
    agent.kill()
    until(lambda: server.node("one")["state"] == "offline")
    ledger = tmp_path / "ledger"
    runs = [
        server.run([], "one", command={"argv": [], "shell": write(ledger, str(n))})
        for n in range(5)
    ]
    until(lambda: all(server.target(run)["state"] == "queued" for run in runs), 5)
    late = server.run(["true"], "one", expires_in=1)
    assert server.over(late)["counts"] == {"expired": 1}
    agent.start()
    for run in runs:
        assert server.over(run)["counts"] == {"done": 1}
    assert sorted(ledger.read_text().split()) == [str(n) for n in range(5)]


def test_garbage_from_a_node_hurts_nobody(server: Server) -> None:
    """A real node's credentials, 5,000 messages of nonsense: the next command runs."""
    agent = server.join("one")
    other = server.join("evil", start=False)
    script = """
import asyncio, json, sys
from pathlib import Path
from muster.kit.bus import connect
from muster.kit.client import Credentials
from muster.kit.identity.nkeys import Key

async def main(path):
    me = json.loads(Path(path).read_text())
    creds = Credentials(me["jwt"], Key.from_seed(me["seed"]))
    async with connect(me["urls"], name=me["node"], creds=lambda: creds) as bus:
        node = me["node"]
        subjects = [f"muster.hb.{node}"] + [
            f"muster.svc.{one}.{node}" for one in
            ("scheduler.report", "scheduler.sync", "registry.inventory", "authority.renew")]
        for number in range(1000):
            for subject in subjects:
                junk = bytes([number % 256]) * (number % 211)
                await bus.send(subject, junk, reply=f"_INBOX_{node}.x")
        await bus.flush()

asyncio.run(main(sys.argv[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, other.data_dir / "identity.json"],
        env=ENV, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    view = server.over(server.run(["echo", "fine"], "one"))
    assert view["counts"] == {"done": 1}
    assert server.output(view["id"], agent.id) == b"fine\n"
