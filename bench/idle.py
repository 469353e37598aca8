"""What an agent and a server cost when nothing happens."""

import time
from collections.abc import Iterator
from pathlib import Path

from bench import fleet
from bench.figures import Figure

SECONDS = 40.0
_TICK = 100


def measure() -> Iterator[Figure]:
    """Yield memory and CPU of an idle agent (its fork server included), and of the server."""
    with fleet.running() as ours:
        ours.join(1)
        time.sleep(15)
        agent = _family(ours.agents[0].pid)
        server = [ours.state["pid"], int((ours.data_dir / "nats/nats.pid").read_text())]
        before = {pid: _cpu(pid) for pid in (*agent, *server)}
        time.sleep(SECONDS)
        used = {pid: (_cpu(pid) - start) / SECONDS * 100 for pid, start in before.items()}
        main = agent[0]
        yield Figure("agent memory, idle", "MiB RSS", _rss(main), goal="<= 50",
                     more={"fork_server": sum(_rss(pid) for pid in agent[1:])})  # fmt: skip
        share = round(sum(used[pid] for pid in agent), 3)
        yield Figure("agent CPU, idle, heartbeat each 10 s", "% of a core", share, goal="<= 0.3")
        yield Figure("server memory: services and broker", "MiB RSS", sum(map(_rss, server)))
        share = round(sum(used[pid] for pid in server), 2)
        yield Figure("server CPU, idle, one node", "% of a core", share)


def _family(pid: int) -> list[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def _rss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def _cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
