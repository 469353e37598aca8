"""Nodes, runs, tokens and audit: the lists and what changes them."""

import csv
import io
import json
import time

import pytest

from tests.cli.conftest import Muster
from tests.cli.stage import RUN, Stage, node, piece

HEAD = "state name cpu memory disk load uptime version groups tags"
ONE = "● online web0 12% 64% 93% /var 0.42 1d 2h 0.1.0 web env=prod"
EVIL = "x\x1b[31m\u202egnp\n=cmd()"


def test_the_fleet_at_a_glance(stage: Stage, muster: Muster) -> None:
    """State, load and the fullest disk of every node."""
    stage.nodes = [node(0), node(1, "db1", state="offline", metrics=None, groups=[], tags={})]
    head, one, two = muster("node", "ls").text.splitlines()
    assert head.split() == HEAD.split()
    assert one.split() == ONE.split()
    assert two.split()[:3] == ["○", "offline", "db1"]


def test_the_forms_of_a_list(stage: Stage, muster: Muster) -> None:
    """For people, programs, spreadsheets and shells."""
    assert json.loads(muster("node", "ls", "-o", "json").text) == stage.nodes
    lines = muster("node", "ls", "-o", "jsonl").text.splitlines()
    assert [json.loads(line) for line in lines] == stage.nodes
    rows = list(csv.DictReader(io.StringIO(muster("node", "ls", "-o", "csv").text)))
    assert (rows[0]["name"], rows[0]["disk"], rows[0]["memory"]) == ("web0", "93.0", "64.0")
    assert muster("node", "ls", "-o", "name").text.split() == ["web0", "web1"]


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "name"])
def test_a_hostile_node_rewrites_no_list(form: str, stage: Stage, muster: Muster) -> None:
    """Nothing that it tells reaches the terminal as it is, or a spreadsheet as a formula."""
    disks = [{"mount": EVIL, "total": 9, "used": 8}]
    stage.nodes = [
        node(
            0, version=EVIL, trouble=EVIL, metrics={"cpu": 1, "disks": disks}, tags={"[red]k": EVIL}
        )
    ]
    said = muster("node", "ls", "-o", form)
    assert said.code == 0
    assert not {"\x1b", "\u202e"} & set(said.text)
    if form == "csv":
        assert "=cmd" not in {line.strip('"') for line in said.text.splitlines()}
    assert not {"\x1b", "\u202e"} & set(muster("node", "show", "web0").text)


def test_a_thousand_nodes_are_listed_at_once(stage: Stage, muster: Muster) -> None:
    """Page after page, and quickly enough to be used without thinking."""
    stage.nodes = [node(number) for number in range(1000)]
    begun = time.monotonic()
    said = muster("node", "ls")
    assert time.monotonic() - begun < 10  # it takes about one second when nothing else runs
    assert len(said.text.splitlines()) == 1001
    assert len([one for one in stage.asked if one[1] == "/nodes"]) == 3


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_narrow_terminal_loses_columns_not_names(
    columns: int, stage: Stage, muster: Muster
) -> None:
    """No line is broken; the name and the state stay."""
    stage.nodes = [node(0, groups=["数据库服务器"] * 3), node(1, "a-rather-long-name")]
    said = muster.on_a_terminal("node", "ls", columns=columns)
    plain = said.text.replace("\x1b", "\n\x1b")
    assert len(said.text.splitlines()) == 3
    assert "a-rather-long-name" in plain
    assert ("env=prod" in plain) is (columns == 200)


def test_a_node_is_shown_changed_and_shut_out(stage: Stage, muster: Muster) -> None:
    """Every verb reaches the API."""
    assert "Debian 12" in muster("node", "show", "web1").text
    assert "web0 is now called db9" in muster("node", "rename", "web0", "db9").told
    assert muster("node", "tag", "web0", "a=b", "--remove", "c").text == "a=b\n"
    assert muster("node", "group", "web0", "red").text == "red\n"
    assert muster("node", "revoke", "web0").code == 2
    assert muster("node", "revoke", "web0", "--yes", "--reason", "lost").code == 0
    changes = [(method, path, body) for method, path, _, body in stage.asked if method != "GET"]
    assert changes == [
        ("PATCH", "/nodes/web0", {"name": "db9"}),
        ("POST", "/nodes/web0/tags", {"put": {"a": "b"}, "remove": ["c"]}),
        ("POST", "/nodes/web0/groups", {"add": ["red"], "remove": []}),
        ("POST", f"/nodes/{stage.nodes[0]['id']}/revoke", {"reason": "lost"}),
    ]
    assert muster("node", "show", "nobody").code == 4
    assert muster("node", "tag", "web0", "nonsense").code == 2


def test_a_join_token_is_one_line(stage: Stage, muster: Muster) -> None:
    """On stdout, so that it can be piped to the host."""
    said = muster("node", "token", "--ttl", "1h", "--name", "db1", "--group", "x", "--tag", "a=b")
    assert said.text == "muster agent join muster1.abc\n"
    assert "works once" in said.told
    body = {"ttl": 3600.0, "groups": ["x"], "tags": {"a": "b"}, "note": "", "name": "db1"}
    body["approve"] = False
    assert stage.asked[-1][3] == body
    assert RUN in muster("node", "token", "ls").text
    assert muster("node", "token", "rm", RUN).code == 0
    assert stage.asked[-1][:2] == ("DELETE", f"/join-tokens/{RUN}")


def test_the_history(stage: Stage, muster: Muster) -> None:
    """List, show, output, wait, cancel."""
    play = stage.starts("web1", "db1")
    play.happens("web1", "done", piece(b"hi\n"))
    play.happens("db1", "failed", piece(b"no\n", 0, "stderr"), exit=2)
    assert muster("run", "--all", "--detach", "--", "df", "-h").code == 0
    assert "1 done, 1 failed" in muster("runs", "ls").text
    shown = muster("runs", "show", RUN[:6]).text
    assert "df -h" in shown
    assert "exit 2" in shown
    said = muster("runs", "logs", RUN)
    assert (said.code, said.text, said.told) == (0, "web1: hi\n", "db1: no\n")
    said = muster("runs", "logs", RUN, "web1")
    assert (said.out, said.err) == (b"hi\n", b"")
    assert muster("runs", "logs", RUN, "nobody").code == 4
    said = muster("runs", "wait", RUN)
    assert (said.code, said.told) == (3, "1 done, 1 failed (db1: exit 2)\n")
    assert muster("runs", "cancel", RUN, "db1").code == 0
    assert play.cancelled == [{"nodes": [play.id_of("db1")]}]
    assert muster("runs", "show", "zz/../x").code == 4
    assert muster("runs", "show", "0000").code == 4


def test_logs_follow_to_the_end(stage: Stage, muster: Muster) -> None:
    """`runs logs -f` is `run` from the beginning."""
    play = stage.starts("n1")
    play.happens("n1", "started", piece(b"one\n"))
    play.happens("n1", "failed", piece(b"two\n", 4), after=1.5, exit=1)
    assert muster("run", "n1", "--detach", "--", "x").code == 0
    said = muster("runs", "logs", "-f", RUN)
    assert (said.code, said.out) == (3, b"one\ntwo\n")


def test_waiting_has_an_end(stage: Stage, muster: Muster) -> None:
    """With the exit code of a run that goes on."""
    stage.starts("n1").happens("n1", "started", after=0.1)
    assert muster("run", "n1", "--detach", "--", "x").code == 0
    said = muster("runs", "wait", RUN, "--timeout", "300ms")
    assert (said.code, said.told) == (6, "1 running\n")


def test_the_audit(stage: Stage, muster: Muster) -> None:
    """Listed, and found broken where it is broken."""
    record = {"seq": 7, "at": "2026-01-02T03:04:05Z", "who": "admin", "action": "run.create"}
    stage.audit = [record | {"nodes": ["web1", "web2"], "result": "ok", "detail": EVIL}]
    said = muster("audit", "ls", "--who", "admin", "--action", "run.")
    assert "2026-01-02 03:04:05" in said.text
    assert "web[1-2]" in said.text
    assert "\x1b" not in said.text
    assert stage.asked[-1][2] == {"limit": "50", "who": "admin", "action": "run."}
    assert muster("audit", "verify").code == 0
    stage.verdict["broken_at"] = 2
    said = muster("audit", "verify")
    assert (said.code, said.text) == (1, "The audit is BROKEN at record 2.\n")


def test_who_and_where(stage: Stage, muster: Muster) -> None:
    """As whom, with which server; never the token."""
    assert muster("whoami").text == "admin\n"
    assert muster("open", "--print").text == f"{stage.url}\n"
    said = muster("context", "show")
    assert stage.url in said.text
    assert "the-token" not in said.text
