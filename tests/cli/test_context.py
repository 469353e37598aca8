"""Finding the server, and what is said when it cannot be found or does not answer."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from muster.cli.context import Context, load
from muster.cli.failures import Failure
from tests.cli.conftest import Muster
from tests.cli.stage import TOKEN, Stage


def test_no_server_is_told_with_what_to_do(alone: Muster) -> None:
    """Exit code 12."""
    said = alone("node", "ls")
    assert said.code == 12
    assert "muster up" in said.told


def test_a_server_that_is_down_is_told(alone: Muster) -> None:
    """The same code, another sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    Context(f"http://127.0.0.1:{port}", "x").save(alone.home / "context.json")
    said = alone("run", "--all", "-y", "--", "true")
    assert said.code == 12
    assert "cannot be reached" in said.told
    assert "Traceback" not in said.told


def test_a_context_that_others_can_read_is_refused(muster: Muster) -> None:
    """It holds a token."""
    (muster.home / "context.json").chmod(0o644)
    said = muster("node", "ls")
    assert said.code == 1
    assert "chmod 600" in said.told


def test_a_saved_context_is_closed_to_others(tmp_path: Path) -> None:
    """And comes back as it was."""
    context = Context("https://here:1", "secret", person="ada")
    context.save(tmp_path / "c.json")
    assert (tmp_path / "c.json").stat().st_mode & 0o777 == 0o600
    assert load(tmp_path / "c.json") == context


@pytest.mark.parametrize(
    "told", ["", "[]", "{}", '{"url": 1, "token": "x"}', '{"url": "ftp://x", "token": "x"}']
)
def test_a_broken_context_is_told(told: str, alone: Muster) -> None:
    """Not with a traceback."""
    path = alone.home / "context.json"
    path.write_text(told)
    path.chmod(0o600)
    said = alone("node", "ls")
    assert said.code == 1
    assert "Traceback" not in said.told


def test_a_token_never_travels_in_the_clear(tmp_path: Path) -> None:
    """Plain HTTP is for this machine alone."""
    Context("http://192.0.2.1:8420", "x").save(tmp_path / "c")
    with pytest.raises(Failure, match="TLS"):
        load(tmp_path / "c")


def test_the_option_and_the_variable_choose(stage: Stage, alone: Muster, tmp_path: Path) -> None:
    """--context before --data-dir before the variables; before or behind the command."""
    other = tmp_path / "other"
    other.mkdir()
    Context(stage.url, TOKEN).save(other / "context.json")
    assert alone("--data-dir", str(other), "whoami").code == 0
    assert alone("whoami", "--data-dir", str(other)).code == 0
    assert alone("--context", str(other / "context.json"), "whoami").code == 0
    alone.env["MUSTER_CONTEXT"] = str(other / "context.json")
    assert alone("whoami").code == 0
    assert alone("--data-dir", str(tmp_path), "whoami").code == 12


def test_a_refused_token_is_told(muster: Muster) -> None:
    """Exit code 7, and what to do."""
    path = muster.home / "context.json"
    told = json.loads(path.read_text()) | {"token": "wrong"}
    path.write_text(json.dumps(told))
    said = muster("whoami")
    assert said.code == 7
    assert "not valid any more" in said.told


def test_a_stranger_behind_the_port_is_told(alone: Muster) -> None:
    """Something answers, but it is not ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        Context(f"http://127.0.0.1:{server.getsockname()[1]}", "x").save(
            alone.home / "context.json"
        )
        with alone.start("whoami") as process:
            line, _ = server.accept()
            line.recv(4096)
            line.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            line.close()
            assert process.stderr
            assert b"Traceback" not in process.stderr.read()
            assert process.wait(20) == 12


def test_debug_shows_where(alone: Muster) -> None:
    """And only --debug does."""
    assert "Traceback" in alone("--debug", "whoami").told
    assert "Traceback" in alone("whoami", "--debug").told


def test_the_agent_gets_the_rest_of_the_line(alone: Muster) -> None:
    """Its --help is its own; without an agent there is a sentence."""
    site = alone.home / "site"
    (site / "fake.dist-info").mkdir(parents=True)
    (site / "fake.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: fake\nVersion: 1\n"
    )
    points = "[muster.tools]\nagent = fakeagent:main\n"
    (site / "fake.dist-info" / "entry_points.txt").write_text(points)
    (site / "fakeagent.py").write_text(
        "import sys\n\ndef main():\n    print(sys.argv)\n    return 5\n"
    )
    begin = f"import sys; sys.path.insert(0, {str(site)!r})"
    code = f"{begin}; from muster.cli.__main__ import main; sys.exit(main())"
    run = [sys.executable, "-c", code, "agent", "join", "--help", "--", "x"]
    ended = subprocess.run(run, capture_output=True, check=False, text=True)
    assert ended.stdout == "['muster agent', 'join', '--help', '--', 'x']\n", ended.stderr
    assert ended.returncode == 5
