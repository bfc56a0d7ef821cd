"""The live page as an application: token, then a question if there is one, then the picture; nothing else answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from device.page.crowd import VISITOR
from device.page.guard import Guard, read_form
from device.page.live.mirror import Mirror, View
from device.page.live.tokens import Admittance, Answer
from device.page.live.wire import ADMITTED, AGREED, ASKED, DECLINED, ENDED, SETTLED, TAKEN
from device.page.markup import FOLDER, entry, notice

COOKIE = "face-unlock-visit"  # a browser gives it to every port of this host: no other program has one of that name
FILES = {"page.css": "text/css", "live.js": "text/javascript"}
WAIT_S = 4.0  # a browser that asks for a view waits so long for a new one
SAID = {
    Answer.WRONG: "This code is wrong: compare it with the terminal.",
    Answer.TAKEN: "This code was used: it is good once. Start again at the terminal for another.",
    Answer.ENDED: "Too many codes were wrong: the page has ended. Start again at the terminal.",
}


@dataclass(eq=False)
class Visit:
    """What the visitor has answered so far; the program is told each word of it.

    `question` is the page before the picture, "" for none; `view` is the page with the picture; `tell` takes SAYINGS.
    """

    view: str = ""
    question: str = ""
    tell: Callable[[str], object] = lambda said: None
    admittance: Admittance = field(default_factory=Admittance)
    mirror: Mirror = field(default_factory=Mirror)
    has_agreed: bool = False
    has_declined: bool = False
    is_settled: bool = False
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, text: str) -> None:
        """Take what the visitor says to the question, or a no later on, which comes too late once it is settled."""
        with self._guard:
            if text == "yes":
                self.has_agreed = True
                self.tell(AGREED)
            elif text == "no" and not self.is_settled:
                self.has_declined = True
                self.tell(DECLINED)

    def settle(self) -> None:
        """Take no more no; the program then stores, or hears of the no before it hears of this."""
        with self._guard:
            self.is_settled = True
            self.tell(SETTLED)

    def enter(self, token: str) -> tuple[Answer, str]:
        found = self.admittance.enter(token)
        if found[0] is Answer.ADMITTED:  # a second visitor keeps nothing alive
            self.tell(ADMITTED)
            if not self.question:
                self.answer("yes")
        elif found[0] is Answer.ENDED:
            self.tell(ENDED)
        return found

    def look(self, after: int, wait_s: float) -> View:
        """Return the newest view; the visitor is there while one waits for it."""
        self.tell(ASKED)
        view = self.mirror.next_view(after, wait_s)
        self.tell(ASKED)
        return view


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
        view = await to_thread.run_sync(self._visit.look, after, WAIT_S)
        told = view.told if view.number != after else {}
        return JSONResponse({**told, "number": view.number, "over": view.is_last})

    async def taken(self, request: Request) -> Response:
        if not self._knows(request):
            return refused()
        self._visit.tell(TAKEN)
        return Response(status_code=204)

    def _knows(self, request: Request) -> bool:
        is_visitor = self._visit.admittance.knows(request.cookies.get(COOKIE, ""))
        if is_visitor:
            request.scope[VISITOR] = True  # the connection outlives any crowd
        return is_visitor


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
        *(Route(f"/{name}", file(name, kind), methods=["GET"]) for name, kind in FILES.items()),
    ]
    return Guard(Starlette(routes=routes), is_own=is_own)


def file(name: str, kind: str) -> Callable[[Request], Response]:
    """Return what answers with a file of the page, read now: later this process may read none."""
    content = (FOLDER / name).read_bytes()
    return lambda request: Response(content, media_type=kind)
