"""Times of the week on the command line: ``mon-fri 08:00-18:00 Asia/Shanghai``."""

from typing import Any

import click

from muster.cli.i18n import t
from muster.kit.windows import parse


class Window(click.ParamType[dict[str, Any]]):
    """A time of the week on the command line."""

    name = "window"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Return the window as the API takes it."""
        try:
            return parse(value)
        except ValueError:
            self.fail(t("window.wrong", value=value), param, ctx)
