"""Which data directory is meant: the option, the environment, or the user's state directory."""

import os
from pathlib import Path

import click

from muster.cli.i18n import t


def default_data_dir() -> Path:
    """Return where a server keeps its data unless it is told otherwise."""
    context = click.get_current_context(silent=True)
    before: Path | None = context.find_root().params.get("data_dir") if context else None
    if before is not None:  # muster --data-dir DIR up
        return before
    if given := os.environ.get("MUSTER_DATA_DIR"):
        return Path(given).expanduser()
    from platformdirs import user_state_path  # noqa: PLC0415  # only when it is needed

    return user_state_path("muster", appauthor=False)


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_data_dir,
    show_default=False,
    help=t("server.data_dir"),
)
"""``--data-dir`` for the commands that look after a server."""
