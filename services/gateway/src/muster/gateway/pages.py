"""The pages that work without JavaScript: how they are drawn, the password, the way out, errors."""

from collections.abc import Mapping
from functools import partial
from importlib import resources
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from muster.contracts.authority import (
    CHANGE_PASSWORD,
    LOGOUT,
    ChangePassword,
    Exchange,
)
from muster.contracts.errors import (
    Denied,
    Expired,
    MusterError,
    NoAnswer,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from muster.gateway.gate import Gate, Here
from muster.gateway.languages import LANGUAGES, language_of, load_texts
from muster.gateway.openapi import by_tag
from muster.gateway.origins import local_path
from muster.gateway.people import Visitor
from muster.kit.text import clean

router = APIRouter(include_in_schema=False)

CSP: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_STATIC: Final = {
    "muster.css": "text/css",
    "icon.svg": "image/svg+xml",
    "passkey.js": "text/javascript",
}
_SHORTEST: Final = 10
LONGEST: Final = 1000


class Pages:
    """Renders templates in the language of the one who asks."""

    def __init__(self) -> None:
        """Read templates, texts and style."""
        self._texts = load_texts()
        self._jinja = Environment(
            loader=PackageLoader("muster.gateway"), autoescape=True, undefined=StrictUndefined
        )
        self._jinja.filters["code"] = _code
        folder = resources.files("muster.gateway") / "static"
        self.static = {name: (folder / name).read_bytes() for name in _STATIC}

    def text(self, request: Request, key: str) -> str:
        """Return one text."""
        return self._texts[language_of(request)][key]

    def render(
        self,
        request: Request,
        template: str,
        status: int = 200,
        *,
        script: bool = False,
        **values: Any,
    ) -> Response:
        """Return a page; one that needs it may load our own script, and no other."""
        query = f"?{request.url.query}" if request.method == "GET" and request.url.query else ""
        html = self._jinja.get_template(template).render(
            t=partial(self.text, request),
            language=language_of(request),
            languages=LANGUAGES,
            here=request.url.path + query,
            **values,
        )
        policy = f"{CSP}; script-src 'self'" if script else CSP
        headers = {"content-security-policy": policy, "vary": "accept-language, cookie"}
        return Response(html, status, headers=headers, media_type="text/html")


def install(app: FastAPI) -> None:
    """Read what the pages need."""
    app.state.pages = Pages()


def _pages(request: Request) -> Pages:
    pages: Pages = request.app.state.pages
    return pages


def error_page(request: Request, code: str, status: int) -> Response:
    """Return the page that tells of an error, without its details."""
    known = code if code not in {"conflict", "expired", "no_answer"} else "unavailable"
    return _pages(request).render(request, "error.html", status, code=known, number=status)


def waiting_page(request: Request) -> Response:
    """Return the page that waits for the dashboard."""
    return _pages(request).render(request, "waiting.html", 502)


@router.get("/")
async def home(request: Request, gate: Here) -> Response:
    """Lead to the dashboard, or show what there is."""
    if gate.dashboard is not None:
        return RedirectResponse("/dashboard/", 303)
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse("/login", 303)
    return _pages(request).render(request, "home.html", name=visitor.person.name)


@router.get("/static/{name}")
async def static(request: Request, name: str) -> Response:
    """Return the style, the icon or the script."""
    if name not in _STATIC:
        raise HTTPException(404)
    headers = {"cache-control": "public, max-age=3600"}
    return Response(_pages(request).static[name], headers=headers, media_type=_STATIC[name])


@router.post("/language")
async def language(request: Request, gate: Here) -> Response:
    """Remember the language that a person has chosen."""
    form = await form_of(request)
    response = RedirectResponse(local_path(form.get("next", "/")), 303)
    if form.get("to", "") in LANGUAGES:
        gate.cookies.speak(response, form["to"])
    return response


@router.get("/password")
async def password_page(request: Request, gate: Here) -> Response:
    """Ask for a new password."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse("/login?next=/password", 303)
    return _password_form(request, gate, visitor)


@router.post("/password")
async def password(request: Request, gate: Here) -> Response:
    """Change the password."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse("/login?next=/password", 303)
    form = await form_of(request)
    try:
        gate.cookies.check(request, form.get("csrf", ""))
        if (key := rule_broken(form)) is not None:
            return _password_form(request, gate, visitor, text_of(request, key), 400)
        ask = ChangePassword(old=form["old"], new=form["new"])
        await visitor.ask(CHANGE_PASSWORD, ask, timeout=15)
    except MusterError as error:
        fault = fault_of(request, error, wrong="password.wrong")
        return _password_form(request, gate, visitor, fault, error.status)
    gate.people.forget_person(visitor.person.name)
    return RedirectResponse("/", 303)


@router.get("/logout")
async def logout_page(request: Request, gate: Here) -> Response:
    """Ask whether to sign out: a link must not do it by itself."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse("/login", 303)
    return _logout_form(request, gate, visitor)


@router.post("/logout")
async def logout(request: Request, gate: Here) -> Response:
    """End the session."""
    form = await form_of(request)
    visitor = await signed_in(request, gate)
    response = RedirectResponse("/login", 303)
    if visitor is not None:
        try:
            gate.cookies.check(request, form.get("csrf", ""))
        except Denied as error:
            return _logout_form(request, gate, visitor, fault_of(request, error, wrong=""), 403)
        await end_session(gate, visitor)
    gate.cookies.take(response)
    return response


@router.get("/api/v1/docs")
async def docs(request: Request) -> Response:
    """Show the API, from its OpenAPI document."""
    document = request.app.openapi()
    return _pages(request).render(request, "api.html", document=document, tags=by_tag(document))


async def end_session(gate: Gate, visitor: Visitor) -> None:
    """End a session at the authority, forget its tickets, cut its WebSockets."""
    await gate.bus.ask(LOGOUT, Exchange(secret=visitor.secret, origin=visitor.origin))
    gate.people.forget(visitor.secret)
    gate.hub.cut(visitor.secret)


async def signed_in(request: Request, gate: Gate) -> Visitor | None:
    """Return who has a session in this browser."""
    if not gate.cookies.secret(request):
        return None
    try:
        return await gate.people.visitor(request)
    except Unauthenticated:
        return None


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form."""
    async with request.form(max_files=0, max_fields=20) as form:
        return {key: value for key, value in form.items() if not isinstance(value, UploadFile)}


def _password_form(
    request: Request, gate: Gate, visitor: Visitor, fault: str = "", status: int = 200
) -> Response:
    person = visitor.person
    values = {"fault": fault, "name": person.name, "must": person.must_change_password}
    target = local_path(request.query_params.get("next", "/"))
    return with_token(request, gate, "password.html", status, next=target, **values)


def _logout_form(
    request: Request, gate: Gate, visitor: Visitor, fault: str = "", status: int = 200
) -> Response:
    name = visitor.person.name
    return with_token(request, gate, "logout.html", status, fault=fault, name=name)


def with_token(request: Request, gate: Gate, template: str, status: int, **values: Any) -> Response:
    """Render a form; its token and the browser's cookie belong together."""
    carrier = Response()
    token = gate.cookies.form_token(request, carrier)
    page = _pages(request).render(request, template, status, csrf=token, **values)
    page.raw_headers += [pair for pair in carrier.raw_headers if pair[0] == b"set-cookie"]
    return page


def text_of(request: Request, key: str) -> str:
    """Return one text in the person's language."""
    return _pages(request).text(request, key)


def rule_broken(form: Mapping[str, str]) -> str | None:
    """Return the key of the text that says what is wrong with a new password."""
    old, new = form.get("old", ""), form.get("new", "")
    if new != form.get("again", ""):
        return "password.differ"
    if not _SHORTEST <= len(new) <= LONGEST:
        return "password.short"
    if not 1 <= len(old) <= LONGEST:
        return "password.wrong"
    return "password.same" if old == new else None


def fault_of(request: Request, error: MusterError, *, wrong: str) -> str:
    """Say in the person's language why a form was refused."""
    text = partial(text_of, request)
    if isinstance(error, Unauthenticated | NotFound | Expired):
        return text(wrong)
    if isinstance(error, TooMany):
        return text("login.too_many")
    if isinstance(error, Denied) and "csrf" in str(error).lower():
        return text("form.forged")
    if isinstance(error, Unavailable | NoAnswer) or type(error) is MusterError:
        return text("form.trouble")
    return text("form.refused").format(detail=clean(str(error)))


def _code(text: str) -> Markup:
    """Show what stands between back-ticks as code."""
    parts = [
        Markup("<code>%s</code>") % part if odd else escape(part)
        for odd, part in ((index % 2, part) for index, part in enumerate(text.split("`")))
    ]
    return Markup("").join(parts)
