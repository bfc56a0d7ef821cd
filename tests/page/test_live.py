"""The live page over HTTP: who gets in, who is refused, and what is left of it afterwards."""

from __future__ import annotations

import threading

import pytest
from starlette.testclient import TestClient

from device.page.guard import HEADERS, is_loopback_host, is_own
from device.page.live.application import COOKIE, Visit, live_app
from device.page.live.mirror import Mirror
from device.page.live.tokens import LETTERS, MAX_WRONG, TOKEN_LETTERS, Admittance, Answer
from device.page.live.wire import ADMITTED, AGREED, ASKED, DECLINED, ENDED, SETTLED, TAKEN

HOST = "192.168.1.7:41234"
BASE = f"https://{HOST}"
OWN = {"origin": BASE}
PICTURE = "data:image/jpeg;base64,AAAA"


class Page:
    """A live page, and browsers that ask it."""

    def __init__(self, question: str = "<p>agree?</p>") -> None:
        self.said: list[str] = []  # what the program hears
        self.visit = Visit(view="<p>the picture</p>", question=question, tell=self.said.append)
        self.app = live_app(self.visit, is_own=lambda host: host == HOST, is_secure=True)

    def browser(self):
        return TestClient(self.app, base_url=BASE, follow_redirects=False)

    def enter(self, browser, token: str | None = None, headers: dict[str, str] = OWN):
        token = self.visit.admittance.token if token is None else token
        return browser.post("/enter", data={"token": token}, headers=headers)

    def visitor(self):
        browser = self.browser()
        assert self.enter(browser).status_code == 303
        return browser


def test_the_token_lets_one_visitor_in_who_agrees_and_then_sees() -> None:
    page = Page()
    browser = page.browser()
    assert "code" in browser.get("/").text
    entered = page.enter(browser)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "secure", "samesite=strict"))
    assert browser.get("/").text == "<p>agree?</p>"
    assert browser.get("/look").status_code == 403  # before the answer there is no picture
    browser.post("/answer", data={"answer": "yes"}, headers=OWN)
    page.visit.mirror.show({"picture": PICTURE, "hint": "look straight"})
    assert browser.get("/").text == "<p>the picture</p>"
    told = browser.get("/look?after=0").json()
    assert (told["hint"], told["number"], told["over"]) == ("look straight", 1, False)
    assert told["picture"] == PICTURE
    assert page.said == [ADMITTED, AGREED, ASKED, ASKED]
    assert browser.post("/taken", headers=OWN).status_code == 204
    assert page.said[-1] == TAKEN


@pytest.mark.parametrize("typed", ["{0}-{1}-{2}", "{0}{1}{2} ", "lower"])
def test_a_token_may_be_typed_as_people_do(typed: str) -> None:
    page = Page()
    token = page.visit.admittance.token
    given = token.lower() if typed == "lower" else typed.format(token[:4], token[4:8], token[8:])
    assert page.enter(page.browser(), given).status_code == 303


def test_a_wrong_token_is_refused_and_five_of_them_end_the_page() -> None:
    page = Page()
    browser = page.browser()
    for _ in range(MAX_WRONG):
        assert page.said == []
        answer = page.enter(browser, "WRONG")
        assert answer.status_code == 403
        assert COOKIE not in answer.cookies
    assert page.said == [ENDED]
    assert page.enter(browser).status_code == 403  # the right one comes too late
    assert "ended" in browser.get("/").text


def test_a_second_visitor_is_refused_and_cannot_end_the_first_ones_visit() -> None:
    page = Page()
    first, second = page.visitor(), page.browser()
    for token in [page.visit.admittance.token, *["WRONG"] * MAX_WRONG]:
        answer = page.enter(second, token)
        assert answer.status_code == 403
        assert "good once" in answer.text
    assert page.said == [ADMITTED]  # nor does the second keep alive what the first has left
    assert "code" in second.get("/").text
    assert second.get("/look").status_code == 403
    assert second.post("/answer", data={"answer": "no"}, headers=OWN).status_code == 403
    assert first.get("/").text == "<p>agree?</p>"


@pytest.mark.parametrize("session", ["", "x", "é" * 40])
def test_an_invented_session_is_none(session: str) -> None:
    page = Page()
    page.visitor()
    headers = {"cookie": f"{COOKIE}={session}".encode()}
    for path in ("/look", "/look?after=0"):
        assert page.browser().get(path, headers=headers).status_code == 403
    assert page.browser().post("/taken", headers={**headers, **OWN}).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example:41234", "192.168.1.7", "192.168.1.7:80", "localhost:41234", ""]
)
def test_a_name_that_was_bound_anew_to_this_address_is_refused(host: str) -> None:
    page = Page()
    browser = page.visitor()
    for path in ("/", "/look", "/page.css"):
        assert browser.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "https://192.168.1.7", "https://192.168.1.7:1", "http://[", "https://"],
)
def test_another_sites_requests_are_refused(origin: str) -> None:
    page = Page()
    assert page.enter(page.browser(), headers={"origin": origin}).status_code == 403
    browser = page.visitor()
    assert browser.post("/answer", data={"answer": "no"}, headers={"origin": origin}).status_code == 403
    assert browser.get("/look", headers={"origin": origin}).status_code == 403
    assert page.said == [ADMITTED]


def test_a_change_without_an_origin_is_refused() -> None:
    page = Page()
    assert page.enter(page.browser(), headers={}).status_code == 403
    assert page.visitor().post("/answer", data={"answer": "yes"}).status_code == 403
    assert not page.visit.has_agreed


def test_every_answer_forbids_keeping_it_and_foreign_content() -> None:
    page = Page()
    browser = page.visitor()
    for path in ("/", "/look", "/page.css", "/live.js", "/nothing"):
        for host in (HOST, "evil.example"):
            headers = browser.get(path, headers={"host": host}).headers
            assert {name: headers[name] for name in HEADERS} == HEADERS
    assert HEADERS["cache-control"] == "no-store"
    assert "unsafe" not in HEADERS["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/../enroll.py", "/%2e%2e/guard.py", "/guard.py", "/enter"]
)
def test_nothing_else_is_served(path: str) -> None:
    assert Page().visitor().get(path).status_code in (404, 405)


@pytest.mark.parametrize("body", [b"x" * 100_000, b"\xff\xfe", b"&" * 900, b"answer=" + b"yes" * 100])
def test_a_form_that_is_none_answers_nothing(body: bytes) -> None:
    page = Page()
    browser = page.visitor()
    assert browser.post("/answer", content=body, headers=OWN).status_code == 303
    assert (page.visit.has_agreed, page.visit.has_declined) == (False, False)


@pytest.mark.parametrize("after", ["-1", "x", "9" * 400, "١"])
def test_a_number_of_a_view_that_is_none_counts_as_the_first(after: str) -> None:
    page = Page(question="")
    browser = page.visitor()
    page.visit.mirror.show({"hint": "look straight"})
    assert browser.get("/look", params={"after": after}).json()["number"] == 1


def test_who_says_no_ends_it_at_any_time() -> None:
    page = Page()
    browser = page.visitor()
    for answer in ("yes", "no", "yes"):
        browser.post("/answer", data={"answer": answer}, headers=OWN)
    assert DECLINED in page.said
    assert "Nothing was stored" in browser.get("/").text


def test_a_slow_browser_gets_the_newest_picture() -> None:
    mirror = Mirror()
    for number in range(50):
        mirror.show({"hint": str(number)})
    view = mirror.next_view(after=3, wait_s=0)
    assert (view.number, view.told["hint"]) == (50, "49")
    assert mirror.next_view(after=50, wait_s=0.01).number == 50  # nothing new: it waited, and not for long


def test_a_no_counts_until_it_is_settled_and_is_said_before() -> None:
    early, late = Page(), Page()
    for page in (early, late):
        page.visitor().post("/answer", data={"answer": "yes"}, headers=OWN)
    early.visit.answer("no")
    early.visit.settle()
    assert early.said[-2:] == [DECLINED, SETTLED]
    late.visit.settle()
    late.visit.answer("no")
    assert (late.said[-1], late.visit.has_declined) == (SETTLED, False)


@pytest.mark.parametrize(
    ("host", "given", "own"),
    [
        ("192.168.1.7:443", "192.168.1.7", True),  # a browser leaves the usual port away
        ("192.168.1.7:443", "192.168.1.7:443", True),
        ("192.168.1.7:4430", "192.168.1.7", False),
        ("192.168.1.7:443", "evil.example", False),
    ],
)
def test_a_page_at_the_usual_port_is_reached(host: str, given: str, own: bool) -> None:
    assert is_own(host, True, given) is own


def test_the_last_view_wakes_who_waits_and_nothing_follows_it() -> None:
    mirror = Mirror()
    views = []
    waiting = threading.Thread(target=lambda: views.append(mirror.next_view(after=0, wait_s=30)))
    waiting.start()
    mirror.end({"hint": "enrolled"})
    waiting.join(10)
    assert views[0].is_last
    mirror.show({"hint": "late"})
    assert mirror.next_view(after=0, wait_s=0).told == {"hint": "enrolled"}


def test_tokens_are_long_different_and_easy_to_read() -> None:
    tokens = {Admittance().token for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == TOKEN_LETTERS and set(token) <= set(LETTERS) for token in tokens)
    assert not set("01OI") & set(LETTERS)


def test_a_token_is_worth_nothing_after_it_was_used() -> None:
    admittance = Admittance()
    first, session = admittance.enter(admittance.token)
    assert (first, admittance.knows(session)) == (Answer.ADMITTED, True)
    assert admittance.enter(admittance.token) == (Answer.TAKEN, "")


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost:8080", True), ("127.0.0.1:9", True), ("[::1]:8080", True), ("localhost", True), ("[::1]", True),
        ("localhost.evil.example:80", False), ("evil.example", False), ("", False), ("127.0.0.1.evil:1", False),
    ],
)  # fmt: skip
def test_a_page_of_this_machine_is_reached_by_its_own_names_alone(host: str, own: bool) -> None:
    assert is_loopback_host(host) is own
