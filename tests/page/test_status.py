"""The status page: what the door said last, in words, for whoever may reach its socket, and nothing to press."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from device.errors import GalleryError
from device.health import BoardState
from device.journal.status import make_line
from device.page.guard import HEADERS
from device.page.report import report
from device.page.snapshot import EVENTS_KEPT, Snapshot, read_snapshot
from device.page.status import act, parse, status_app

AT = datetime(2026, 3, 1, 7, 30, tzinfo=timezone.utc)
BOARD = BoardState(temperature_c=51.0, throttled=False, under_voltage=True)
FACTS = {
    "people": [
        {
            "name": "Zoë",
            "since": "2026-02-01T10:00:00Z",
            "rules": ["access face", "hours Mon-Fri 08:00-18:00"],
        }
    ],
    "selftest": "passed on 2026-02-03",
    "heartbeat_s": 30.0,
}


def line(name: str, at: datetime = AT, **fields: object) -> dict[str, object]:
    return make_line(name, fields, at=at, demo=False)


def written(
    path: Path, *lines: dict[str, object], facts: dict[str, object] | None = None
) -> dict[str, object]:
    """Let a door say these lines, and return what the page reads."""
    snapshot = Snapshot(path, lambda: FACTS if facts is None else facts)
    for each in lines:
        snapshot.put(each)
    snapshot.close(10.0)
    told = read_snapshot(path)
    assert told is not None
    return told


def page(told: dict[str, object] | None, now: datetime = AT) -> str:
    return report(told, BOARD, now)


def test_it_says_why_a_stranger_was_refused_and_what_helps(tmp_path: Path) -> None:
    dark = line(
        "approach",
        stage="seen",
        reason="too_dark",
        measured=1.4321,
        limit=2.0,
        advice="a lamp before the face",
    )
    stranger = line(
        "approach", stage="compared", reason="below_threshold", closeness="far_below", advice="enroll"
    )
    text = page(written(tmp_path / "status.json", dark, stranger))
    for part in ("Refused: too dark", "1.432, limit 2", "a lamp before the face", "somebody"):
        assert part in text
    assert "Refused: below threshold" in text
    assert "far below what it needs" in text
    assert "nothing, if this was a stranger; else enroll" in text  # nobody is to enroll whoever came by
    assert text.index("below threshold") < text.index("too dark")  # the newest first


def test_it_says_who_came_in_the_local_time_of_the_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        opened = line("approach", stage="opened", subject_id="Zoë", reason="granted")
        text = page(written(tmp_path / "status.json", opened))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "2026-03-01 13:00:00" in text
    assert "IST" in text
    assert "Opened" in text


def test_people_and_rules_self_test_and_board_stand_there_without_any_picture(tmp_path: Path) -> None:
    lines = [line("started", version="1.2"), line("ready", is_locked=True, subjects=1)]
    text = page(written(tmp_path / "status.json", *lines))
    for part in (
        "Zoë",
        "hours Mon-Fri 08:00-18:00",
        "passed on 2026-02-03",
        "51 °C",
        "supply is too weak",
        "version 1.2",
    ):
        assert part in text
    for part in ("<img", "<button", "<form", "<script", "<input"):
        assert part not in text


def test_the_bolt_and_the_camera_are_as_they_were_told_last(tmp_path: Path) -> None:
    later = AT + timedelta(seconds=5)
    said = [
        line("ready", is_locked=True),
        line("unlocked", later, pulse_s=5.0),
        line("camera_lost", later, error="gone"),
    ]
    text = page(written(tmp_path / "a.json", *said))
    assert "<dd>unlocked</dd>" in text
    assert "lost since" in text
    beat = line("heartbeat", later + timedelta(seconds=30), fps=9.87, is_locked=True, camera_lost=False)
    text = page(written(tmp_path / "b.json", *said, line("camera_back", later), beat))
    assert "<dd>locked</dd>" in text
    assert "9.9 pictures a second" in text


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("connected", "<dd>connected to the broker</dd>"),
        ("refused", "refuses this door"),
        ("away", "does not run"),
    ],
)
def test_the_link_is_as_the_last_heartbeat_told(tmp_path: Path, word: str, said: str) -> None:
    text = page(written(tmp_path / "a.json", line("ready"), line("heartbeat", fps=9.0, link=word)))
    assert "<dt>Link</dt>" in text
    assert said in text


@pytest.mark.parametrize("fields", [{}, {"link": "<b>bogus</b>"}])
def test_a_door_without_a_link_has_no_row_of_one(tmp_path: Path, fields: dict[str, object]) -> None:
    text = page(written(tmp_path / "a.json", line("ready"), line("heartbeat", fps=9.0, **fields)))
    assert "<dt>Link</dt>" not in text


def test_a_door_that_says_nothing_any_more_is_said_to_be_silent(tmp_path: Path) -> None:
    told = written(tmp_path / "status.json", line("started", version="1.2"), line("ready", is_locked=True))
    now = datetime.now(timezone.utc)
    assert "has said nothing" not in page(told, now)
    assert re.search(r"has said nothing for 9\d s", page(told, now + timedelta(seconds=93)))
    stopped = written(tmp_path / "b.json", line("ready", is_locked=True), line("stopping", reason="sigterm"))
    assert "has said nothing" not in page(stopped, now + timedelta(seconds=91))
    assert "sigterm" in page(stopped)
    assert "<dt>Camera</dt>" not in page(stopped)  # it looks at nothing any more


def test_without_a_door_the_page_says_that(tmp_path: Path) -> None:
    assert "not running" in page(read_snapshot(tmp_path / "none.json"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"events": 1, "facts": {}}', '{"events": []}', "[" * 100_000]
)
def test_a_file_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    assert read_snapshot(tmp_path / "status.json") is None


@pytest.mark.parametrize(
    "event", [{}, {"event": "approach"}, {"event": 3, "at": 4}, "text", None, {"at": "yesterday"}]
)
def test_an_event_of_another_release_does_not_stop_the_page(event: object) -> None:
    told = {"events": [event], "facts": {}, "heartbeat": None, "written_at": "x"}
    assert "<h1>The door</h1>" in page(told)


def test_what_a_name_or_an_error_says_is_never_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    facts = {**FACTS, "people": [{"name": evil, "since": "", "rules": [evil]}], "selftest": evil}
    lines = [line("warning", error=evil), line("ready", is_locked=True)]
    text = page(written(tmp_path / "status.json", *lines, facts=facts))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 4


def test_the_file_is_for_the_door_and_its_group_and_has_no_more_than_the_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    before = os.umask(0o077)
    try:
        told = written(path, *(line("locked") for _ in range(EVENTS_KEPT + 20)), line("heartbeat", fps=1.0))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert len(told["events"]) == EVENTS_KEPT
    assert [each.name for each in tmp_path.iterdir()] == ["status.json"]


def test_a_gallery_that_cannot_be_read_stops_neither_door_nor_page(tmp_path: Path) -> None:
    def facts() -> dict[str, object]:
        raise GalleryError("gallery x: cannot be read: check the card")

    snapshot = Snapshot(tmp_path / "status.json", facts)
    snapshot.put(line("ready", is_locked=True))
    snapshot.close(10.0)
    assert "check the card" in page(read_snapshot(tmp_path / "status.json"))


def test_a_folder_that_is_away_holds_nobody_up(tmp_path: Path) -> None:
    snapshot = Snapshot(tmp_path / "none" / "status.json")
    began_s = time.monotonic()
    for _ in range(1000):
        snapshot.put(line("locked"))
    assert time.monotonic() - began_s < 5
    snapshot.close(0.1)


def browser(path: Path) -> TestClient:
    return TestClient(status_app(path), base_url="http://localhost:8080", follow_redirects=False)


def test_it_is_read_by_its_own_names_and_by_nobody_elses(tmp_path: Path) -> None:
    written(tmp_path / "status.json", line("ready", is_locked=True))
    client = browser(tmp_path / "status.json")
    for host in ("localhost:8080", "127.0.0.1:1", "[::1]:9"):
        answer = client.get("/", headers={"host": host})
        assert answer.status_code == 200
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    for host in ("evil.example:8080", "door.local", "localhost.evil.example"):
        assert client.get("/", headers={"host": host}).status_code == 421
    assert client.get("/", headers={"origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(tmp_path: Path, method: str) -> None:
    client = browser(tmp_path / "status.json")
    assert client.request(method, "/").status_code == 403
    assert client.request(method, "/", headers={"origin": "http://localhost:8080"}).status_code == 405


@pytest.mark.parametrize("path", ["/live.js", "/look", "/enter", "/status.json", "/../guard.py"])
def test_nothing_else_is_served(tmp_path: Path, path: str) -> None:
    assert browser(tmp_path / "status.json").get(path).status_code == 404


def ask(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := client.recv(65536):
            answer += part
    return answer


def test_it_answers_at_a_socket_of_its_owner_alone_and_ends_when_nobody_looks(tmp_path: Path) -> None:
    program = (
        "import device.page.status as page, sys; sys.exit(page.act(page.parse(sys.argv[1:]), idle_s=3.0))"
    )
    bound = tmp_path / "page.sock"
    options = ["--file", str(tmp_path / "status.json"), "--socket", str(bound)]
    process = subprocess.Popen([sys.executable, "-c", program, *options])
    try:
        until_s = time.monotonic() + 60
        while not bound.exists() and time.monotonic() < until_s:
            time.sleep(0.05)
        answer = b""
        while not answer and time.monotonic() < until_s:
            try:
                answer = ask(bound)
            except ConnectionRefusedError:
                time.sleep(0.05)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert stat.S_IMODE(bound.stat().st_mode) == 0o600
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert not bound.exists()


def test_it_answers_at_a_socket_that_systemd_hands_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "page.sock"))
        bound.listen()
        # as systemd does it: number 3, and the number of the process in the environment
        shell = f'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@" 3<&{bound.fileno()}'
        module = [sys.executable, "-m", "device.page.status", "--file", str(tmp_path / "none.json")]
        process = subprocess.Popen(["bash", "-c", shell, *module], pass_fds=[bound.fileno()])
    try:
        assert b"not running" in ask(tmp_path / "page.sock")
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_without_any_socket_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from device.errors import UsageError

    monkeypatch.delenv("LISTEN_FDS", raising=False)
    with pytest.raises(UsageError, match=r"face-unlock-page\.socket"):
        act(parse(["--file", str(tmp_path / "status.json")]))


def test_it_needs_neither_camera_nor_numbers_nor_a_gallery() -> None:
    """A board of 1 GB pays for what is loaded."""
    heavy = "{'numpy', 'cv2', 'sqlite_utils', 'mediapipe', 'cryptography', 'device.build', 'device.gallery'}"
    program = f"import sys, device.page.status; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_running_door_writes_for_it(
    enrolled_gallery: Path, person_clip: Path, tmp_path: Path, empty_config: Path
) -> None:
    file = tmp_path / "status.json"
    done = subprocess.run(
        [
            sys.executable, "unlock.py", "--demo", "--camera", str(person_clip), "--gallery", str(enrolled_gallery),
            "--config", str(empty_config), "--status-file", str(file),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(file.read_text())
    assert [each["name"] for each in told["facts"]["people"]] == ["Eileen"]
    assert "never run" in told["facts"]["selftest"]
    assert {"started", "ready"} <= {
        each["event"] for each in told["events"]
    }  # the last line has a second to get out
    assert "similarity" not in file.read_text()
