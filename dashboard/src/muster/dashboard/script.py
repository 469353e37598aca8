"""The Streamlit script: who is logged in, and the pages."""

from pathlib import Path

import streamlit as st

from muster.dashboard.i18n import t
from muster.dashboard.views import audit, dialogs, fleet, heading, history, join, node, run


def main() -> None:
    """Draw the chosen page."""
    st.set_page_config(
        page_title="Muster",
        page_icon=str(Path(__file__).with_name("icon.svg")),  # the named ones come from elsewhere
        layout="wide",
        initial_sidebar_state="collapsed",
        menu_items={"About": t("about")},  # a menu at all: there the theme is chosen
    )
    pages = [
        st.Page(fleet.page, title=t("nav.fleet"), icon=":material/dns:", url_path="fleet"),
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
    st.session_state.pages = {page.url_path or "fleet": page for page in pages}
    if heading.show(chosen.title):
        chosen.run()
        dialogs.open_asked()


main()
