"""The live page as an application: token, then a question if there is one, then the picture; nothing else answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from device.page.guard import Guard, read_form
from device.page.markup import FOLDER, entry, notice
from device.page.mirror import Mirror
from device.page.tokens import Admittance, Answer

COOKIE = "session"
WAIT_S = 4.0  # a browser that asks for a view waits so long for a new one
SAID = {
    Answer.WRONG: "This code is wrong: compare it with the terminal.",
    Answer.TAKEN: "This code was used: it is good once. Start again at the terminal for another.",
    Answer.ENDED: "Too many codes were wrong: the page has ended. Start again at the terminal.",
}


@dataclass(eq=False)
class Visit:
    """What the visitor has answered so far; the program waits for it.

    `question` is the page before the picture, "" for none; `view` is the page with the picture.
    """

    view: str = ""
    question: str = ""
    admittance: Admittance = field(default_factory=Admittance)
    mirror: Mirror = field(default_factory=Mirror)
    changed: threading.Condition = field(default_factory=threading.Condition)
    has_agreed: bool = False
    has_declined: bool = False

    @property
    def is_ended(self) -> bool:
        return self.has_declined or self.admittance.is_ended

    def answer(self, text: str) -> None:
        """Take what the visitor says to the question, or a no later on."""
        with self.changed:
            self.mirror.note_asked()  # a slow phone needs a moment to load the page with the picture
            self.has_agreed = self.has_agreed or text == "yes"
            self.has_declined = self.has_declined or text == "no"
            self.changed.notify_all()

    def enter(self, token: str) -> tuple[Answer, str]:
        with self.changed:
            found = self.admittance.enter(token)
            if found[0] is Answer.ADMITTED:  # a second visitor keeps nothing alive
                self.mirror.note_asked()
                self.has_agreed = not self.question
            self.changed.notify_all()
        return found

    def wait_for_start(self, wait_s: float) -> None:
        """Wait until the visitor agrees, or it ends."""
        with self.changed:
            self.changed.wait_for(lambda: self.has_agreed or self.is_ended, wait_s)


class LivePage:
    """What each address of the page answers; without a session there is the entry and nothing behind it."""

    def __init__(self, visit: Visit, *, is_secure: bool) -> None:
        self._visit, self._is_secure = visit, is_secure

    async def home(self, request: Request) -> Response:
        visit = self._visit
        if not self._knows(request):
            if visit.admittance.is_ended:
                return HTMLResponse(notice("The door's camera", SAID[Answer.ENDED]), 403)
            return HTMLResponse(entry())
        if visit.has_declined:
            return HTMLResponse(notice("Ended", "Nothing was stored. You can close this page."))
        return HTMLResponse(visit.view if visit.has_agreed else visit.question)

    async def enter(self, request: Request) -> Response:
        answer, session = self._visit.enter((await read_form(request)).get("token", ""))
        if answer is not Answer.ADMITTED:
            return HTMLResponse(entry(SAID[answer]), 403)
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, session, httponly=True, samesite="strict", secure=self._is_secure)
        return response

    async def answer(self, request: Request) -> Response:
        if not self._knows(request):
            return refused()
        self._visit.answer((await read_form(request)).get("answer", ""))
        return RedirectResponse("/", 303)

    async def look(self, request: Request) -> Response:
        """Return the newest view, as soon as there is one that the browser does not have."""
        if not self._knows(request) or not self._visit.has_agreed:
            return refused()
        given = request.query_params.get("after", "")
        after = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else 0
        view = await to_thread.run_sync(self._visit.mirror.next_view, after, WAIT_S)
        told = view.told if view.number != after else {}
        return JSONResponse({**told, "number": view.number, "over": view.is_last})

    async def taken(self, request: Request) -> Response:
        if not self._knows(request):
            return refused()
        self._visit.mirror.taken()
        return Response(status_code=204)

    def _knows(self, request: Request) -> bool:
        return self._visit.admittance.knows(request.cookies.get(COOKIE, ""))


def refused() -> Response:
    return Response("no session: enter the code first\n", 403, media_type="text/plain")


def live_app(visit: Visit, *, is_own: Callable[[str], bool], is_secure: bool) -> ASGIApp:
    """Return the application of a live page."""
    page = LivePage(visit, is_secure=is_secure)
    routes = [
        Route("/", page.home, methods=["GET"]),
        Route("/enter", page.enter, methods=["POST"]),
        Route("/answer", page.answer, methods=["POST"]),
        Route("/look", page.look, methods=["GET"]),
        Route("/taken", page.taken, methods=["POST"]),
        *(Route(f"/{name}", partial(file, name), methods=["GET"]) for name in ("page.css", "live.js")),
    ]
    return Guard(Starlette(routes=routes), is_own=is_own)


async def file(name: str, request: Request) -> Response:
    """Return one of the two files of the page."""
    return FileResponse(FOLDER / name)
