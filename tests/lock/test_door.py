"""The door's stories: what is seen, look by look, and what state and alarms it comes to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.lock.door import Alarm, Door, DoorRule, DoorState, Report, Seen, advance, debounce, news, report

RULE = DoorRule(held_open_s=30, settle_s=1)
LOCKED = Seen(pin_locked=True, closed=True, thrown=True, sealed=True, exit_pressed=False)
DRAWN = replace(LOCKED, pin_locked=False, thrown=False)
AJAR = replace(LOCKED, closed=False, thrown=False)
DRAWN_AJAR = replace(DRAWN, closed=False)
PIN_ONLY = {True: Seen(True), False: Seen(False), None: Seen(None)}


def play(*looks):
    """Return each (state, alarms) that a list of (second, seen) leads to."""
    door, told = Door(), []
    for at_s, seen in looks:
        door = advance(door, seen, at_s, RULE)
        told.append((str(door.state), {str(alarm) for alarm in door.alarms}))
    return told


STORIES = {
    "somebody comes in": (
        [
            (0, LOCKED),
            (1, replace(DRAWN, thrown=True)),
            (1.1, DRAWN),
            (2, DRAWN_AJAR),
            (6, AJAR),
            (9, replace(LOCKED, thrown=False)),
            (9.2, LOCKED),
        ],
        ["locked", "unlocking", "unlocked", "open", "open", "unlocked", "locked"],
        [set()] * 7,
    ),
    "the leaf is opened at the very end of the pulse": (
        [(0, LOCKED), (1, DRAWN), (5.9, DRAWN), (6, replace(LOCKED, thrown=False)), (6.5, AJAR)],
        ["locked", "unlocked", "unlocked", "unlocked", "open"],
        [set()] * 5,
    ),
    "opened long after the pulse": (
        [(0, LOCKED), (1, DRAWN), (6, LOCKED), (7.5, AJAR), (50, AJAR), (51, LOCKED)],
        ["locked", "unlocked", "locked", "forced", "forced", "locked"],
        [set(), set(), set(), {"forced"}, {"forced"}, set()],
    ),
    "a grant does not silence a forced door": (
        [(0, LOCKED), (1, AJAR), (2, DRAWN_AJAR), (3, AJAR)],
        ["locked", "forced", "forced", "forced"],
        [set(), {"forced"}, {"forced"}, {"forced"}],
    ),
    "held open": (
        [(0, LOCKED), (1, DRAWN), (2, DRAWN_AJAR), (31.9, AJAR), (32, AJAR), (60, LOCKED)],
        ["locked", "unlocked", "open", "open", "held_open", "locked"],
        [set(), set(), set(), set(), {"held_open"}, set()],
    ),
    "the board starts with an open door": (
        [(0, AJAR), (29, AJAR), (30, AJAR)],
        ["open", "open", "held_open"],
        [set(), set(), {"held_open"}],
    ),
    "the bolt does not move": (
        [(0, LOCKED), (1, replace(DRAWN, thrown=True)), (2, replace(DRAWN, thrown=True)), (3, LOCKED)],
        ["locked", "unlocking", "jammed", "locked"],
        [set(), set(), {"jammed"}, set()],
    ),
    "the bolt does not go back": (
        [(0, DRAWN), (1, replace(LOCKED, thrown=False)), (2, replace(LOCKED, thrown=False))],
        ["unlocked", "unlocked", "jammed"],
        [set(), set(), {"jammed"}],
    ),
    "beside an open leaf the bolt says nothing": (
        [(0, DRAWN), (1, AJAR), (20, AJAR)],
        ["unlocked", "open", "open"],
        [set()] * 3,
    ),
    "the pin does not obey": (
        [(0, LOCKED), (1, replace(LOCKED, pin_locked=None)), (2, LOCKED)],
        ["locked", "jammed", "locked"],
        [set(), {"jammed"}, set()],
    ),
    "the box is opened": (
        [(0, LOCKED), (1, replace(LOCKED, sealed=False)), (2, LOCKED)],
        ["locked", "locked", "locked"],
        [set(), {"tamper"}, set()],
    ),
    "no switch at all": (
        [(0, PIN_ONLY[True]), (1, PIN_ONLY[False]), (100, PIN_ONLY[False]), (101, PIN_ONLY[None])],
        ["locked", "unlocked", "unlocked", "jammed"],
        [set(), set(), set(), {"jammed"}],
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_story(story):
    looks, states, alarms = STORIES[story]
    assert play(*looks) == list(zip(states, alarms, strict=True))


def test_a_door_that_nobody_looked_at_is_unknown_and_not_locked():
    assert Door().state is DoorState.UNKNOWN
    assert Door().bolt == "jammed"


def test_the_leaf_that_falls_shut_relocks_once():
    door = Door()
    wishes = []
    for at_s, seen in [(0, LOCKED), (1, DRAWN), (2, DRAWN_AJAR), (3, DRAWN), (3.1, DRAWN)]:
        door = advance(door, seen, at_s, RULE)
        wishes.append(door.relock)
    assert wishes == [False, False, False, True, False]


def test_a_leaf_that_falls_shut_behind_a_locked_pin_wishes_nothing():
    door = advance(advance(Door(), AJAR, 0, RULE), LOCKED, 1, RULE)
    assert not door.relock


def test_the_button_releases_when_it_goes_down_and_only_then():
    pressed = replace(LOCKED, exit_pressed=True)
    door, wishes = Door(), []
    for at_s, seen in enumerate(
        [pressed, pressed, LOCKED, pressed, pressed]
    ):  # stuck at the start: nobody pressed
        door = advance(door, seen, at_s, RULE)
        wishes.append(door.release)
    assert wishes == [False, False, False, True, False]


def test_cut_wires_raise_alarms_and_release_nobody():
    cut = Seen(pin_locked=True, closed=False, thrown=False, sealed=False, exit_pressed=False)
    door = advance(advance(Door(), LOCKED, 0, RULE), cut, 5, RULE)
    assert door.alarms == {Alarm.FORCED, Alarm.TAMPER}
    assert not door.release


maybe = st.sampled_from([None, True, False])
seen = st.builds(
    Seen,
    pin_locked=maybe,
    closed=maybe,
    thrown=maybe,
    sealed=maybe,
    exit_pressed=st.sampled_from([None, True, False]),
)


@given(st.lists(st.tuples(st.floats(0, 40), seen), max_size=30))
def test_whatever_is_seen(looks):
    door, now_s = Door(), 0.0
    for after_s, each in looks:
        now_s += after_s
        before, door = door, advance(door, each, now_s, RULE)
        if door.state is DoorState.LOCKED or door.bolt == "locked":
            assert each.pin_locked is True
        if each.pin_locked is None:
            assert door.state is DoorState.JAMMED
        if door.release:
            assert each.exit_pressed
            assert not before.seen.exit_pressed
        if door.relock:
            assert each.pin_locked is False
            assert each.closed
        assert (Alarm.TAMPER in door.alarms) == (each.sealed is False)
        assert (Alarm.JAMMED in door.alarms) == (door.state is DoorState.JAMMED)


def test_news_are_the_difference_of_two_reports():
    forced = Report("forced", frozenset({"forced", "tamper"}))
    locked = Report("locked", frozenset({"tamper"}))
    assert news(Report(), Report()) == []
    assert news(Report("locked"), forced) == [
        ("door", {"door": "forced"}),
        ("alarm", {"reason": "forced"}),
        ("alarm", {"reason": "tamper"}),
    ]
    assert news(forced, locked) == [("door", {"door": "locked"}), ("alarm_over", {"reason": "forced"})]
    assert report(advance(Door(), AJAR, 0, RULE)) == Report("open", frozenset())


def test_a_bouncing_switch_changes_once():
    switch, levels = None, []
    for at_ms in range(0, 200, 10):
        raw = at_ms >= 50 and (at_ms >= 100 or at_ms % 20 == 0)  # bounces from 50 to 100 ms, then stays
        switch = debounce(switch, raw, at_ms, 50)
        levels.append(switch.level)
    assert levels == [False] * 15 + [True] * 5
    assert debounce(None, True, 0, 0.05).level is True
