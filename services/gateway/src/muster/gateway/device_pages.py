"""The page on which one lets a command line in, without scripts."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from muster.contracts.devices import APPROVE_DEVICE, LOOK_AT_DEVICE, ApproveDevice, LookAtDevice
from muster.contracts.errors import MusterError
from muster.gateway.gate import Gate, Here
from muster.gateway.pages import fault_of, form_of, signed_in, with_token
from muster.gateway.people import Visitor
from muster.kit.text import clean

router = APIRouter(include_in_schema=False)


@router.get("/device")
async def device_page(request: Request, gate: Here, code: str = "") -> Response:
    """Ask for the code, or whether the command line that has it is one's own."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse(f"/login?next=/device%3Fcode%3D{_bare(code)}", 303)
    return await _shown(request, gate, visitor, _bare(code))


@router.post("/device")
async def approve(request: Request, gate: Here) -> Response:
    """Look at a code, or say yes to it."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse("/login?next=/device", 303)
    form = await form_of(request)
    code = _bare(form.get("code", ""))
    if form.get("yes") != "yes":
        return await _shown(request, gate, visitor, code)
    try:
        gate.cookies.check(request, form.get("csrf", ""))
        await visitor.ask(APPROVE_DEVICE, ApproveDevice(code=code or " "))
    except MusterError as error:
        fault = fault_of(request, error, wrong="device.wrong")
        return _page(request, gate, error.status, fault=fault)
    return _page(request, gate, 200, done=True)


async def _shown(request: Request, gate: Gate, visitor: Visitor, code: str) -> Response:
    if not code:
        return _page(request, gate, 200)
    try:
        device = await visitor.ask(LOOK_AT_DEVICE, LookAtDevice(code=code))
    except MusterError as error:
        return _page(
            request, gate, error.status, fault=fault_of(request, error, wrong="device.wrong")
        )
    values = {"code": code, "name": clean(device.name), "address": clean(device.address)}
    return _page(request, gate, 200, person=visitor.person.name, **values)


def _page(request: Request, gate: Gate, status: int, **values: Any) -> Response:
    empty = {"fault": "", "code": "", "name": "", "address": "", "person": "", "done": False}
    return with_token(request, gate, "device.html", status, **{**empty, **values})


def _bare(code: str) -> str:
    return "".join(filter(str.isalnum, code))[:20]
