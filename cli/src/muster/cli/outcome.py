"""How a run ended, in one line for people and in one number for programs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from muster.cli import durations, human
from muster.cli.failures import Exit
from muster.cli.folding import fold
from muster.cli.i18n import t
from muster.cli.printing import FINAL
from muster.kit.text import shorten

_ORDER: Final = (
    "done",
    "failed",
    "timed_out",
    "refused",
    "interrupted",
    "lost",
    "expired",
    "cancelled",
    "started",
    "received",
    "sent",
    "accepted",
    "queued",
    "waiting",
)
_PATIENT: Final = frozenset({"queued", "waiting"})
"""Nothing happens until a node comes back, or a person approves."""

_CAUSES: Final = 5
_NAMES: Final = 60
_TIMED_OUT: Final = 124
"""As ``timeout`` of coreutils says it."""

Target = Mapping[str, Any]


def settled(targets: Iterable[Target], *, wait: bool) -> bool:
    """Whether there is nothing to wait for: unless *wait*, not for who is away or must approve."""
    return all(
        target["state"] in FINAL or (target["state"] in _PATIENT and not wait) for target in targets
    )


def exit_code(targets: Iterable[Target]) -> int:
    """Return the exit code for what became of *targets*."""
    states = {str(target["state"]) for target in targets}
    bad = states - {"done"}
    if states - FINAL:
        return Exit.WAITING
    if not bad:
        return Exit.OK
    if bad == {"cancelled"}:
        return Exit.CANCELLED
    if bad == {"lost"}:
        return Exit.NO_ANSWER
    return Exit.FAILED


def own_code(target: Target) -> int:
    """Return the exit code of the command itself, as a shell would."""
    if target.get("signal"):
        return 128 + int(target["signal"])
    if target["state"] == "timed_out":
        return _TIMED_OUT
    if target.get("exit") is not None:
        return int(target["exit"])
    return exit_code([target])


def summary(targets: Iterable[Target], expires: str | None = None) -> str:
    """Return one line: ``3 done, 1 failed (db2: exit 2), 1 queued (web9 is away…)``."""
    by_state: dict[str, list[Target]] = defaultdict(list)
    for target in targets:
        by_state[str(target["state"])].append(target)
    parts = []
    for state in sorted(by_state, key=_place):
        some = by_state[state]
        details = _still(state, some, expires) if state in _PATIENT else _causes(some)
        count = t("summary.count", n=len(some), state=t(f"state.{state}"))
        parts.append(f"{count} ({details})" if details else count)
    return ", ".join(parts)


def cause(target: Target) -> str:
    """Return why a target ended as it did: ``exit 2``, ``signal 9``, the reason it gave."""
    if target["state"] == "failed" and target.get("signal"):
        return t("cause.signal", signal=target["signal"])
    if target["state"] == "failed" and target.get("exit") is not None:
        return t("cause.exit", code=target["exit"])
    return human.safe(target.get("reason"))


def spent(target: Target) -> str:
    """Return for how long the command ran."""
    begun, ended = human.moment(target.get("started")), human.moment(target.get("finished"))
    return durations.show((ended - begun).total_seconds()) if begun and ended else "-"


def _place(state: str) -> int:
    return _ORDER.index(state) if state in _ORDER else len(_ORDER)


def _causes(some: Iterable[Target]) -> str:
    """Return who ended why, the same reason once; nothing for those that need no reason."""
    by_cause: dict[str, list[str]] = defaultdict(list)
    for target in some:
        if target["state"] in FINAL - {"done"}:
            by_cause[cause(target)].append(str(target["name"]))
    shown = [
        f"{_names(names)}: {why}" if why else _names(names)
        for why, names in sorted(by_cause.items(), key=lambda one: -len(one[1]))
    ]
    return "; ".join(shown[:_CAUSES] + ["…"] * (len(shown) > _CAUSES))


def _still(state: str, some: Iterable[Target], expires: str | None) -> str:
    names = [str(target["name"]) for target in some]
    if state == "waiting":
        return t("summary.waiting", names=_names(names), span=human.until(expires))
    key = "summary.away.one" if len(names) == 1 else "summary.away.other"
    return t(key, names=_names(names), span=human.until(expires))


def _names(names: Iterable[str]) -> str:
    return shorten(human.safe(fold(names)), _NAMES)
