"""Who may do what: the one decision that every path asks for.

Grants only allow; what none of them allows is refused. The decision is made on nodes that are
named, never on a selector that somebody else resolves later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Final
from zoneinfo import ZoneInfo

from muster.contracts.policy import ACTIONS, NODES, SERVER, WEEK, Grant, Window
from muster.kit.selectors import Facts, parse

SELF: Final = "self"
"""What everyone may do with what is their own."""

_ALL: Final = "all"


def allows(permissions: Iterable[str], needed: str) -> bool:
    """Whether one of *permissions* (``*``, ``node.*``, ``run.create``) covers *needed*."""
    return needed == SELF or any(_covers(pattern, needed) for pattern in permissions)


def _covers(pattern: str, needed: str) -> bool:
    if pattern in {"*", needed}:
        return True
    return pattern.endswith(".*") and needed.startswith(pattern[:-1])


def permissions(grants: Iterable[Grant]) -> list[str]:
    """Return the actions that *grants* allow somewhere and sometime: the first, coarse gate.

    An action on the server as a whole counts only if it is granted on all nodes.
    """
    found = set()
    for grant in grants:
        reach = [*NODES, *SERVER] if everywhere(grant) else [*NODES]
        found |= {action for action in reach if allows(grant.actions, action)}
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody wants to do something, now."""

    action: str
    now: datetime
    run_as: str = ""
    """A user on the nodes; empty: the one that the agent runs as."""
    fresh: bool = False
    """Whether the second factor has just been shown."""


@dataclass(slots=True)
class Verdict:
    """What may be done on which nodes (by id)."""

    allowed: set[str] = field(default_factory=set)
    approval: set[str] = field(default_factory=set)
    """Allowed as soon as another person approves."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why not, by node."""


def decide(
    grants: Sequence[Grant], request: Request, nodes: Sequence[Facts], *, total: int = 0
) -> Verdict:
    """Say what *grants* allow on *nodes*; if they are but a part of the request, of *total*."""
    number = max(total, len(nodes))
    fitting = [grant for grant in grants if allows(grant.actions, request.action)]
    open_, blocked = [], []
    for grant in fitting:
        obstacle = _obstacle(grant, request, number)
        if obstacle:
            blocked.append((grant, obstacle))
        else:
            open_.append(grant)
    verdict = Verdict()
    for node in nodes:
        held = [grant for grant in open_ if _selects(grant, node)]
        if any(not grant.approval for grant in held):
            verdict.allowed.add(node.id)
        elif held:
            verdict.approval.add(node.id)
        else:
            near = next((why for grant, why in blocked if _selects(grant, node)), "")
            verdict.refused[node.id] = near or _nowhere(request.action, fitting)
    return verdict


def may(grants: Sequence[Grant], request: Request) -> str:
    """Return nothing if *request*, on the server as a whole, is allowed, or else why not."""
    held = [g for g in grants if allows(g.actions, request.action) and everywhere(g)]
    if not held:
        return _nowhere(request.action, [])
    obstacles = [_obstacle(grant, request, 0) for grant in held]
    return "" if "" in obstacles else obstacles[0]


@dataclass(frozen=True, slots=True)
class Reach:
    """On which nodes somebody may do something, as far as that can be said without counting."""

    everywhere: bool
    grants: tuple[Grant, ...] = ()

    def covers(self, node: Facts) -> bool:
        """Whether it may be done on *node*."""
        return self.everywhere or any(_selects(grant, node) for grant in self.grants)


def reach(grants: Iterable[Grant], request: Request) -> Reach:
    """Return where *request* may be made without anybody's approval."""
    held = tuple(
        grant
        for grant in grants
        if allows(grant.actions, request.action)
        and not grant.approval
        and not _obstacle(grant, request, 1)
    )
    return Reach(any(everywhere(grant) for grant in held), held)


def depends(grants: Iterable[Grant], request: Request) -> bool:
    """Whether a decision depends on what the nodes are called, grouped and tagged."""
    held = [grant for grant in grants if allows(grant.actions, request.action)]
    return not reach(held, request).everywhere and not all(map(everywhere, held))


def narrowed(grants: Iterable[Grant], scopes: Iterable[str]) -> list[Grant]:
    """Return what is left of *grants* within *scopes*, which are actions or patterns of them."""
    allowed = list(scopes)
    found = []
    for grant in grants:
        held = [action for action in ACTIONS if allows(grant.actions, action)]
        both = [action for action in held if allows(allowed, action)]
        if both == held:
            found.append(grant)
        elif both:
            found.append(grant.model_copy(update={"actions": both}))
    return found


def exceeds(held: Sequence[Grant], wanted: Iterable[Grant]) -> str:
    """Return what of *wanted* somebody with *held* does not have without condition, or nothing.

    Nobody can give what is not theirs: only what is held on all nodes, at all times, as any of
    the wanted users, counts.
    """
    free = [grant for grant in held if everywhere(grant) and not _conditional(grant)]
    for grant in wanted:
        for action in ACTIONS:
            if not allows(grant.actions, action):
                continue
            mine = [one for one in free if allows(one.actions, action)]
            if not mine:
                return f"you do not hold {action} on all nodes yourself"
            for user in grant.run_as:
                if not any(user in one.run_as or "*" in one.run_as for one in mine):
                    return f"you do not hold {action} as the user {user} yourself"
    return ""


def unconditional(grant: Grant) -> Grant:
    """Return *grant* without what is asked for once, when something begins; hours stay."""
    return grant.model_copy(update={"approval": False, "most": None, "fresh": False})


def complaint(grant: Grant) -> str:
    """Return what is wrong with a grant that somebody has written, or nothing."""
    for action in grant.actions:
        if not any(allows([action], known) for known in ACTIONS):
            return f"there is no action {action}: {', '.join(sorted(ACTIONS))}"
    for window in grant.during:
        try:
            ZoneInfo(window.zone)
        except (OSError, ValueError, KeyError):
            return f"there is no time zone {window.zone}: give one like Europe/Berlin"
    if facts := parse(grant.nodes).facts:
        return f"a grant cannot go by what nodes tell of themselves: {', '.join(sorted(facts))}"
    return ""


def _conditional(grant: Grant) -> bool:
    return bool(grant.during or grant.most or grant.approval or grant.fresh)


def _nowhere(action: str, fitting: Sequence[Grant]) -> str:
    if fitting:
        return f"none of your roles allows {action} on this node"
    return f"none of your roles allows {action}"


def everywhere(grant: Grant) -> bool:
    """Whether *grant* is about all nodes, whatever they are called."""
    return grant.nodes.strip().lower() == _ALL


def _selects(grant: Grant, node: Facts) -> bool:
    return everywhere(grant) or parse(grant.nodes).matches(node)


def _obstacle(grant: Grant, request: Request, nodes: int) -> str:
    """Return which condition of *grant* is not met, or nothing."""
    if request.run_as and not any(fnmatchcase(request.run_as, user) for user in grant.run_as):
        return f"none of your roles allows {request.action} as the user {request.run_as}"
    if grant.during and not any(within(window, request.now) for window in grant.during):
        return f"your role allows {request.action} only at certain hours"
    if grant.most is not None and nodes > grant.most:
        return f"your role allows {request.action} on at most {grant.most} nodes at once"
    if grant.fresh and not request.fresh:
        return f"{request.action} needs your second factor again"
    return ""


def within(window: Window, now: datetime) -> bool:
    """Whether *now* lies in *window*, by the clocks of its zone; never, if it is not known."""
    try:
        there = now.astimezone(ZoneInfo(window.zone))
    except (OSError, ValueError, KeyError):
        return False
    clock, today, yesterday = (
        there.time(),
        WEEK[there.weekday()] in window.days,
        WEEK[(there - timedelta(days=1)).weekday()] in window.days,
    )
    if window.start < window.end:
        return today and window.start <= clock < window.end
    if window.start == window.end:
        return today
    return (today and clock >= window.start) or (yesterday and clock < window.end)
