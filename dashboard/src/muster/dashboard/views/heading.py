"""What stands above every page: its name, and the account with language and way out."""

import streamlit as st

from muster.contracts.authority import Person
from muster.dashboard.i18n import LANGUAGES, language, t
from muster.dashboard.session import api, once
from muster.kit import policy


def person() -> Person | None:
    """Return who looks at the page, as it was when the page began to be drawn."""
    found: Person | None = st.session_state.get("person")
    return found


def may(*actions: str) -> bool:
    """Whether who looks may do one of these; the gateway decides about what is done."""
    who = person()
    held = who.permissions if who else []
    return any(policy.allows(held, action) for action in actions)


def ask() -> None:
    """Ask who looks at the page; what they may do may have changed."""
    st.session_state.person = once(lambda: api().get(Person, "me"))


def show(title: str) -> bool:
    """Draw the heading; whether somebody is logged in."""
    who = person()
    if who is None:
        return False
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.subheader(title, anchor=False)
        with st.popover(who.name, icon=":material/account_circle:", type="tertiary"):
            _account(who)
    return True


def _account(who: Person) -> None:
    st.caption(t("account.as", name=who.name, roles=", ".join(who.roles) or "-"))
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
