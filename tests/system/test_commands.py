"""Commands on real agents through the whole product: output, ends, files, faults of programs."""

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

import psutil
import pytest

from tests.system.conftest import Server, until


def test_output_and_exit_codes(home: Server) -> None:
    """stdout and stderr apart, byte-exact; exit codes and signals as they are."""
    script = r"printf 'caf\303\251\377\000x'; printf oops >&2; exit 3"
    run = home.run([], "one", "two", command={"argv": [], "shell": script})
    view = home.over(run)
    assert view["counts"] == {"failed": 2}
    for target in view["targets"]:
        assert target["exit"] == 3
        assert home.output(run, target["node"]) == b"caf\xc3\xa9\xff\x00x"
        assert home.output(run, target["node"], "stderr") == b"oops"
    run = home.run(["sh", "-c", "kill -SEGV $$"], "one")
    assert home.over(run)["targets"][0]["signal"] == 11


def test_stdin_cwd_and_environment(home: Server, tmp_path: Path) -> None:
    """A command gets what it was given, and nothing of the agent's own."""
    command = {"argv": [], "shell": "cat; pwd; echo $WHO; env | grep -c MUSTER_AGENT",
               "stdin": "aGVsbG8K", "cwd": str(tmp_path), "env": {"WHO": "li 李"}}  # fmt: skip
    run = home.run([], "one", command=command)
    target = home.over(run)["targets"][0]
    expected = f"hello\n{tmp_path}\nli 李\n0\n"
    assert home.output(run, target["node"]).decode() == expected


def test_what_cannot_be_run_is_said(home: Server) -> None:
    """An unknown program and a missing directory: failed or refused, with the reason."""
    run = home.run(["no-such-program-here"], "one")
    target = home.over(run)["targets"][0]
    assert (target["state"], target["exit"]) == ("failed", 127)
    assert "no-such-program-here" in target["reason"]
    run = home.run(["true"], "one", command={"cwd": "/no/such/dir"})
    target = home.over(run)["targets"][0]
    assert target["state"] in {"failed", "refused"}
    assert "/no/such/dir" in target["reason"]


def test_a_timeout_ends_the_whole_tree(home: Server, tmp_path: Path) -> None:
    """Also what has detached itself: nothing of the command is left."""
    mark = tmp_path / "alive"
    script = f"(setsid sh -c 'while :; do echo x >> {mark}; sleep 0.1; done' &) ; sleep 60"
    run = home.run([], "one", command={"argv": [], "shell": script, "timeout": 1})
    assert home.over(run)["targets"][0]["state"] == "timed_out"
    size = mark.stat().st_size
    time.sleep(0.6)
    assert mark.stat().st_size == size


def test_cancelling_ends_the_whole_tree(home: Server, tmp_path: Path) -> None:
    """On both nodes, within seconds."""
    script = f"sleep 100 & echo $$ >> {tmp_path}/pids; wait"
    run = home.run([], "one", "two", command={"argv": [], "shell": script})
    pids = tmp_path / "pids"
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    home.api("POST", f"/runs/{run}/cancel", {})
    assert home.over(run)["counts"] == {"cancelled": 2}
    for pid in pids.read_text().split():
        assert not Path(f"/proc/{pid}").exists()


def test_live_output_in_the_terminal(home: Server) -> None:
    """`muster run` prints what is produced, when it is produced, and ends as documented."""
    done = home.muster("run", "one", "--shell", "echo out; echo err >&2; exit 2")
    assert done.returncode == 3
    assert done.stdout == "out\n"
    assert "err" in done.stderr
    assert "exit 2" in done.stderr
    both = home.muster("run", "one,two", "-o", "json", "--", "echo", "same")
    found = json.loads(both.stdout)
    assert {target["stdout"] for target in found["targets"]} == {"same\n"}
    assert home.muster("run", "nobody", "--", "true").returncode == 4


def test_output_comes_while_the_command_runs(home: Server) -> None:
    """The first line is there long before the last."""
    run = home.run([], "one", command={"argv": [], "shell": "echo first; sleep 4; echo last"})
    node = home.target(run)["node"]
    until(lambda: home.output(run, node) == b"first\n", 3)
    assert home.target(run)["state"] == "started"
    assert home.over(run)["counts"] == {"done": 1}
    assert home.output(run, node) == b"first\nlast\n"


def test_result_files_are_listed_and_fetched(home: Server, tmp_path: Path) -> None:
    """Three files: two come byte-exact; a link to a secret is not followed."""
    script = (
        'cd "$MUSTER_RESULTS" && mkdir sub && head -c 3000000 /dev/urandom > sub/big && '
        "echo hi > small && ln -s /etc/shadow link && sha256sum sub/big"
    )
    run = home.run([], "one", command={"argv": [], "shell": script})
    node = home.over(run)["targets"][0]["node"]
    files = home.api("GET", f"/runs/{run}/files/{node}")
    assert [one["path"] for one in files["items"]] == ["small", "sub/big"]
    assert {one["path"] for one in files["outputs"]} == {"stdout", "stderr"}
    done = home.muster("runs", "fetch", run, "one", "--to", str(tmp_path / "got"))
    assert done.returncode == 0, done.stderr
    digest = home.output(run, node).split()[0].decode()
    import hashlib  # noqa: PLC0415

    (big,) = (tmp_path / "got").rglob("big")
    assert hashlib.sha256(big.read_bytes()).hexdigest() == digest
    assert not list((tmp_path / "got").rglob("link"))


def test_the_history_is_there_after_a_restart(home: Server) -> None:
    """Runs, output and notes survive the end of the server; the agents come back by themselves."""
    run = home.run(["echo", "remember"], "one", note="before the restart")
    node = home.over(run)["targets"][0]["node"]
    home.stop()
    home.start()
    view = home.api("GET", f"/runs/{run}")
    assert view["note"] == "before the restart"
    assert home.output(run, node) == b"remember\n"
    home.online("one")
    home.online("two")
    assert home.over(home.run(["true"], "one", "two"))["counts"] == {"done": 2}


def _memory(home: Server) -> dict[int, int]:
    """Return the memory in MiB of every process of the server and of its agents, by pid."""
    roots = [home.state()["pid"], *(agent.process.pid for agent in home.agents if agent.process)]
    found = {}
    for root in roots:
        process = psutil.Process(root)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found[one.pid] = one.memory_info().rss >> 20
    return found


@pytest.mark.timeout(240)
def test_large_output_stays_small_in_memory(home: Server) -> None:
    """1 GiB of output: kept as head and tail, whole on the node, and no process grows."""
    size = 1 << 30
    before = _memory(home)
    run = home.run([], "one", command={"argv": [], "shell": f"yes lantern | head -c {size}"})
    highest = before.copy()

    def look() -> None:
        for pid, memory in _memory(home).items():
            highest[pid] = max(highest.get(pid, 0), memory)

    while not (view := home.api("GET", f"/runs/{run}?wait=1"))["finished"]:
        look()
    target = view["targets"][0]
    assert target["stdout"] == size
    kept = home.output(run, target["node"])
    assert 8 << 20 < len(kept) < (8 << 20) + 200  # each stream has half of the 16 MiB
    assert b"bytes" in kept[4 << 20 : (4 << 20) + 200]  # where it was cut, and how much
    assert kept.startswith(b"lantern\n")
    assert kept.endswith(b"lantern\n")
    digest = hashlib.sha256()
    with home.get(f"/runs/{run}/files/{target['node']}/content?output=true&path=stdout") as answer:
        while part := answer.read(1 << 20):
            digest.update(part)
            look()
    expected = hashlib.sha256(b"lantern\n" * (size // 8))
    assert digest.hexdigest() == expected.hexdigest()
    grown = {pid: memory - before.get(pid, 30) for pid, memory in highest.items()}
    assert max(grown.values()) < 64, grown


def test_many_at_once(home: Server) -> None:
    """Sixty runs side by side: each ends once, and each has its own output."""
    runs = [home.run(["echo", str(number)], "one", "two") for number in range(60)]
    for number, run in enumerate(runs):
        view = home.over(run)
        assert view["counts"] == {"done": 2}
        for target in view["targets"]:
            assert home.output(run, target["node"]) == f"{number}\n".encode()


def test_a_host_that_only_watches_runs_nothing(server: Server, tmp_path: Path) -> None:
    """The agent's own policy file has the last word."""
    agent = server.join("watched", start=False)
    policy = agent.data_dir / "policy.toml"
    policy.write_text("run = false\n")
    os.chmod(policy, 0o600)  # noqa: PTH101
    agent.start()
    server.online("watched")
    mark = tmp_path / "mark"
    target = server.over(server.run(["touch", str(mark)], "watched"))["targets"][0]
    assert target["state"] == "refused"
    assert "policy" in target["reason"]
    assert not mark.exists()
