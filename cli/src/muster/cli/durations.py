"""Spans of time as people write and read them: ``90``, ``90s``, ``5m``, ``1h30m``, ``1d``."""

import re
from typing import Any, Final

import click

from muster.cli.i18n import t

_UNITS: Final = {
    "": 1.0,
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|[smhdw]|)")
_WHOLE: Final = re.compile(
    r"(?:[0-9]{1,9}(?:\.[0-9]{1,6})?|(?:[0-9]{1,9}(?:\.[0-9]{1,6})?(?:ms|[smhdw]))+)"
)
_SHOWN: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def parse(text: str) -> float:
    """Return the seconds that *text* means, or raise `ValueError`."""
    text = text.strip().lower()
    if not _WHOLE.fullmatch(text):
        raise ValueError(text)
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text) if number)


def show(seconds: float) -> str:
    """Return *seconds* in at most two units: ``1d 4h``, ``5m 30s``, ``0.2s``."""
    if 0 < seconds < 10:  # noqa: PLR2004  # a tenth of a second matters only here
        return f"{seconds:.1f}s".replace(".0s", "s")
    left = max(0, round(seconds))
    parts: list[str] = []
    for index, (unit, size) in enumerate(_SHOWN):
        count, rest = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
            left = rest
        if len(parts) == 2 or (parts and index == len(_SHOWN) - 1):  # noqa: PLR2004
            break
    return " ".join(part for part in parts if part) or "0s"


class Duration(click.ParamType[float]):
    """A span of time on the command line."""

    name = "duration"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what the help shows for it."""
        del param, ctx
        return t("meta.duration")

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        if isinstance(value, int | float):
            return float(value)
        try:
            seconds = parse(value)
        except ValueError:
            self.fail(t("duration.wrong", value=value), param, ctx)
        if seconds <= 0:
            self.fail(t("duration.positive"), param, ctx)
        return seconds
