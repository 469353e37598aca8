"""The record of a node and the audit are two witnesses; who changes one contradicts the other."""

import json
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from muster.agent import records
from muster.contracts.names import new_id
from tests.system.conftest import Agent, Server


@pytest.fixture
def server(home: Server) -> Server:
    """Give the server of this module."""
    return home


@pytest.fixture
def agent(server: Server) -> Agent:
    """Let a host join that has run something."""
    name = f"witness-{new_id()[-6:]}"
    agent = server.join(name)
    for number in range(3):
        server.over(server.run(["echo", str(number)], name))
    return agent


def _checked(server: Server, agent: Agent) -> tuple[int, dict[str, Any]]:
    name = agent.data_dir.name.removeprefix("agent-")
    said = server.muster("audit", "node", name, "-o", "json")
    assert said.stdout, said.stderr
    return said.returncode, json.loads(said.stdout)


def _changed(agent: Agent, change: Callable[[sqlite3.Connection], Any]) -> None:
    """Change the journal of a stopped agent, as who owns the host can."""
    agent.kill(signal.SIGTERM)
    conn = sqlite3.connect(Path(agent.data_dir) / "journal.db", isolation_level=None)
    change(conn)
    conn.close()
    agent.start()


def test_both_agree(server: Server, agent: Agent) -> None:
    """As many records as commands, and nothing that was not signed."""
    code, told = _checked(server, agent)
    assert (code, told["records"], told["unsigned"], told["unseen"]) == (0, 3, [], [])
    name = agent.data_dir.name.removeprefix("agent-")
    said = server.muster("audit", "node", name)
    assert (said.returncode, "3" in said.stdout) == (0, True)
    logged = server.muster("audit", "ls", "--action", "node.check", "-o", "json").stdout
    assert [one["result"] for one in json.loads(logged)][:2] == ["ok", "ok"]


def test_what_nobody_has_signed_is_found(server: Server, agent: Agent) -> None:
    """A command that was executed behind the server's back, and written down."""
    run = new_id()
    _changed(agent, lambda conn: records.append(conn, run, new_id(), "started"))
    server.online(agent.data_dir.name.removeprefix("agent-"))
    code, told = _checked(server, agent)
    assert (code, [one["run"] for one in told["unsigned"]]) == (1, [run])


def test_a_record_that_is_changed_is_found(server: Server, agent: Agent) -> None:
    """The link of the next one breaks."""
    other = "update records set run = ? where seq = 2"
    _changed(agent, lambda conn: conn.execute(other, (new_id(),)))
    server.online(agent.data_dir.name.removeprefix("agent-"))
    code, told = _checked(server, agent)
    assert (code, told["broken_at"]) == (1, 2)


def test_a_record_that_is_cut_or_written_anew_is_found(server: Server, agent: Agent) -> None:
    """The server remembers how far it went, and what it was bound by."""
    name = agent.data_dir.name.removeprefix("agent-")
    assert _checked(server, agent)[0] == 0
    _changed(agent, lambda conn: conn.execute("delete from records where seq > 1"))
    server.online(name)
    code, told = _checked(server, agent)
    assert (code, "cut" in told["complaint"]) == (1, True)
    assert len(told["unseen"]) == 2

    def anew(conn: sqlite3.Connection) -> None:
        runs = [row[0] for row in conn.execute("select run from runs order by number")]
        conn.execute("delete from records")
        for run in runs:
            records.append(conn, run, new_id(), "started")

    _changed(agent, anew)
    server.online(name)
    code, told = _checked(server, agent)
    assert (code, "another one" in told["complaint"]) == (1, True)


def test_a_node_that_is_away_cannot_be_asked(server: Server, agent: Agent) -> None:
    """Said plainly, and not taken for an answer."""
    agent.kill(signal.SIGTERM)
    name = agent.data_dir.name.removeprefix("agent-")
    said = server.muster("audit", "node", name)
    assert said.returncode != 0
    assert "away" in said.stderr
    agent.start()
