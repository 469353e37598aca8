"""Make the pictures of the README: ``uv run python docs/pictures/make.py``.

A real server with ten agents on this machine, looked at with Debian's chromium and with the
command line, so that the pictures show what there is.
"""

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.text import Text

from bench import fleet

HERE: Final = Path(__file__).parent
CHROMIUM: Final = "/usr/bin/chromium"
PASSWORD: Final = "quiet horses like rain"  # noqa: S105
NODES: Final = {
    "web1": ("web", {"env": "prod"}),
    "web2": ("web", {"env": "prod"}),
    "web3": ("web", {"env": "test"}),
    "db1": ("db", {"env": "prod"}),
    "db2": ("db", {"env": "prod"}),
    "cache1": ("cache", {"env": "prod"}),
    "build1": ("ci", {}),
    "mail": ("office", {}),
    "nas-berlin": ("site", {"city": "berlin"}),
    "nas-shanghai": ("site", {"city": "shanghai"}),
}
LOOK: Final = "uptime; df -h / | tail -1"


def main() -> None:
    """Make all of them."""
    with fleet.running(dashboard=True) as ours:
        ours.join_as(list(NODES))
        client = ours.connect()
        for name, (group, tags) in NODES.items():
            client.ask("POST", f"/nodes/{name}/groups", {"add": [group]})
            client.ask("POST", f"/nodes/{name}/tags", {"put": tags})
        ours.agents.pop(list(NODES).index("build1")).kill()
        terminal(ours)
        body = {
            "command": {"shell": LOOK},
            "targets": {"names": ["web1", "web2", "web3", "db1"]},
            "note": "how full are the disks?",
        }
        run = client.ask("POST", "/runs", body)["id"]
        client.ask("GET", f"/runs/{run}?wait=20")
        time.sleep(12)  # a heartbeat of each
        browser(ours, run)


def terminal(ours: fleet.Fleet) -> None:
    """Draw what the command line says."""
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    for words in (
        ["node", "ls"],
        ["run", "web1,web2,db1", "--", "uname", "-sr"],
        ["run", "web1", "--shell", "uptime; exit 3"],
        ["runs", "ls"],
    ):
        shown = " ".join(f"'{word}'" if " " in word else word for word in words)
        console.print(Text.assemble(("$ ", "bold green"), f"muster {shown}"))
        said = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "muster.cli", *words],
            env={**os.environ, "MUSTER_DATA_DIR": str(ours.data_dir), "FORCE_COLOR": "1",
                 "COLUMNS": "100", "TERM": "xterm-256color"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
        )  # fmt: skip
        console.print(Text.from_ansi(said.stdout.rstrip()))
        console.print()
    drawn = console.export_svg(title="muster")
    alone = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # a reader fetches none
    (HERE / "terminal.svg").write_text(alone)


def browser(ours: fleet.Fleet, run: str) -> None:
    """Photograph the pages."""
    url = str(ours.state["url"])
    once = json.loads((ours.data_dir / "first-login.json").read_text())
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 1280, "height": 720}, locale="en-US")
        page.goto(url)
        _fill(page, name=once["name"], password=once["password"])
        _fill(page, old=once["password"], new=PASSWORD, again=PASSWORD)
        page.get_by_text("Online").first.wait_for()
        time.sleep(4)
        page.screenshot(path=HERE / "dashboard.png")
        page.goto(f"{url}/dashboard/run?run={run}")
        page.get_by_text("load average").first.wait_for()
        time.sleep(3)
        page.screenshot(path=HERE / "run.png")
        opened.close()


def _fill(page: Page, **fields: str) -> None:
    for name, value in fields.items():
        page.locator(f"input[name={name}]").fill(value)
    page.locator("button.main").click()


if __name__ == "__main__":
    main()
