"""The age of a stream's frames, by the stream's own time."""

from __future__ import annotations

import pytest

from device.vision.camera.stream_time import MAX_DRIFT, DeviceClock, StreamClock, TimeJumped

STEP_S = 0.04


def ages(frames: list[tuple[float, float]]) -> list[float]:
    """Return how old each frame is when it arrives, of (own time, arrival)."""
    clock = StreamClock()
    return [arrived_s - clock.taken_s(own_s, arrived_s) for own_s, arrived_s in frames]


def test_a_stream_in_time_is_as_young_as_its_least_delayed_frame():
    late = [0.0, 0.02, 0.005, 0.03, 0.0]
    frames = [(1000 + n * STEP_S, 5 + n * STEP_S + late[n]) for n in range(5)]
    assert ages(frames) == pytest.approx(late, abs=1e-3)


def test_thirty_seconds_in_a_buffer_are_thirty_seconds_of_age():
    """The stream stands still for 30 s, then everything comes at once, and then goes on as late."""
    before = [(n * STEP_S, n * STEP_S) for n in range(50)]
    burst = [(2 + n * STEP_S, 32 + n * 0.001) for n in range(700)]
    found = ages(before + burst)
    assert found[50] == pytest.approx(30, abs=0.1)
    assert min(found[50:100]) > 28
    assert all(age >= -1e-9 for age in found)


def test_frames_that_were_kept_before_the_opening_make_none_younger():
    """The first frames are the oldest of a buffer; as it empties, the relation of the clocks is corrected."""
    burst = [(n * STEP_S, 10 + n * 0.001) for n in range(50)]  # 2 s in 50 ms
    present = [(2 + n * STEP_S, 10.05 + n * STEP_S) for n in range(50)]
    clock = StreamClock()
    for own_s, arrived_s in burst:
        clock.taken_s(own_s, arrived_s)
        assert clock.is_catching_up
    for own_s, arrived_s in present[1:]:
        assert arrived_s - clock.taken_s(own_s, arrived_s) < 0.1
    assert not clock.is_catching_up


@pytest.mark.parametrize("drift", [-2e-4, 2e-4])
def test_a_clock_that_is_a_little_off_makes_no_frame_old(drift):
    frames = [(n * STEP_S * (1 + drift), n * STEP_S) for n in range(200_000)]  # more than two hours
    assert max(ages(frames)) < 0.1


def test_a_delay_that_grows_slowly_is_seen_all_the_same():
    """A film played at 99 % of its speed is late by a second after two minutes."""
    frames = [(n * STEP_S * 0.99, n * STEP_S) for n in range(3000)]
    assert ages(frames)[-1] == pytest.approx(120 * (0.01 - MAX_DRIFT), abs=0.1)


@pytest.mark.parametrize("own_s", [-1.0, 2.9, 30.0])
def test_a_time_that_jumps_says_so(own_s):
    clock = StreamClock()
    clock.taken_s(4.0, 0.0)
    with pytest.raises(TimeJumped):
        clock.taken_s(own_s, 0.04)


def test_a_time_that_steps_back_a_little_is_a_little_older():
    frames = [(0.0, 0.0), (0.04, 0.04), (0.03, 0.08), (0.12, 0.12)]
    assert ages(frames) == pytest.approx([0, 0, 0.05, 0], abs=1e-3)


def test_a_stream_without_times_is_as_young_as_its_arrival():
    assert ages([(0.0, n * STEP_S) for n in range(100)])[-1] == 0


def test_a_drivers_time_is_taken_where_it_is_of_this_boards_clock():
    clock = DeviceClock()
    assert [clock.taken_s(own_s, 100.0) for own_s in (99.9, 93.0, 30.0)] == [99.9, 93.0, 30.0]
    assert [clock.taken_s(own_s, 100.0) for own_s in (0.0, 100.1)] == [100.0, 100.0]


@pytest.mark.parametrize("first_s", [0.0, 0.5, 60.0, 1.7e9])
def test_a_clock_that_began_with_the_device_makes_no_frame_old(first_s):
    """Opened 40 s after the boot, a position counted from the opening would be 40 s old for ever."""
    clock = DeviceClock()
    assert [clock.taken_s(first_s + n, 100.0 + n) for n in range(5)] == [100.0 + n for n in range(5)]
