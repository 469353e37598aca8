"""Change a node: its name, groups and tags, and its end."""

from functools import partial

import streamlit as st

from muster.contracts.base import Nothing
from muster.contracts.nodes import Node
from muster.dashboard.i18n import t
from muster.dashboard.session import api, once
from muster.dashboard.views import dialogs


def show(node: Node) -> None:
    """Offer what can be changed."""
    with st.expander(t("node.change"), icon=":material/edit:"), st.form(f"change-{node.id}"):
        name = st.text_input(t("fleet.name"), value=node.name, max_chars=63)
        groups = st.text_input(
            t("fleet.groups"), value=", ".join(node.groups), placeholder="web, production"
        )
        pairs = ", ".join(f"{key}={value}" for key, value in node.tags.items())
        tags = st.text_input(t("fleet.tags"), value=pairs, placeholder="site=mac, role=db")
        if st.form_submit_button(t("node.save"), icon=":material/check:"):
            _save(node, name.strip(), _words(groups), _pairs(tags))
    with st.expander(t("node.revoke"), icon=":material/block:"):
        st.markdown(t("node.revoke_what"))
        if st.button(t("node.revoke_ask"), key=f"revoke-{node.id}"):
            dialogs.ask(t("node.revoke"), partial(_revoke, node))


def _words(text: str) -> set[str]:
    return {one.strip() for one in text.split(",") if one.strip()}


def _pairs(text: str) -> dict[str, str] | None:
    """Return the tags that were typed, or None if one of them has no value."""
    split = [one.partition("=") for one in _words(text)]
    if any(not (key.strip() and value.strip()) for key, _, value in split):
        return None
    return {key.strip(): value.strip() for key, _, value in split}


def _save(node: Node, name: str, groups: set[str], tags: dict[str, str] | None) -> None:
    """Bring the node in line with the form."""
    if tags is None:
        st.warning(t("node.bad_tags"))
        return

    def save() -> bool:
        has = set(node.groups)
        if groups != has:
            body = {"add": sorted(groups - has), "remove": sorted(has - groups)}
            api().post(Node, "nodes", node.id, "groups", body=body)
        if tags != node.tags:
            gone = [key for key in node.tags if key not in tags]
            api().post(Node, "nodes", node.id, "tags", body={"put": tags, "remove": gone})
        if name != node.name:
            api().patch(Node, "nodes", node.id, body={"name": name})
        return True

    if once(save):
        st.cache_data.clear()
        st.rerun()


def _revoke(node: Node) -> None:
    """Take the name as proof that this node is meant, and shut it out by its id."""
    st.markdown(t("node.revoke_what"))
    typed = st.text_input(t("node.type_name", name=node.name), key=f"typed-{node.id}")
    reason = st.text_input(t("node.reason"), key=f"reason-{node.id}", max_chars=1000)
    if st.button(t("node.revoke"), type="primary", icon=":material/block:", key="revoke_now"):
        if typed != node.name:
            st.warning(t("node.other_name"))
            return
        path = ("nodes", node.id, "revoke")
        if once(lambda: api().post(Nothing, *path, body={"reason": reason})) is not None:
            st.cache_data.clear()
            st.rerun()
