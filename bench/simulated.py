"""A thousand and four thousand simulated agents: what the server itself can do."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench import fleet
from bench.figures import Figure, middle, tail
from muster.contracts.authority import JOIN, Join
from muster.contracts.names import new_node_id
from muster.kit import bus
from muster.kit.identity.nkeys import Key

SIZES = {1000: "<= 100 ms", 4000: "<= 400 ms"}
ROUNDS = 7


async def _join(data_dir: Path, url: str, secrets: list[str]) -> list[str]:
    """Let simulated hosts join over the bus, as the gateway does for real ones."""
    creds = data_dir / "creds" / "gateway.creds"
    async with bus.connect(url, name="gateway", creds=creds) as line:
        found = []
        for secret in secrets:
            key = Key.generate("U")
            proof = key.sign((secret + key.public).encode())
            ask = Join(secret=secret, public_key=key.public, hostname=new_node_id(), proof=proof)
            found.append((await line.ask(JOIN, ask)).node)
        return found


def measure() -> Iterator[Figure]:
    """Yield a figure for each size."""
    with fleet.running() as ours:
        client = ours.connect()
        url = f"nats://127.0.0.1:{ours.state['nats_port']}"
        crowd = subprocess.Popen(
            [sys.executable, "-m", "bench.crowd", ours.data_dir, url], stdout=subprocess.PIPE
        )
        try:
            assert crowd.stdout
            crowd.stdout.readline()
            nodes: list[str] = []
            for size, goal in SIZES.items():
                wanted = size - len(nodes)
                secrets = [client.ask("POST", "/join-tokens", {})["secret"] for _ in range(wanted)]
                nodes += asyncio.run(_join(ours.data_dir, url, secrets))
                _settled(client, size)
                client.run(nodes)
                seconds = [client.run(nodes) for _ in range(ROUNDS)]
                yield Figure(
                    what=f"run on {size} simulated agents, last reply",
                    unit="ms",
                    value=middle(seconds),
                    goal=goal,
                    more={"p90": tail(seconds), "best": round(min(seconds) * 1000, 1)},
                )
        finally:
            crowd.terminate()
            crowd.wait(timeout=10)


def _settled(client: fleet.Client, size: int) -> None:
    end = time.monotonic() + 60
    while client.ask("GET", "/fleet/stats")["nodes"] < size:
        if time.monotonic() > end:
            raise TimeoutError("the registry does not know all nodes")
        time.sleep(0.1)
