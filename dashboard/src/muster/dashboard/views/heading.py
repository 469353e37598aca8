"""What stands above every page: its name, and the account with language and way out."""

import streamlit as st

from muster.contracts.authority import Person
from muster.dashboard.i18n import LANGUAGES, language, t
from muster.dashboard.session import api, once


def show(title: str) -> bool:
    """Draw the heading; whether somebody is logged in."""
    person = once(lambda: api().get(Person, "me"))
    if person is None:
        return False
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.subheader(title, anchor=False)
        with st.popover(person.name, icon=":material/account_circle:", type="tertiary"):
            _account(person)
    return True


def _account(person: Person) -> None:
    st.caption(t("account.as", name=person.name, roles=", ".join(person.roles) or "-"))
    st.session_state.setdefault("language", language())
    st.segmented_control(
        t("account.language"),
        list(LANGUAGES),
        key="language",
        required=True,
        format_func=lambda code: LANGUAGES[code],
    )
    st.caption(t("account.theme"))
    st.link_button(t("account.password"), "/password", icon=":material/password:", width="stretch")
    st.link_button(t("account.factor"), "/factor", icon=":material/security:", width="stretch")
    st.link_button(t("account.logout"), "/logout", icon=":material/logout:", width="stretch")
