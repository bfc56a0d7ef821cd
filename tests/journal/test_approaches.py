"""Every approach ends in one line that says why, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from device.journal.approaches import Approaches
from device.journal.events import EVENTS
from device.journal.status import FIELDS
from device.types import Decision, Is, Reason, Stage, Stop


class Door:
    """A door of ten frames a second."""

    def __init__(self) -> None:
        self.approaches, self.now_s, self.news = Approaches(), 100.0, []

    def see(self, reason: Reason, frames: int = 1, **fields: Any) -> Door:
        for _ in range(frames):
            self.now_s += 0.1
            decision = Decision(reason is Reason.GRANTED, reason, self.now_s, **fields)
            self.news += self.approaches.see(decision, self.now_s)
        return self

    def away(self, seconds: float = 3.0) -> Door:
        return self.see(Reason.NO_FACE, round(seconds * 10))

    def told(self, event: str) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in fields.items() if value is not None}
            for name, fields in self.news
            if name == event
        ]

    @property
    def line(self) -> dict[str, Any]:
        (line,) = self.told("approach")
        return line


def small(measured: float) -> Stop:
    return Stop(Reason.TOO_SMALL, f"too small: {measured:.0f} px wide, needs 60", measured, 60)


CAUSES: dict[str, tuple[list[tuple[Reason, int, dict[str, Any]]], dict[str, Any]]] = {
    "a stranger": (
        [(Reason.BELOW_THRESHOLD, 30, {"similarity": 0.1, "threshold": 0.47})],
        {"reason": "below_threshold", "stage": "compared", "closeness": "far_below"},
    ),
    "an enrolled person in other light": (
        [(Reason.BELOW_THRESHOLD, 30, {"similarity": 0.41, "threshold": 0.47})],
        {"reason": "below_threshold", "stage": "compared", "closeness": "just_below"},
    ),
    "too far away": (
        [(Reason.TOO_SMALL, 40, {"stop": small(42)})],
        {"reason": "too_small", "measured": 42, "limit": 60, "advice": "too small: 42 px wide, needs 60"},
    ),
    "matches now and then": (
        [(Reason.CONFIRMING, 1, {"subject_id": "alice"}), (Reason.BELOW_THRESHOLD, 3, {})] * 5,
        {"reason": "confirming", "subject_id": "alice", "stage": "matched"},
    ),
    "one lucky frame": (
        [(Reason.CONFIRMING, 1, {"subject_id": "alice"}), (Reason.BELOW_THRESHOLD, 30, {})],
        {"reason": "below_threshold", "subject_id": "alice"},
    ),
    "never holds still": (
        [
            (Reason.CONFIRMING, 2, {"subject_id": "alice"}),
            (
                Reason.CHALLENGE,
                50,
                {"subject_id": "alice", "stop": Stop(Reason.CHALLENGE, "hold still: moved 9 deg", 9, 6)},
            ),
        ],
        {"reason": "challenge", "stage": "asked", "measured": 9, "limit": 6, "subject_id": "alice"},
    ),
    "makes another move": (
        [
            (Reason.CHALLENGE, 20, {"subject_id": "alice"}),
            (Reason.CHALLENGE_FAILED, 1, {"subject_id": "alice"}),
        ],
        {"reason": "challenge_failed", "stage": "asked"},
    ),
    "outside the hours": (
        [(Reason.CONFIRMING, 2, {"subject_id": "bob"}), (Reason.OUTSIDE_HOURS, 1, {"subject_id": "bob"})],
        {
            "reason": "outside_hours",
            "stage": "judged",
            "subject_id": "bob",
            "advice": "face-unlock change NAME --hours",
        },
    ),
    "the PIN is locked": (
        [(Reason.PIN_LOCKED, 3, {"subject_id": "bob", "wait_s": 43.0})],
        {"reason": "pin_locked", "wait_s": 43.0},
    ),
    "the door waits": ([(Reason.WAITING, 30, {"wait_s": 17.0})], {"reason": "waiting", "wait_s": 17.0}),
    "a print": ([(Reason.SPOOF_SUSPECTED, 30, {})], {"reason": "spoof_suspected", "stage": "compared"}),
    "two faces": ([(Reason.SEVERAL_FACES, 30, {})], {"reason": "several_faces", "stage": "seen"}),
    "nobody is enrolled": ([(Reason.EMPTY_GALLERY, 30, {})], {"reason": "empty_gallery"}),
    "let in": (
        [(Reason.CONFIRMING, 2, {"subject_id": "alice"}), (Reason.GRANTED, 1, {"subject_id": "alice"})],
        {"reason": "granted", "stage": "opened", "subject_id": "alice"},
    ),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_every_approach_ends_in_one_line_that_names_its_cause(cause: str) -> None:
    frames, expected = CAUSES[cause]
    door = Door()
    for reason, count, fields in frames:
        door.see(reason, count, **fields)
    took_s = door.now_s - 100.1
    door.away()
    assert {key: door.line[key] for key in expected} == expected
    assert door.line["took_s"] == pytest.approx(took_s)
    assert ("advice" in door.line) == (cause != "let in")


def test_whoever_stands_there_for_fifteen_seconds_has_a_line_and_was_told_what_to_do() -> None:
    door = Door()
    door.see(Reason.CONFIRMING, 2, subject_id="alice").see(Reason.CHALLENGE, 130, subject_id="alice")
    door.see(Reason.CHALLENGE, 20, subject_id="alice", challenge="nod")
    assert [each["action"] for each in door.told("challenge")] == ["hold_still", "nod"]
    door.away()
    assert (door.line["subject_id"], door.line["reason"]) == ("alice", "challenge")
    assert len(door.told("challenge_over")) == 1


def test_whoever_is_kept_out_reads_why_while_it_lasts_with_the_cause_of_that_time() -> None:
    door = Door()
    door.see(Reason.TOO_SMALL, 95, stop=small(42))
    assert door.told("kept_out") == []
    door.see(Reason.TOO_SMALL, 10, stop=small(43))
    (first,) = door.told("kept_out")
    assert {"reason": "too_small", "measured": 43, "limit": 60}.items() <= first.items()
    door.see(Reason.BELOW_THRESHOLD, 190, similarity=0.1, threshold=0.47)
    assert len(door.told("kept_out")) == 1
    door.see(Reason.BELOW_THRESHOLD, 15, similarity=0.1, threshold=0.47)
    assert door.told("kept_out")[1]["reason"] == "below_threshold"
    assert door.told("kept_out")[1]["took_s"] == pytest.approx(30, abs=1)
    assert door.told("approach") == []


def test_whoever_types_a_pin_is_one_approach_however_long_it_takes() -> None:
    door = Door()
    door.see(Reason.CONFIRMING, 3, subject_id="bob").see(Reason.PIN_NEEDED, subject_id="bob")
    door.see(Reason.COOLDOWN, 60, subject_id="bob").see(Reason.WRONG_PIN, subject_id="bob").away()
    assert (door.line["reason"], door.line["subject_id"]) == ("wrong_pin", "bob")
    door.see(Reason.COOLDOWN, 60, subject_id="bob").away()
    assert len(door.told("approach")) == 1


def test_who_is_let_in_or_leaves_within_ten_seconds_was_not_kept_out() -> None:
    door = Door()
    door.see(Reason.CONFIRMING, 90, subject_id="alice").see(Reason.GRANTED, subject_id="alice").away()
    door.see(Reason.CONFIRMING, 90, subject_id="alice").away()
    assert door.told("kept_out") == []


@pytest.mark.parametrize(("step_s", "reason"), [(1.0, "too_few_frames"), (0.4, "confirming")])
def test_frames_too_far_apart_explain_a_face_that_is_never_confirmed(step_s: float, reason: str) -> None:
    approaches, news = Approaches(least_fps=2.0), []
    for index in range(40):
        decision = Decision(False, Reason.CONFIRMING, index * step_s, subject_id="alice")
        news += approaches.see(decision, index * step_s)
    told = next(fields for name, fields in news if name == "kept_out")
    assert told["reason"] == reason
    if reason == "too_few_frames":
        assert (told["measured"], told["limit"]) == (1.0, 2.0)


def test_whoever_stays_has_a_line_a_minute() -> None:
    door = Door()
    door.see(Reason.BELOW_THRESHOLD, 1800)
    assert len(door.told("approach")) == 2
    door.away()
    assert len(door.told("approach")) == 3


def test_whoever_only_walks_past_is_no_approach() -> None:
    door = Door()
    door.see(Reason.TOO_FAR, 15).away()
    assert door.told("approach") == []
    door.see(Reason.TOO_FAR, 40).away()
    assert door.line["reason"] == "too_far"


def test_a_face_that_is_left_alone_has_one_line() -> None:
    door = Door()
    door.see(Reason.BELOW_THRESHOLD, 100).see(Reason.STILL_THERE, 5000)
    assert len(door.told("approach")) == 1


def test_an_alternating_refusal_is_a_few_lines_with_a_count() -> None:
    door = Door()
    for _ in range(250):
        door.see(Reason.BELOW_THRESHOLD).see(Reason.SPOOF_SUSPECTED)
    door.away()
    counts = [each.get("count", 1) for each in door.told("refused") + door.told("held_back")]
    assert sum(counts) == 500
    assert len(door.told("refused")) <= 10


def test_a_refusal_of_the_next_approach_is_told_at_once() -> None:
    door = Door()
    for _ in range(3):
        door.see(Reason.BELOW_THRESHOLD, 5).away()
    assert [each["reason"] for each in door.told("refused")] == ["below_threshold"] * 3


def test_a_lost_camera_ends_the_approach_with_its_line() -> None:
    door = Door()
    door.see(Reason.CHALLENGE, 20, subject_id="alice", challenge="nod")
    door.news += door.approaches.end()
    assert door.line["reason"] == "challenge"
    assert door.news[-2][0] == "challenge_over"


def test_the_line_holds_no_number_that_helps_an_attacker() -> None:
    door = Door()
    door.see(Reason.BELOW_THRESHOLD, 30, similarity=0.46, threshold=0.47, liveness=0.3).away()
    assert not {0.46, 0.47, 0.3} & {value for value in door.line.values() if isinstance(value, float)}


@pytest.mark.parametrize("reason", list(Reason))
def test_whatever_keeps_somebody_out_says_what_to_do(reason: Reason) -> None:
    if reason.has(Is.REFUSAL | Is.OPEN):
        assert reason.advice
    assert not (reason.has(Is.REFUSAL) and reason.stage is Stage.NOBODY and not reason.has(Is.NOBODY))


def test_what_an_approach_tells_are_events_and_fields_of_the_log() -> None:
    door = Door()
    door.see(Reason.BELOW_THRESHOLD, 100).see(Reason.CHALLENGE, 10).away()
    for name, fields in door.news:
        assert name in EVENTS
        assert set(fields) <= set(FIELDS)
