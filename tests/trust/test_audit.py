"""The audit as an operator has it: searched, exported, checked elsewhere."""

import csv
import io
import json
from pathlib import Path

from tests.system.conftest import Server

FORMULA = "=cmd|' /C calc'!A0"


def test_an_export_is_whole_and_harmless(home: Server, tmp_path: Path) -> None:
    """JSON lines that anybody can check, CSV without formulas; and a changed line is found."""
    home.over(home.run([FORMULA], "one"))
    found = home.muster("audit", "search", "calc", "--since", "1h", "--node", "one", "-o", "json")
    assert [one["detail"] for one in json.loads(found.stdout)] == [FORMULA]
    said = home.muster("audit", "export")
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    file = tmp_path / "audit.jsonl"
    file.write_text(said.stdout)
    assert home.muster("audit", "check", str(file)).returncode == 0
    file.write_text("\n".join(lines[5:]) + "\n")
    assert home.muster("audit", "check", str(file)).returncode == 0
    changed = [line.replace("calc", "echo") for line in lines]
    file.write_text("\n".join(changed) + "\n")
    broken = home.muster("audit", "check", str(file))
    assert (broken.returncode, "BROKEN" in broken.stdout) == (1, True)
    file.write_text("no JSON\n")
    assert "no export" in home.muster("audit", "check", str(file)).stderr
    file.write_text("\n".join([*lines[:3], *lines[4:]]) + "\n")
    assert home.muster("audit", "check", str(file)).returncode == 1
    table = home.muster("audit", "export", "--format", "csv", "--action", "run.")
    rows = list(csv.reader(io.StringIO(table.stdout)))
    assert rows[0][:2] == ["seq", "at"]
    assert not [cell for row in rows for cell in row if cell[:1] in set("=+@-")]


def test_the_chain_is_held_against_its_signed_heads(home: Server) -> None:
    """`muster audit verify` says how many, and how old the latest is."""
    said = home.muster("audit", "verify")
    assert said.returncode == 0
    assert "signed heads" in said.stderr
    assert (home.data_dir / "audit-heads.jsonl").stat().st_mode & 0o777 == 0o600
