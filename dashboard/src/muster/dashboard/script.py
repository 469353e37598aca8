"""The Streamlit script: navigation, language, who is logged in."""

import streamlit as st

from muster.dashboard.i18n import LANGUAGES, language, t
from muster.dashboard.session import api, once
from muster.dashboard.views import audit, fleet, history, join, node, run


def main() -> None:
    """Draw the chosen page."""
    st.set_page_config(
        page_title="Muster",
        page_icon=":material/hub:",
        layout="wide",
        initial_sidebar_state="collapsed",
    )
    pages = [
        st.Page(
            fleet.page, title=t("nav.fleet"), icon=":material/dns:", url_path="fleet", default=True
        ),
        st.Page(node.page, title=t("nav.node"), icon=":material/monitoring:", url_path="node"),
        st.Page(run.page, title=t("nav.run"), icon=":material/terminal:", url_path="run"),
        st.Page(
            history.page, title=t("nav.history"), icon=":material/history:", url_path="history"
        ),
        st.Page(join.page, title=t("nav.join"), icon=":material/add_link:", url_path="join"),
        st.Page(
            audit.page, title=t("nav.audit"), icon=":material/verified_user:", url_path="audit"
        ),
    ]
    chosen = st.navigation(pages, position="top")
    _account()
    chosen.run()


def _account() -> None:
    """Show who is logged in, the language, and the way out."""
    person = once(lambda: api().get("/me"))
    if person is None:
        st.stop()
    with st.sidebar:
        st.caption(t("account.as", name=person["name"]))
        st.session_state.setdefault("language", language())
        st.radio(
            t("account.language"),
            list(LANGUAGES),
            key="language",
            format_func=lambda code: LANGUAGES[code],
            horizontal=True,
        )
        st.caption(t("account.theme"))
        st.link_button(t("account.logout"), "/logout", width="stretch")


main()
