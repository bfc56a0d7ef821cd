"""A face that hangs at its place: one approach, and no face beside it is kept out."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from device.decide.decider import Sight
from device.types import AlignedFace, HeadPose, Match, Reason
from tests.support.doors.deciding import Door


def face_at(x: float, y: float = 200.0, size: float = 1.0) -> AlignedFace:
    image = np.zeros((112, 112, 3), np.uint8)
    points = np.array([[0, 0], [50, 0], [25, 30], [5, 55], [45, 55]], np.float32) * size + (x, y)
    return AlignedFace(
        image=image,
        measured=image,
        landmarks=points.astype(np.float32),
        mesh=np.full((468, 3), np.nan, np.float32),
        presence=5.0,
        pose=HeadPose(0, 0, 0),
        eye_openness=(0.3, 0.3),
    )


class Room(Door):
    """A door before which faces have a place."""

    def look(
        self, who: str, similarity: float, x: float, seconds: float, *, track: int = 1, sway: float = 0.0
    ):
        """Return how often each reason was given."""
        given = Counter()
        for number in range(round(seconds * 10)):
            self.now_s += 0.1
            face = face_at(x + sway * math.sin(number / 7))
            sight = Sight(self.now_s, track, Match(who, similarity), None, face=face, score=0.9)
            decision = self.decider.decide(sight, self.now_s)
            self.decider.conclude(decision)
            given[decision.reason] += 1
        return given

    @property
    def refused(self) -> int:
        return self.decider._refusals.count.wrong


def test_a_poster_is_one_approach_however_long_it_hangs_there():
    door = Room()
    for hour in range(3):
        given = door.look(
            "bob", 0.1, 100, 1200, sway=2.0, track=hour
        )  # the detector flickers by a pixel or two
        assert door.refused == 1
    assert given == {Reason.STILL_THERE: 12_000}
    assert door.decider._refusals.left_s(door.now_s) == 0


def test_another_face_beside_a_poster_gets_a_look_of_its_own_and_gets_in():
    door = Room()
    for visit in range(5):
        door.look("bob", 0.1, 100, 60, sway=2.0, track=10 * visit)
        given = door.look("alice", 0.9, 300, 0.3, track=10 * visit + 1)
        assert given[Reason.GRANTED] == 1
        door.look("carol", 0.1, 300, 3, track=10 * visit + 2)
        assert door.refused == 1  # carol's own, the poster costs nothing any more
        door.now_s += 5


def test_a_still_picture_of_an_enrolled_person_is_left_alone_too():
    door = Room("passive")
    for _ in range(100):
        door.now_s += 0.1
        sight = Sight(door.now_s, 1, Match("alice", 0.9), None, face=face_at(100), score=0.1)
        door.decider.conclude(door.decider.decide(sight, door.now_s))
    given = door.look("alice", 0.9, 100, 30)
    assert Reason.GRANTED not in given
    assert door.refused == 1


def test_a_face_that_was_refused_and_moves_is_looked_at_again():
    door = Room()
    door.look("alice", 0.1, 100, 15)
    assert door.look("alice", 0.9, 140, 1)[Reason.GRANTED] == 1


def test_a_stranger_who_moves_about_is_an_approach_every_ten_seconds():
    door = Room()
    door.look("bob", 0.1, 100, 45, sway=120.0)
    assert door.refused >= 4


def test_a_person_who_stands_still_and_was_never_refused_is_let_in():
    door = Room(cooldown_s=1.0)
    assert door.look("alice", 0.9, 100, 60)[Reason.GRANTED] > 30


def test_a_place_is_forgotten_a_minute_after_its_face_is_gone():
    door = Room()
    door.look("bob", 0.1, 100, 20)
    door.now_s += 61
    assert door.look("alice", 0.9, 100, 1)[Reason.GRANTED] == 1
