"""Run a command: choose nodes, say what to do, confirm."""

import streamlit as st

from muster.dashboard.i18n import t
from muster.dashboard.session import once
from muster.dashboard.views import ordering, watching
from muster.dashboard.views.names import label, names


def page() -> None:
    """Draw the page: the form, or the run that is in the address."""
    wanted = st.query_params.get("run", "")
    if not wanted:
        _form()
        return
    if st.button(t("run.another"), icon=":material/add:", type="tertiary"):
        del st.query_params["run"]
        st.rerun()
    watching.show(wanted)


def _form() -> None:
    there = once(names)
    if there is None:
        return
    if not there:
        st.info(t("fleet.nobody"), icon=":material/add_link:")
        return
    preset = [id_ for id_ in st.session_state.get("run_nodes", []) if id_ in there]
    with st.form("run"):
        chosen = st.multiselect(
            t("run.nodes"),
            list(there),
            default=preset,
            format_func=lambda id_: label(*there[id_]),
            placeholder=t("run.choose"),
        )
        text = st.text_area(t("run.command"), placeholder="df -h", height=80)
        left, middle, right = st.columns([2, 1, 3], vertical_alignment="bottom")
        shell = left.toggle(t("run.shell"), value=True, help=t("run.shell_help"))
        timeout = middle.number_input(t("run.timeout"), min_value=1, max_value=604800, value=3600)
        note = right.text_input(t("run.note"), max_chars=200)
        asked = st.form_submit_button(t("run.review"), type="primary", icon=":material/play_arrow:")
    if asked:
        draft = ordering.Draft(text=text.strip(), shell=shell, timeout=float(timeout), note=note)
        if not chosen:
            st.warning(t("run.missing"))
        elif ordering.parse(draft) is not None:
            ordering.open_dialog(chosen, draft)
