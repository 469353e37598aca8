"""What the pages about people share."""

import streamlit as st

from muster.contracts.people import Invitation, Roles, User, UserGroups
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once, site


def state_of(user: User) -> str:
    """Return the word for how a person is."""
    if user.disabled:
        return "disabled"
    return "invited" if user.invited else "active"


def choices() -> tuple[list[str], list[str]] | None:
    """Return the names of all roles, and of all groups of people."""

    def ask() -> tuple[list[str], list[str]]:
        roles = api().get(Roles, "roles").items
        groups = api().get(UserGroups, "user-groups").items
        return [one.name for one in roles], [one.name for one in groups]

    return once(ask)


def show_link(made: Invitation, name: str) -> None:
    """Show the link of an invitation: it is told only here."""
    st.success(t("users.link", name=name), icon=":material/link:")
    st.code(f"{site()}/invitation?code={made.secret}", language=None, wrap_lines=True)
