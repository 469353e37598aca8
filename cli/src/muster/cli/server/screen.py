"""The one screen that `muster up` prints."""

import json
from typing import Any

from muster.cli.i18n import t
from muster.cli.server.layout import Layout


def first_login(layout: Layout) -> dict[str, str] | None:
    """Return the administrator's name and one-time password, as long as it is unused."""
    try:
        found: dict[str, str] = json.loads(layout.first_login.read_text())
    except (OSError, ValueError):
        return None
    return found


def screen(layout: Layout, state: dict[str, Any]) -> str:
    """Say where the server is, how to log in, and how to go on."""
    lines = ["", "  " + t("server.screen.ready", seconds=f"{state.get('seconds', 0):.1f}"), ""]
    rows = [(t("server.screen.open"), state["url"])]
    if login := first_login(layout):
        rows += [
            (t("server.screen.user"), login["name"]),
            (t("server.screen.password"), f"{login['password']}   {t('server.screen.once')}"),
        ]
    rows += [
        (t("server.screen.try"), "muster run --all -- uptime"),
        (t("server.screen.join"), "muster node token"),
        (t("server.screen.data"), str(layout.root)),
    ]
    width = max(_width(label) for label, _ in rows)
    lines += [f"  {label}{' ' * (width - _width(label))}   {value}" for label, value in rows]
    if not state.get("tls"):
        lines += ["", "  " + t("server.screen.loopback")]
    return "\n".join([*lines, "", "  " + t("server.screen.stop"), ""])


def _width(text: str) -> int:
    """Return the columns that *text* takes: Chinese characters take two."""
    return sum(2 if ord(character) > 0x2E80 else 1 for character in text)  # noqa: PLR2004
