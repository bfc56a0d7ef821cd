from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.types import FaceDetection
from device.vision.track import Tracker, overlap

finite = st.floats(-1e4, 1e4)
size = st.floats(0.1, 1e4)
boxes = st.tuples(finite, finite, size, size)


def face(x: float, y: float = 100.0, side: float = 80.0) -> FaceDetection:
    return FaceDetection(box=(x, y, side, side), score=0.9, keypoints=np.zeros((6, 2), np.float32))


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(max_gap_s=0.5, min_overlap=0.3, same_face=0.4)


def test_a_face_that_stays_keeps_its_track(tracker):
    ids = [tracker.update(face(100 + 5 * i), i / 10) for i in range(20)]
    assert ids == [1] * 20


def test_a_frame_without_a_face_has_no_track_and_does_not_end_one(tracker):
    assert tracker.update(None, 0.0) is None
    assert tracker.update(face(100), 0.1) == 1
    assert tracker.update(None, 0.2) is None
    assert tracker.update(face(102), 0.3) == 1


def test_out_of_sight_for_too_long_is_a_new_track(tracker):
    assert tracker.update(face(100), 0.0) == 1
    assert tracker.update(face(100), 0.5) == 1
    assert tracker.update(face(100), 1.01) == 2


def test_frames_without_a_face_do_not_stretch_the_gap(tracker):
    tracker.update(face(100), 0.0)
    for i in range(1, 8):
        tracker.update(None, i / 10)
    assert tracker.update(face(100), 0.8) == 2


def test_a_jump_is_a_new_track(tracker):
    assert [tracker.update(face(x), i / 10) for i, x in enumerate((100, 300, 302, 100))] == [1, 2, 2, 3]


def test_a_face_that_doubles_its_size_at_once_is_a_new_track(tracker):
    tracker.update(face(100, 100, 80), 0.0)
    assert tracker.update(face(60, 60, 160), 0.1) == 2


def test_time_that_runs_backwards_breaks_the_track(tracker):
    tracker.update(face(100), 5.0)
    assert tracker.update(face(100), 4.9) == 2


@pytest.mark.parametrize("when", [math.nan, math.inf])
def test_impossible_time_breaks_the_track(tracker, when):
    tracker.update(face(100), 0.0)
    assert tracker.update(face(100), when) == 2


def test_nan_box_breaks_the_track_and_so_does_the_face_after_it(tracker):
    assert [tracker.update(face(x), i / 10) for i, x in enumerate((100.0, math.nan, 100.0))] == [1, 2, 3]


def test_reset_breaks_the_track(tracker):
    tracker.update(face(100), 0.0)
    tracker.reset()
    assert tracker.update(face(100), 0.1) == 2


@given(boxes, boxes)
def test_overlap_is_symmetric_and_in_range(a, b):
    assert 0.0 <= overlap(a, b) <= 1.0 + 1e-9
    assert overlap(a, b) == pytest.approx(overlap(b, a))


@given(boxes)
def test_overlap_with_itself_is_one(box):
    assert overlap(box, box) == pytest.approx(1.0, rel=1e-2)


def test_overlap_of_known_boxes():
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 10, 10), (10, 0, 10, 10)) == 0.0
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


@given(st.lists(st.tuples(st.floats(0, 2), st.one_of(st.none(), st.floats(0, 500))), max_size=40))
def test_ids_never_repeat_after_they_ended(steps):
    tracker, now, ids = Tracker(max_gap_s=0.5, min_overlap=0.3, same_face=0.4), 0.0, []
    for wait, x in steps:
        now += wait
        track_id = tracker.update(None if x is None else face(x), now)
        assert (track_id is None) == (x is None)
        ids += [track_id] if track_id else []
    assert ids == sorted(ids)


def test_a_face_swapped_for_another_in_the_same_place_is_a_new_track(tracker):
    one, other = np.eye(4, dtype=np.float32)[:2]
    assert [(tracker.update(face(100), i / 10), tracker.confirm(one)) for i in range(3)] == [(1, 1)] * 3
    assert (tracker.update(face(100), 0.3), tracker.confirm(other)) == (1, 2)
    assert (tracker.update(face(100), 0.4), tracker.confirm(other)) == (2, 2)
    assert (tracker.update(face(100), 0.5), tracker.confirm(one)) == (2, 3)


def test_a_face_that_turns_stays_and_one_that_is_nan_does_not(tracker):
    one = np.array([1, 0], np.float32)
    tracker.update(face(100), 0.0), tracker.confirm(one)
    assert tracker.confirm(np.array([0.4, 0.9165], np.float32)) == 1  # exactly the limit
    assert tracker.confirm(np.array([math.nan, 0], np.float32)) == 2


def test_a_new_track_remembers_no_face(tracker):
    one, other = np.eye(2, dtype=np.float32)
    tracker.update(face(100), 0.0), tracker.confirm(one)
    assert (tracker.update(face(500), 0.1), tracker.confirm(other)) == (2, 2)
