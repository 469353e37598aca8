"""What every page starts from: the person's API, and errors that people can read."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import streamlit as st

from muster.dashboard.api import Api, ApiError
from muster.dashboard.i18n import t


def api() -> Api:
    """Return the API as the person of this browser."""
    return Api(st.context.cookies)


@contextmanager
def told() -> Generator[None]:
    """Show what the gateway refused instead of failing."""
    try:
        yield
    except ApiError as error:
        if error.status == 401:  # noqa: PLR2004
            st.error(t("error.session"))
            st.link_button(t("error.login"), "/login", type="primary")
        else:
            st.error(str(error))


def once(ask: Callable[[], Any]) -> Any | None:
    """Return what *ask* returns, or None after its error has been shown."""
    with told():
        return ask()
    return None
