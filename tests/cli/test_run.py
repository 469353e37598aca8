"""`muster run`: where every byte goes, what is said, and how it ends."""

import json
import os
import signal
import time

import pytest

from tests.cli.conftest import Muster
from tests.cli.stage import RUN, Stage, node, piece


def test_one_node_gives_its_very_bytes(stage: Stage, muster: Muster) -> None:
    """What the command wrote to stdout is on stdout, byte for byte, and stderr is on stderr."""
    data = bytes(range(256)) * 3
    play = stage.starts("web1")
    play.happens("web1", "started", piece(data[:300]), piece(b"oops\n", 0, "stderr"))
    play.happens("web1", "done", piece(data[300:], 300))
    said = muster("run", "web1", "--", "cat", "-v", "--", "x y")
    assert (said.code, said.out) == (0, data)
    assert said.told.splitlines() == [f"run {RUN}", "oops", "1 done"]
    assert play.created["command"] == {"argv": ["cat", "-v", "--", "x y"], "timeout": 3600.0}
    assert play.created["targets"] == {"selector": "web1"}
    assert play.key


def test_the_run_id_is_said_before_anything_else(stage: Stage, muster: Muster) -> None:
    """Whoever loses the terminal can find the run again."""
    stage.starts("web1").happens("web1", "done", after=20)
    with muster.start("run", "web1", "--", "sleep", "20") as process:
        assert process.stderr
        assert process.stderr.readline() == f"run {RUN}\n".encode()
        process.kill()


def test_output_comes_while_the_command_runs(stage: Stage, muster: Muster) -> None:
    """The first line is there long before the end."""
    play = stage.starts("web1")
    play.happens("web1", "started", piece(b"first\n"), after=0.5)
    play.happens("web1", "done", piece(b"last\n", 6), after=3)
    begun = time.monotonic()
    with muster.start("run", "web1", "--", "x") as process:
        assert process.stdout
        assert process.stdout.readline() == b"first\n"
        assert time.monotonic() - begun < 3
        assert process.stdout.read() == b"last\n"
        assert process.wait(20) == 0


def test_several_nodes_speak_line_by_line(stage: Stage, muster: Muster) -> None:
    """Each line has its node's name, also where lines come in pieces or without an end."""
    play = stage.starts("web1", "db1")
    play.happens("web1", "started", piece(b"one\ntw"))
    play.happens("db1", "started", piece(b"x"))
    play.happens("web1", "done", piece(b"o\nend", 6), piece(b"bad\n", 0, "stderr"))
    play.happens("db1", "done")
    said = muster("run", "web1,db1", "--", "x")
    assert sorted(said.text.splitlines()) == ["db1: x", "web1: end", "web1: one", "web1: two"]
    assert "web1: bad" in said.told
    assert said.told.splitlines()[-1] == "2 done"


def test_identical_outputs_are_shown_once(stage: Stage, muster: Muster) -> None:
    """With --group the names are folded, and differences stand out."""
    names = [f"node{number:02d}" for number in range(1, 12)]
    play = stage.starts(*names)
    for name in names:
        play.happens(name, "done", piece(b"odd\n" if name == "node07" else b"same"))
    said = muster("run", "--all", "--group", "--", "uname")
    assert said.text == "---- node[01-06,08-11] (10) ----\nsame\n---- node07 (1) ----\nodd\n"
    assert said.told.splitlines() == [f"run {RUN} on 11 nodes", "11 done"]


def test_outputs_that_differ_only_in_what_is_missing_are_not_the_same(
    stage: Stage, muster: Muster
) -> None:
    """A hole is part of the output."""
    play = stage.starts("a1", "a2")
    play.happens("a1", "done", piece(b"tail\n"))
    play.happens("a2", "done", piece(b"tail\n", 1024))
    said = muster("run", "--all", "--group", "--", "x")
    assert said.text.count("----") == 4
    assert "[a2: 1.0 KiB of stdout not kept here" in said.told


def test_a_terminal_sees_a_quick_answer_together(stage: Stage, muster: Muster) -> None:
    """The same answer of ten nodes is one block, not ten lines."""
    play = stage.starts("web1", "web2", "web3")
    for name in play.names:
        play.happens(name, "done", piece(b"Linux\n"))
    said = muster.on_a_terminal("run", "--all", "--", "uname")
    assert "---- web[1-3] (3) ----\nLinux\n" in said.text
    said = muster.on_a_terminal("run", "--all", "--live", "--", "uname")
    assert "\x1b[36mweb1\x1b[0m: Linux" in said.text


def test_no_color_is_respected(stage: Stage, muster: Muster) -> None:
    """https://no-color.org."""
    stage.starts("web1", "web2").happens("web1", "done", piece(b"Linux\n"))
    assert stage.run
    stage.run.happens("web2", "done")
    muster.env["NO_COLOR"] = "1"
    said = muster.on_a_terminal("run", "--all", "--live", "--", "uname")
    assert "web1: Linux\n" in said.text
    assert "\x1b[3" not in said.text


@pytest.mark.parametrize("names", [["web1"], ["web1", "web2"]])
def test_a_terminal_is_not_at_the_mercy_of_a_node(
    names: list[str], stage: Stage, muster: Muster
) -> None:
    """Escape sequences are shown; --raw obeys them for a single node."""
    evil = "\x1b]0;owned\x07ok \u202e gnp.exe\r\n".encode()
    play = stage.starts(*names)
    for name in names:
        play.happens(name, "done", piece(evil[:9]), piece(evil[9:], 9))
    said = muster.on_a_terminal("run", ",".join(names), "--live", "--", "x")
    assert "\\x1b]0;owned\\x07ok \\u202e gnp.exe\n" in said.text
    assert "\x1b]0" not in said.text


def test_raw_shows_what_the_command_wrote(stage: Stage, muster: Muster) -> None:
    """Whoever trusts the node may see its colours."""
    stage.starts("web1").happens("web1", "done", piece(b"\x1b[1mbold\n"))
    assert b"\x1b[1mbold\n" in muster.on_a_terminal("run", "web1", "--raw", "--", "x").out


def test_a_hole_in_the_output_is_told(stage: Stage, muster: Muster) -> None:
    """Also at the end; and it says where the whole output is."""
    play = stage.starts("n1")
    play.happens("n1", "started", piece(b"head\n"))
    play.happens("n1", "started", piece(b"tail\n", 5 + 1007 * 1024 * 1024))
    play.happens("n1", "done", stdout=3 << 29)
    said = muster("run", "n1", "--", "yes")
    assert said.out == b"head\ntail\n"
    assert (
        "[n1: 1,007 MiB of stdout not kept here; the whole output is on the node for a day: "
        f"muster runs fetch {RUN} n1 --output]"
    ) in said.told
    assert "[n1: 529 MiB of stdout" in said.told


def test_pieces_that_come_twice_are_shown_once(stage: Stage, muster: Muster) -> None:
    """An agent repeats what was not acknowledged, perhaps cut otherwise."""
    play = stage.starts("n1")
    play.happens("n1", "started", piece(b"abcdef"))
    play.happens("n1", "started", piece(b"defghi", 3), piece(b"abc"))
    play.happens("n1", "done")
    assert muster("run", "n1", "--", "x").out == b"abcdefghi"


@pytest.mark.parametrize("sockets", [True, False], ids=["cut sockets", "no sockets"])
def test_a_broken_connection_loses_nothing(sockets: bool, stage: Stage, muster: Muster) -> None:  # noqa: FBT001
    """The events go on where they were; without WebSockets they are asked for."""
    stage.sockets, stage.break_after = sockets, 2
    play = stage.starts("n1")
    expected = b""
    for number in range(12):
        line = b"line %d\n" % number
        play.happens("n1", "started", piece(line, len(expected)), after=0.12)
        expected += line
    play.happens("n1", "done", after=0.1)
    said = muster("run", "n1", "--", "x")
    assert (said.code, said.out) == (0, expected)
    assert stage.opened > 1


def test_a_restart_of_the_server_is_waited_for(stage: Stage, muster: Muster) -> None:
    """It is said once; afterwards the output goes on where it was."""
    stage.break_after = 1
    play = stage.starts("n1")
    play.happens("n1", "started", piece(b"one\n"), after=0.5)
    play.happens("n1", "started", piece(b"two\n", 4), after=0.5)
    play.happens("n1", "done", piece(b"three\n", 8), after=1)
    with muster.start("run", "n1", "--", "x") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"one\n"
        stage.away_until = time.monotonic() + 2
        assert process.wait(30) == 0
        assert process.stdout.read() == b"two\nthree\n"
        assert process.stderr.read().decode().count("trying again") == 1


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["done", "done"], 0),
        (["done", "failed"], 3),
        (["refused", "cancelled"], 3),
        (["done", "cancelled"], 11),
        (["lost"], 5),
        (["done", "queued"], 6),
        (["timed_out"], 3),
    ],
)
def test_the_exit_code_says_how_it_ended(
    states: list[str], code: int, stage: Stage, muster: Muster
) -> None:
    """The codes of the README."""
    play = stage.starts(*(f"n{number}" for number, _ in enumerate(states)))
    for name, state in zip(play.names, states, strict=True):
        play.happens(name, state)
    assert muster("run", ",".join(play.names), "--", "x").code == code


@pytest.mark.parametrize(
    ("state", "more", "code"),
    [
        ("done", {}, 0),
        ("failed", {"exit": 42}, 42),
        ("failed", {"signal": 9}, 137),
        ("timed_out", {}, 124),
        ("refused", {}, 3),
    ],
)
def test_exit_status_passes_the_code_of_the_command(
    state: str, more: dict[str, int], code: int, stage: Stage, muster: Muster
) -> None:
    """As a shell would; only if it is asked for."""
    stage.starts("n1").happens("n1", state, **more)
    assert muster("run", "n1", "--exit-status", "--", "x").code == code


def test_the_summary_says_who_and_why(stage: Stage, muster: Muster) -> None:
    """The same cause once, names folded; a node that is away does not hold the command."""
    play = stage.starts("web1", "web2", "web3", "db1", "db2", "web9")
    for name in play.names[:3]:
        play.happens(name, "done")
    play.happens("db1", "failed", exit=2)
    play.happens("db2", "failed", exit=2)
    play.happens("web9", "queued", after=0.3)
    said = muster("run", "--all", "--", "x")
    assert said.code == 6
    last = said.told.splitlines()[1:]
    assert last[0].startswith(
        "3 done, 2 failed (db[1-2]: exit 2), 1 queued (web9 is away, expires in "
    )
    assert f"muster runs wait {RUN}" in last[1]


def test_wait_waits_for_nodes_that_are_away(stage: Stage, muster: Muster) -> None:
    """It is delivered when the node returns."""
    play = stage.starts("n1")
    play.happens("n1", "queued")
    play.happens("n1", "done", piece(b"back\n"), after=1)
    said = muster("run", "n1", "--wait", "--", "x")
    assert (said.code, said.out) == (0, b"back\n")


def test_ctrl_c_detaches(stage: Stage, muster: Muster) -> None:
    """The run goes on; how to follow and how to end it is said."""
    stage.starts("n1").happens("n1", "started", piece(b"hi\n"), after=0.3)
    with muster.start("run", "n1", "--", "sleep", "9") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"hi\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 6
        told = process.stderr.read().decode()
    assert f"muster runs logs -f {RUN}" in told
    assert f"muster runs cancel {RUN}" in told
    assert "Traceback" not in told


def test_a_reader_that_goes_away_does_not_end_the_run(stage: Stage, muster: Muster) -> None:
    """`muster run … | head -1` says that the run goes on."""
    play = stage.starts("n1")
    play.happens("n1", "started", piece(b"x\n" * 50_000))
    play.happens("n1", "done", piece(b"x\n" * 50_000, 100_000), after=1)
    with muster.start("run", "n1", "--", "yes") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read().decode()
        assert process.wait(20) == 6
    assert "goes on" in told
    assert "Error" not in told


def test_detach_prints_the_id_and_leaves(stage: Stage, muster: Muster) -> None:
    """For scripts: id=$(muster run --detach …)."""
    stage.starts("n1").happens("n1", "done", after=30)
    said = muster("run", "n1", "--detach", "--note", "later", "--expires", "2h", "--", "x")
    assert (said.code, said.text) == (0, f"{RUN}\n")
    assert stage.run
    assert (stage.run.created["note"], stage.run.created["expires_in"]) == ("later", 7200)


def test_json_is_one_document(stage: Stage, muster: Muster) -> None:
    """Text is text, the rest is base64 and says so; holes are counted."""
    play = stage.starts("n1", "n2")
    play.happens("n1", "done", piece("grüß\u202e\n".encode()))
    play.happens("n2", "failed", piece(b"\xff\xfe", 10), exit=3)
    said = muster("run", "--all", "-o", "json", "--", "x")
    assert said.code == 3
    document = json.loads(said.text)
    assert (document["id"], document["counts"]) == (RUN, {"done": 1, "failed": 1})
    one, two = document["targets"]
    assert (one["name"], one["state"], one["stdout"]) == ("n1", "done", "grüß\u202e\n")
    assert (two["exit"], two["stdout"], two["stdout_encoding"]) == (3, "//4=", "base64")
    assert two["stdout_missing"] == 10
    assert "\u202e" not in said.text


def test_jsonl_is_one_event_per_line(stage: Stage, muster: Muster) -> None:
    """As it comes, for programs."""
    play = stage.starts("n1")
    play.happens("n1", "started", piece(b"hi\n"), after=0.3)
    play.happens("n1", "done", piece(b"\xff", 3), after=0.3)
    lines = [
        json.loads(line) for line in muster("run", "n1", "-o", "jsonl", "--", "x").text.splitlines()
    ]
    assert [line["event"] for line in lines] == ["run", "target", "target", "end"]
    assert lines[1]["pieces"] == [{"stream": "stdout", "offset": 0, "text": "hi\n"}]
    assert lines[2]["pieces"] == [{"stream": "stdout", "offset": 3, "base64": "/w=="}]
    assert lines[3]["counts"] == {"done": 1}


def test_everything_about_the_command_arrives(stage: Stage, muster: Muster) -> None:
    """Shell text, input, directory, environment and time limit."""
    stage.starts("n1").happens("n1", "done")
    muster.env["COLOUR"] = "blau"
    said = muster(
        "run", "n1", "--shell", "cat | wc", "--cwd", "/tmp", "--env", "A=b=c", "--env", "COLOUR",  # noqa: S108
        "--timeout", "1m30s", "--stdin", stdin=b"\xff\x00in",
    )  # fmt: skip
    assert said.code == 0, said.told
    assert stage.run
    assert stage.run.created["command"] == {
        "shell": "cat | wc",
        "cwd": "/tmp",  # noqa: S108
        "env": {"A": "b=c", "COLOUR": "blau"},
        "timeout": 90.0,
        "stdin": "_wBpbg==",
    }


@pytest.mark.parametrize(
    "line",
    [
        ["run"],
        ["run", "--", "true"],
        ["run", "n1"],
        ["run", "n1", "--"],
        ["run", "n1", "uptime"],
        ["run", "n1", "--all", "--", "true"],
        ["run", "n1", "--shell", "x", "--", "true"],
        ["run", "n1", "--timeout", "soon", "--", "true"],
        ["run", "n1", "--timeout", "0", "--", "true"],
        ["run", "n1", "--env", "NOT SET", "--", "true"],
        ["run", ",", "--", "true"],
    ],
)
def test_a_line_that_is_not_clear_runs_nothing(
    line: list[str], stage: Stage, muster: Muster
) -> None:
    """Nothing chosen is an error, never all."""
    stage.starts("n1").happens("n1", "done")
    said = muster(*line)
    assert said.code == 2, said.told
    assert stage.asked == []


def test_input_that_is_too_large_is_refused_here(stage: Stage, muster: Muster) -> None:
    """Before it is sent."""
    stage.starts("n1")
    said = muster("run", "n1", "--stdin", "--", "cat", stdin=bytes(600_000))
    assert said.code == 1
    assert "370 KiB" in said.told
    assert stage.asked == []


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 130), (b"y\n", 0)])
def test_all_of_very_many_is_asked_about(
    answer: bytes, code: int, stage: Stage, muster: Muster
) -> None:
    """On a terminal; --yes and programs are not asked."""
    names = [f"n{number}" for number in range(30)]
    play = stage.starts(*names)
    for name in names:
        play.happens(name, "done")
    stage.nodes = [node(number, name) for number, name in enumerate(names)]
    said = muster.on_a_terminal("run", "--all", "--", "reboot", answer=answer)
    assert "Run on 30 nodes?" in said.text
    assert said.code == code
    assert bool(play.created) is (code == 0)


@pytest.mark.parametrize(
    ("words", "selector"),
    [
        (["web1,web2"], "web1,web2"),
        (["web1", "web2,"], "web1, web2"),
        (["web*", "and", "not", "role=test"], "web* and not role=test"),
        (["@db", "(role=a)"], "@db (role=a)"),
    ],
)
def test_what_stands_before_the_command_is_one_selector(
    words: list[str], selector: str, stage: Stage, muster: Muster
) -> None:
    """Words beside each other are alternatives, unless they are a formula."""
    play = stage.starts("web1")
    play.happens("web1", "done")
    assert muster("run", *words, "--", "true").code == 0
    assert play.created["targets"] == {"selector": selector}


def test_a_dry_run_shows_who_is_meant_and_does_nothing(stage: Stage, muster: Muster) -> None:
    """One name per line on stdout, the count beside it."""
    play = stage.starts("web1")
    stage.nodes = [node(number, f"web{number}") for number in range(3)]
    said = muster("run", "web*", "--dry-run", "--", "reboot")
    assert (said.code, said.out) == (0, b"web0\nweb1\nweb2\n")
    assert "3 nodes; nothing was run" in said.told
    assert ("/nodes/resolve", {"selector": "web*"}) in [one[1:4:2] for one in stage.asked]
    assert not play.created


def test_a_large_fleet_and_a_large_output_fit_in_memory(stage: Stage, muster: Muster) -> None:
    """What is gathered beyond a little lies in files, which are gone at the end."""
    names = [f"n{number}" for number in range(40)]
    play = stage.starts(*names)
    for name in names:
        play.happens(name, "done", *(piece(b"x" * 99_999 + b"\n", 100_000 * n) for n in range(5)))
    muster.env["TMPDIR"] = str(muster.home)
    said = muster("run", "--all", "--group", "--", "x")
    assert said.text.startswith("---- n[0-39] (40) ----\n")
    assert len(said.out) > 500_000
    assert os.listdir(muster.home) == ["context.json"]  # noqa: PTH208
