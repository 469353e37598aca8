"""How quickly it is there, what it imports for that, and what the shell completes."""

import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cli.conftest import Muster
from tests.cli.stage import Stage, node

HEAVY = ("pydantic", "rich", "websockets", "httpx", "asyncio", "muster.contracts", "nats")


@pytest.fixture
def spent() -> Callable[[], float]:
    """Return a clock of what our children have computed: others work on this machine too."""

    def read() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    return read


def test_the_version_is_there_at_once(alone: Muster, spent: Callable[[], float]) -> None:
    """The goal is 0.1 s as a whole process; the best of some tries."""
    best = 99.0
    for _ in range(8):
        begun = spent()
        assert alone("--version").code == 0
        best = min(best, spent() - begun)
    assert best < 0.1


def test_a_short_run_is_over_at_once(
    stage: Stage, muster: Muster, spent: Callable[[], float]
) -> None:
    """The goal is 0.25 s as a whole process, of which the server needs something too."""
    best = 99.0
    for _ in range(8):
        stage.starts("web1").happens("web1", "done")
        begun = spent()
        assert muster("run", "web1", "--", "true").code == 0
        best = min(best, spent() - begun)
    assert best < 0.2


@pytest.mark.parametrize(
    "line", [["--version"], ["--help"], ["run", "--help"], ["run", "web1", "-q", "--", "true"]]
)
def test_nothing_heavy_is_imported(line: list[str], stage: Stage, muster: Muster) -> None:
    """Neither models, nor tables, nor sockets, where none is needed."""
    stage.starts("web1").happens("web1", "done")
    code = (
        "import sys; from muster.cli.__main__ import main; code = main();"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    env = {"MUSTER_DATA_DIR": str(muster.home), "PATH": "/usr/bin"}
    ended = subprocess.run(
        [sys.executable, "-c", code, *line], capture_output=True, check=False, env=env, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "[]\n")


def _complete(muster: Muster, words: str, count: int) -> list[str]:
    muster.env |= {
        "_MUSTER_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(count),
    }
    return [line.partition(",")[2] for line in muster().text.splitlines() if line]


def test_the_shell_completes_names(stage: Stage, muster: Muster) -> None:
    """Commands, nodes, the last of several nodes, and runs."""
    stage.nodes.append(node(2, "db1"))
    stage.starts("web0")
    assert _complete(muster, "muster ru", 1) == ["run", "runs"]
    assert _complete(muster, "muster run we", 2) == ["web0", "web1"]
    assert _complete(muster, "muster run web0,", 2) == ["web0,web1", "web0,db1"]
    assert _complete(muster, "muster node show d", 3) == ["db1"]
    assert len(_complete(muster, "muster runs show 01", 3)) == 1


def test_completion_without_a_server_is_silent(alone: Muster) -> None:
    """And quick."""
    assert _complete(alone, "muster run we", 2) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_printed(shell: str, alone: Muster) -> None:
    """To be evaluated by the shell."""
    assert "_MUSTER_COMPLETE" in alone("completion", shell).text
