"""Run ``true`` on real agents, everything on, against ssh to as many warm connections."""

from collections.abc import Iterator

from bench import fleet, ssh
from bench.figures import Figure, middle, tail

SIZES = (1, 10, 30)
ROUNDS = 15


def measure() -> Iterator[Figure]:
    """Yield a figure for each size: rounds of ours and of ssh take turns."""
    with fleet.running() as ours, ssh.serving() as theirs:
        names = ours.join(max(SIZES))
        client = ours.connect()
        theirs.open(max(SIZES))
        try:
            for size in SIZES:
                mine, peer = [], []
                client.run(names[:size])
                theirs.run(size)
                for _ in range(ROUNDS):
                    mine.append(client.run(names[:size]))
                    peer.append(theirs.run(size))
                yield Figure(
                    what=f"run true on {size} agents, to the last result",
                    unit="ms",
                    value=middle(mine),
                    peer="warm ssh",
                    peer_value=middle(peer),
                    goal="<= 1 x" if size == 1 else "<= 0.5 x",
                    more={"p90": tail(mine), "best": round(min(mine) * 1000, 2),
                          "ssh_p90": tail(peer)},
                )  # fmt: skip
        finally:
            theirs.close(max(SIZES))
