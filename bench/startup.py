"""How long people wait: the server's start, and whole processes of the command line."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from bench import fleet, ssh
from bench.figures import Figure, middle

ROUNDS = 10


def _took(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measure() -> Iterator[Figure]:
    """Yield the warm start of `muster up`, ``--version``, and one command as a whole process."""
    with fleet.running():
        pass
    with fleet.running() as ours, ssh.serving() as theirs:
        yield Figure("muster up to usable, warm", "s", ours.state["seconds"], goal="<= 5")
        muster = [sys.executable, "-m", "muster.cli"]
        env = {**fleet.ENV, "MUSTER_DATA_DIR": str(ours.data_dir)}

        def call(*words: str) -> None:
            subprocess.run([*muster, *words], env=env, check=True, capture_output=True)

        floor = [_took(lambda: subprocess.run([sys.executable, "-c", ""], check=True))
                 for _ in range(ROUNDS)]  # fmt: skip
        version = [_took(lambda: call("--version")) for _ in range(ROUNDS)]
        yield Figure("muster --version", "ms", middle(version), "bare python", middle(floor),
                     "<= 100 ms")  # fmt: skip
        (name,) = ours.join(1)
        theirs.open(1)
        mine, peer = [], []
        for _ in range(ROUNDS):
            mine.append(_took(lambda: call("run", name, "--", "true")))
            peer.append(_took(lambda: theirs.run(1)))
        theirs.close(1)
        yield Figure("muster run n1 -- true, whole process", "ms", middle(mine),
                     "warm ssh", middle(peer), "<= 250 ms")  # fmt: skip
