"""What has been run: newest first; open one to see it again."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from muster.contracts.runs import RunPage, RunView
from muster.dashboard import shapes
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views.picking import Picker, Turner, height
from muster.kit.text import clean


def page() -> None:
    """Draw the page."""
    left, middle, right = st.columns([3, 2, 1], vertical_alignment="bottom")
    node = left.text_input(
        t("history.node"), key="history_node", placeholder=t("history.node_hint"), max_chars=200
    )
    by = middle.text_input(t("history.by"), key="history_by", max_chars=200)
    active = right.toggle(t("history.active"), key="history_active")
    st.fragment(_table, run_every=10)(node.strip(), by.strip(), active=active)


def _table(node: str, by: str, *, active: bool) -> None:
    turner = Turner("history", node, by, active)
    found = once(
        lambda: api().get(
            RunPage, "runs", node=node, by=by, active=active, limit=50, before=turner.cursor
        )
    )
    if found is None:
        return
    if not found.items:
        st.info(t("history.no_match" if node or by or active else "history.none"))
        turner.buttons("", t("fleet.previous"), t("fleet.next"))
        return
    picker = Picker("history")
    known: dict[str, RunView] = st.session_state.get("history_known", {})
    known = known | {run.id: run for run in found.items}
    ids = picker.settle([run.id for run in found.items], anew=turner.anew)
    st.session_state.history_known = {id_: known[id_] for id_ in ids}
    st.dataframe(
        run_rows([known[id_] for id_ in ids]),
        key=picker.key,
        on_select="rerun",
        # as in the fleet: no sorting in the browser, so that a position means one run
        selection_mode=("single-row", "single-column"),
        hide_index=True,
        column_config=run_columns(),
        height=height(len(ids)),
    )
    if picker.ticked:
        st.switch_page(st.session_state.pages["run"], query_params={"run": picker.ticked[0]})
    st.caption(t("history.open"))
    turner.buttons(found.next, t("fleet.previous"), t("fleet.next"))


def run_rows(runs: Sequence[RunView], *, link: bool = False) -> list[dict[str, Any]]:
    """Return runs as rows of a table."""
    return [
        {
            **({"run": f"/dashboard/run?run={run.id}"} if link else {}),
            "when": run.created,
            "command": shapes.command(run.command),
            "result": "  ".join(
                f"{shapes.state(state, t(f'state.{state}'))} {number}"
                for state, number in run.counts.items()
                if number
            ),
            "by": clean(run.by),
            "note": clean(run.note),
        }
        for run in runs
    ]


def run_columns(*, link: bool = False) -> dict[str, Any]:
    """Return how the columns of `run_rows` look."""
    columns: dict[str, Any] = {
        "when": st.column_config.DatetimeColumn(t("history.when"), format="YYYY-MM-DD HH:mm:ss"),
        "command": st.column_config.TextColumn(t("history.command"), width="large"),
        "result": st.column_config.TextColumn(t("history.result"), width="medium"),
        "by": st.column_config.TextColumn(t("history.by")),
        "note": st.column_config.TextColumn(t("run.note")),
    }
    if link:
        columns["run"] = st.column_config.LinkColumn(
            t("history.run"), display_text=":material/open_in_new:", width="small"
        )
    return columns
