"""Give a command to nodes: which ones, the server says, and the person confirms.

The dialog resolves the chosen ids once, when it opens, and shows what the server answered. What
is started is exactly what is shown; what the server did not know is named and left out. Each
opening has a key of its own, so that pressing twice starts one run.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import streamlit as st

from muster.contracts.errors import NotFound
from muster.contracts.names import new_id
from muster.contracts.nodes import Node, NodePage, NodeState, Target, Targets
from muster.contracts.runs import Command, CreateRun, RunView
from muster.dashboard import shapes
from muster.dashboard.api import ApiError
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views import dialogs
from muster.dashboard.views.picking import height
from muster.kit.text import clean

_SINGLY: Final = 20
"""Up to so many nodes are asked for one by one; for more, the list is read."""
_PAGE: Final = 1000


@dataclass(frozen=True)
class Draft:
    """What is to be run; the text is not parsed yet."""

    text: str = ""
    shell: bool = True
    timeout: float = 3600.0
    note: str = ""


@dataclass(frozen=True)
class Order:
    """A draft, and the nodes that the server knows by the ids that were chosen."""

    targets: tuple[Target, ...]
    missing: int
    draft: Draft
    key: str = field(default_factory=new_id)


def resolve(ids: Sequence[str]) -> tuple[Target, ...]:
    """Ask the server who *ids* are; revoked and unknown ones are left out."""
    wanted = dict.fromkeys(ids)
    found = _singly(wanted) if len(wanted) <= _SINGLY else _listed(wanted)
    able = [Target(id=n.id, name=n.name, state=n.state) for n in found]
    return tuple(sorted((n for n in able if n.state != NodeState.REVOKED), key=lambda n: n.name))


def _singly(ids: dict[str, None]) -> list[Node]:
    found = []
    for id_ in ids:
        try:
            node = api().get(Node, "nodes", id_)
        except ApiError as error:
            if error.status != NotFound.status:
                raise
            continue
        if node.id == id_:  # a name that looks like an id is not the id
            found.append(node)
    return found


def _listed(ids: dict[str, None]) -> list[Node]:
    found: list[Node] = []
    cursor = ""
    while True:
        page = api().get(NodePage, "nodes", limit=_PAGE, cursor=cursor, brief=True)
        found += [node for node in page.items if node.id in ids]
        cursor = page.next
        if not cursor:
            return found


def open_dialog(ids: Sequence[str], draft: Draft | None = None) -> None:
    """Resolve *ids* and let the person confirm."""
    targets = once(lambda: resolve(ids))
    if targets is None:
        return
    order = Order(targets, len(set(ids)) - len(targets), draft or Draft())
    confirm = partial(_confirm, order, fixed=draft is not None)
    dialogs.ask(t("fleet.run"), confirm, "medium")


def _confirm(order: Order, *, fixed: bool) -> None:
    """Show whom it concerns, take what is missing of the command, and start it."""
    if not order.targets:
        st.warning(t("order.nobody"))
        return
    st.markdown(t("order.on", count=len(order.targets)))
    if order.missing:
        st.warning(t("order.missing", count=order.missing))
    rows = [
        {"name": one.name, "state": shapes.state(one.state, t(f"state.{one.state}")), "id": one.id}
        for one in order.targets
    ]
    labels = {"name": t("fleet.name"), "state": t("fleet.state"), "id": t("node.id")}
    st.dataframe(rows, hide_index=True, column_config=labels, height=height(len(rows), 7))
    draft = order.draft if fixed else _asked()
    if fixed:
        st.code(clean(draft.text, keep="\n\t"), language=None, wrap_lines=True)
    elsewhere = len([one for one in order.targets if one.state != NodeState.ONLINE])
    if elsewhere:
        st.caption(t("order.away", count=elsewhere))
    label = t("order.start", count=len(order.targets))
    pressed = st.button(label, type="primary", icon=":material/play_arrow:", key="order_start")
    if pressed:
        _start(order, draft)


def _asked() -> Draft:
    text = st.text_input(t("run.command"), key="order_command", placeholder="uptime")
    note = st.text_input(t("run.note"), key="order_note", max_chars=200)
    return Draft(text=text, note=note)


def parse(draft: Draft) -> Command | None:
    """Return the command, or None after saying what is wrong with it."""
    if not draft.text.strip():
        st.warning(t("run.missing"))
        return None
    if draft.shell:
        return Command(shell=draft.text, timeout=draft.timeout)
    try:
        words = shlex.split(draft.text)
    except ValueError:
        st.warning(t("run.quotes"))
        return None
    return Command(argv=words, timeout=draft.timeout)


def _start(order: Order, draft: Draft) -> None:
    command = parse(draft)
    if command is None:
        return
    names = [one.id for one in order.targets]
    ask = CreateRun(command=command, targets=Targets(names=names), note=draft.note)
    body = ask.model_dump(mode="json", exclude_defaults=True)
    run = once(lambda: api().post(RunView, "runs", body=body, key=order.key))
    if run is not None:
        st.session_state.run_nodes = names
        st.switch_page(st.session_state.pages["run"], query_params={"run": run.id})
