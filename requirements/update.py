"""Move every pin to the newest release: ``uv run --no-sync python requirements/update.py``.

Resolves anew, writes the versions into ``constraint-dependencies`` of the root's
``pyproject.toml`` (which `uv sync` obeys) and the hashed lists beside this file (which images
are built from). ``--keep`` writes both from what is locked already.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent
LISTS: Final = {
    "build": ["--only-group", "build"],
    "dev": ["--all-packages", "--all-groups", "--all-extras"],
    "agent": ["--package", "muster-agent", "--no-dev"],
    "server": ["--no-dev", "--prune", "muster-agent", "--prune", "muster-dashboard"],
    "dashboard": ["--package", "muster-dashboard", "--no-dev"],
}
"""What each list is for, in the words of `uv export`."""

TABLES: Final = {"constraint-dependencies": "dev", "build-constraint-dependencies": "build"}
"""Which list fills which table of ``[tool.uv]``."""

PLAIN: Final = ("--no-emit-workspace", "--no-header", "--no-annotate", "--quiet")
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+==[^ \\]+)(?: ; (.+?))?(?: \\)?$", re.MULTILINE)


def _uv(*arguments: str) -> None:
    subprocess.run(["uv", *arguments], cwd=ROOT, check=True, timeout=600)  # noqa: S603, S607


def _without(text: str, table: str) -> str:
    return re.sub(rf"^{table} = \[\n(?:.*\n)*?\]\n", "", text, flags=re.MULTILINE)


def _as_table(name: str, pins: list[str]) -> str:
    return f"{name} = [\n" + "".join(f'    "{pin}",\n' for pin in pins) + "]\n"


def _pins(text: str) -> list[str]:
    """Return the pins of a hashed list; a marker is kept only where versions differ by it."""
    found = _PIN.findall(text)
    names = [pin.split("==")[0] for pin, _ in found]
    return sorted(
        f"{pin} ; {marker}".replace('"', "'") if names.count(name) > 1 else pin
        for name, (pin, marker) in zip(names, found, strict=True)
    )


def _unpin(project: Path) -> None:
    """Take the old pins out, so that newer releases can be found."""
    text = project.read_text(encoding="utf-8")
    for table in TABLES:
        text = _without(text, table)
    project.write_text(text, encoding="utf-8")


def _pin(project: Path) -> None:
    tables = "".join(
        _as_table(table, _pins((HERE / f"{name}.txt").read_text(encoding="utf-8")))
        for table, name in TABLES.items()
    )
    text = project.read_text(encoding="utf-8")
    head = "[tool.uv]\npackage = false\n"
    if head not in text:
        raise SystemExit(f"{project} has no {head!r} to put the pins behind")
    project.write_text(text.replace(head, head + tables), encoding="utf-8")


def main() -> None:
    """Resolve, write the lists and the constraints, and check that they agree."""
    project = ROOT / "pyproject.toml"
    before = project.read_text(encoding="utf-8")
    try:
        if "--keep" not in sys.argv:
            _unpin(project)
            _uv("lock", "--upgrade")
        for name, chosen in LISTS.items():
            _uv("export", *chosen, *PLAIN, "--output-file", f"requirements/{name}.txt")
        _unpin(project)
        _pin(project)
        _uv("lock")
    except BaseException:
        project.write_text(before, encoding="utf-8")
        raise


if __name__ == "__main__":
    main()
