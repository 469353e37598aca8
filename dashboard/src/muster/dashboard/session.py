"""What every page starts from: the person's API, and errors that people can read."""

import hashlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar
from urllib.parse import urlsplit

import streamlit as st

from muster.contracts.errors import BY_CODE, Unauthenticated
from muster.dashboard.api import COOKIES, Api, ApiError
from muster.dashboard.i18n import has, t

T = TypeVar("T")
_LOGIN: Final = "/login?next=/dashboard/"


def cookies() -> Mapping[str, str]:
    """Return the cookies of this browser."""
    return st.context.cookies


def api() -> Api:
    """Return the API as the person of this browser."""
    return Api(cookies())


def site() -> str:
    """Return the address of the gateway, as this browser knows it."""
    parts = urlsplit(st.context.url or "")
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def person_key() -> str:
    """Return what tells this login from others: a part of the key of whatever is cached."""
    secret = next((cookies()[name] for name in COOKIES if name in cookies()), "")
    return hashlib.sha256(secret.encode()).hexdigest()


@contextmanager
def told() -> Generator[None]:
    """Show what the gateway refused instead of failing."""
    try:
        yield
    except ApiError as error:
        show_error(error)


def show_error(error: ApiError) -> None:
    """Say what went wrong in the person's language; the detail is text, whatever it holds."""
    if error.status == Unauthenticated.status:
        st.warning(t("error.session"), icon=":material/lock_clock:")
        st.link_button(t("error.login"), _LOGIN, type="primary", icon=":material/login:")
        return
    code = error.code if error.code in BY_CODE else "internal"
    st.error(t(f"error.{code}") if has(f"error.{code}") else t("error.internal"))
    if str(error):
        st.text(str(error))


def once(ask: Callable[[], T]) -> T | None:
    """Return what *ask* returns, or None after its error has been shown."""
    with told():
        return ask()
    return None
