"""The signing key is replaced while nodes are there, and away; none of them joins again."""

import json
from collections.abc import Callable

from tests.system.conftest import Agent, Server, until


def pinned(agent: Agent) -> list[str]:
    """Return the keys that a node has pinned."""
    found: list[str] = json.loads((agent.data_dir / "identity.json").read_text())["authority_keys"]
    return found


def restarted(server: Server) -> None:
    """Stop and start the server."""
    server.stop()
    server.start()
    for agent in server.agents:
        if agent.process is not None:
            until(lambda: server.api("GET", "/fleet/stats")["online"] >= 1, 30)


def joined(server: Server, name: str) -> Agent:
    """Join an agent that asks for the keys every second."""
    agent = server.join(name, start=False)
    (agent.data_dir / "agent.toml").write_text("[agent]\nrenew = 1\n")
    agent.start()
    server.online(name)
    return agent


def works(server: Server, name: str) -> None:
    """Run something on a node."""
    server.online(name)
    assert server.over(server.run(["true"], name))["targets"][0]["state"] == "done"


def test_a_key_is_replaced_and_no_node_joins_again(make_server: Callable[..., Server]) -> None:
    """With an overlap; who was away for all of it catches up; the audit stays whole."""
    server = make_server()
    server.start()
    here, away = joined(server, "here"), joined(server, "away")
    (old,) = pinned(here)
    works(server, "away")
    away.kill()
    assert server.muster("admin", "key", "prepare").returncode == 0
    restarted(server)
    until(lambda: len(pinned(here)) == 2, 30, "the notice")
    assert pinned(away) == [old]
    refused = server.muster("admin", "key", "switch")
    assert refused.returncode == 1
    assert away.id in refused.stderr
    forced = server.muster("admin", "key", "switch", "--force")
    assert forced.returncode == 0, forced.stderr
    restarted(server)
    works(server, "here")
    assert server.muster("admin", "key", "retire").returncode == 0
    restarted(server)
    until(lambda: len(pinned(here)) == 1 and pinned(here) != [old], 30, "the end of the old key")
    works(server, "here")
    away.start()
    until(lambda: pinned(away) == pinned(here), 30, "the one that was away")
    works(server, "away")
    assert server.muster("audit", "verify").returncode == 0
    steps = [one["action"] for one in server.api("GET", "/audit?action=key.")["items"]]
    assert steps == ["key.retire", "key.switch", "key.prepare"]
