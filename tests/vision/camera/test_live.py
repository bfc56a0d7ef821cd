"""Cameras through OpenCV: the newest frame, losses, hung drivers, streams that are late."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

from device.errors import CameraLost, is_out_of_memory
from device.vision.camera.live import MAX_HUNG_READERS
from device.vision.camera.opencv import OpenCVCamera

BLUE_BGR = (255, 0, 0)
STALL_S = 0.15


def picture(value=0, shape=(48, 64, 3)):
    return np.full(shape, value, np.uint8)


class Script:
    """A double of `cv2.VideoCapture`; `reads` are images, None, exceptions, or Events to hang on."""

    def __init__(self, reads, opens=True):
        self.reads = iter(reads)
        self.opens = opens
        self.arguments = None
        self.settings = {}
        self.released = threading.Event()
        self.touched_by = set()

    def __call__(self, *arguments):
        self.arguments = arguments
        self.touched_by.add(threading.current_thread().name)
        return self

    def isOpened(self):  # noqa: N802
        return self.opens

    def set(self, key, value):
        self.settings[key] = value

    def grab(self):
        self.touched_by.add(threading.current_thread().name)
        step = next(self.reads, None)
        if isinstance(step, threading.Event):
            step.wait()
            step = None
        if isinstance(step, Exception):
            raise step
        self.image = step
        return step is not None

    def retrieve(self):
        return True, self.image

    def get(self, key):
        return 0.0  # a driver that tells no time

    def release(self):
        self.touched_by.add(threading.current_thread().name)
        self.released.set()


def live(script, source=0):
    return OpenCVCamera(source=source, width=64, height=48, stall_timeout_s=STALL_S, capture=script)


def endless(period_s=0.005):
    n = 0
    while True:
        time.sleep(period_s)
        yield picture(n % 256)
        n += 1


# --- live, through OpenCV


def test_frames_are_rgb_with_a_capture_time():
    script = Script([np.full((48, 64, 3), BLUE_BGR, np.uint8)])
    camera = live(script)
    before_s = time.monotonic()
    frame = next(camera.frames())
    assert frame.image.shape == (48, 64, 3)
    assert frame.image.dtype == np.uint8
    assert frame.image[0, 0].tolist() == [0, 0, 255]
    assert before_s <= frame.captured_at_s <= time.monotonic()
    assert frame.index == 0
    assert script.settings[cv2.CAP_PROP_FRAME_WIDTH] == 64
    assert script.settings[cv2.CAP_PROP_BUFFERSIZE] == 1
    camera.close()
    assert script.released.is_set()


def test_slow_consumer_gets_the_newest_frame_and_never_an_old_one():
    given = [0]

    def counted():
        for frame in endless():
            given[0] += 1
            yield frame

    camera = live(Script(counted()))
    frames = camera.frames()
    number = int(next(frames).image[0, 0, 0])
    for _ in range(4):
        least = number + 20
        while given[0] < least + 1:  # the one before the last is in the slot by then
            time.sleep(0.01)
        number = int(next(frames).image[0, 0, 0])
        assert number >= least - 1  # a queue of waiting frames would give the next one
    camera.close()


def test_the_device_is_touched_by_its_reader_only():
    """OpenCV crashes when one thread releases a capture that another one reads."""
    script = Script(endless())
    camera = live(script)
    next(camera.frames())
    camera.close()
    assert script.touched_by == {"camera 0"}


def test_same_frame_is_not_given_twice():
    camera = live(Script([picture(1)]))
    frames = camera.frames()
    next(frames)
    with pytest.raises(CameraLost, match=r"camera 0: no frame for 0\.15 s"):
        next(frames)
    camera.close()


def no_memory(of):
    """Return what is raised where memory runs out, by asking for too much."""
    ask = {
        "numpy": lambda: np.empty(1 << 60, np.uint8),
        "opencv": lambda: cv2.resize(picture(), (2_000_000, 1_000_000)),
    }
    with pytest.raises((MemoryError, cv2.error)) as caught:
        ask[of]()
    return caught.value


@pytest.mark.parametrize("of", ["numpy", "opencv"])
def test_memory_that_runs_out_is_no_lost_camera(of):
    error = no_memory(of)
    assert is_out_of_memory(error)
    camera = live(Script([picture(1), error]))
    with pytest.raises(type(error)):
        list(camera.frames())
    camera.close()


def test_one_failed_read_is_no_loss():
    camera = live(Script([picture(1), None, None, picture(2)]))
    frames = camera.frames()
    assert [int(next(frames).image[0, 0, 0]) for _ in range(2)] == [1, 2]
    camera.close()


def test_unplugged_then_plugged_in_again_in_the_same_process():
    camera = live(Script([picture(1)]))
    with pytest.raises(CameraLost):
        list(camera.frames())
    camera._capture = Script([], opens=False)
    with pytest.raises(CameraLost, match=r"cannot be opened: .*systemctl stop face-unlock"):
        list(camera.frames())
    camera._capture = Script([picture(7)])
    frame = next(camera.frames())
    assert (frame.image[0, 0, 0], frame.index) == (7, 0)
    camera.close()


def test_driver_error_is_one_line():
    camera = live(Script([cv2.error("ioctl\n  failed")]))
    with pytest.raises(CameraLost, match="camera 0: ioctl failed") as caught:
        next(camera.frames())
    assert "\n" not in str(caught.value)
    camera.close()


def test_hung_read_is_lost_and_close_does_not_hang():
    hang = threading.Event()
    script = Script([picture(1), hang])
    camera = live(script)
    frames = camera.frames()
    next(frames)
    with pytest.raises(CameraLost, match="no frame"):
        next(frames)
    started_s = time.monotonic()
    camera.close()
    assert time.monotonic() - started_s < 5
    assert not script.released.is_set()  # the driver still has it
    camera._capture = Script([picture(9)])
    assert next(camera.frames()).image[0, 0, 0] == 9
    hang.set()
    assert script.released.wait(5)  # and gives it back when it comes to
    camera.close()


def test_hung_open_is_lost():
    hang = threading.Event()

    def capture(*_):
        hang.wait()
        return Script([])

    camera = live(capture)
    with pytest.raises(CameraLost, match="no frame"):
        next(camera.frames())
    hang.set()
    camera.close()


def test_hung_threads_do_not_pile_up(monkeypatch):
    monkeypatch.setattr("device.vision.camera.live.CLOSE_WAIT_S", 0.01)
    hang = threading.Event()
    camera = live(Script([hang] * 10))
    for _ in range(MAX_HUNG_READERS):
        with pytest.raises(CameraLost, match="no frame"):
            next(camera.frames())
    with pytest.raises(CameraLost, match="earlier reads still hang"):
        next(camera.frames())
    hang.set()
    deadline_s = time.monotonic() + 5
    while any(reader.is_alive() for reader in camera._hung) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    camera._capture = Script([picture(3)])
    assert next(camera.frames()).image[0, 0, 0] == 3
    camera.close()


def test_close_from_another_thread_ends_the_loop():
    camera = live(Script(endless()))
    threading.Timer(0.1, camera.close).start()
    assert len(list(camera.frames())) > 0


def test_stream_has_time_limits_and_keeps_its_password():
    script = Script([], opens=False)
    camera = live(script, "rtsp://admin:p@ss/word@door.local:554/h264?token=secret")
    with pytest.raises(CameraLost) as caught:
        next(camera.frames())
    address, backend, limits = script.arguments
    assert address == "rtsp://admin:p%40ss%2Fword@door.local:554/h264?token=secret"
    assert backend == cv2.CAP_FFMPEG
    assert limits[::2] == [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
    for secret in ("admin", "p@ss", "word", "secret"):
        assert secret not in str(caught.value)
        assert secret not in camera.name
    assert "door.local" in str(caught.value)


def test_driver_error_keeps_the_password_too():
    camera = live(
        Script([OSError("no rtsp://admin:secret@door.local/h264")]), "rtsp://admin:secret@door.local/h264"
    )
    with pytest.raises(CameraLost) as caught:
        next(camera.frames())
    assert "secret" not in str(caught.value)


class Timed(Script):
    """A capture whose frames carry times: each read is (seconds that it takes to come, the frame's own second)."""

    def grab(self):
        step = next(self.reads, None)
        if step is None:
            return False
        wait_s, self.own_s = step
        time.sleep(wait_s)
        self.image = picture(int(self.own_s) % 256)
        return True

    def get(self, key):
        assert key == cv2.CAP_PROP_POS_MSEC
        return self.own_s * 1000


def test_a_stream_is_drained_of_what_was_filmed_before_it_was_opened():
    """Five old frames come at once, then those of now, each as late as the one before."""
    backlog, present = [(0.0, n) for n in range(5)], [(0.02, 5), (0.6, 5.5)]
    camera = live(Timed(backlog + present), "rtsp://door.local/x")
    camera.stall_timeout_s = 5.0
    frame = next(camera.frames())
    camera.close()
    assert int(frame.image[0, 0, 0]) == 5
    assert time.monotonic() - frame.captured_at_s < 3


def test_a_stream_that_stays_late_is_opened_anew():
    steps = [(0.05, n * 0.05) for n in range(4)] + [(1.2, 0.2)] + [(0.05, 0.25 + n * 0.05) for n in range(60)]
    camera = OpenCVCamera(
        source="rtsp://door.local/x", width=64, height=48, stall_timeout_s=0.5, capture=Timed(steps)
    )
    camera.stall_timeout_s = 2.0
    with pytest.raises(CameraLost, match=r"its frames come 1\.\d s late"):
        list(camera.frames())
    camera.close()


def test_a_stream_whose_time_jumps_is_opened_anew():
    camera = live(Timed([(0.01, 5.0), (0.01, 5.01), (0.01, 2.0)]), "rtsp://door.local/x")
    with pytest.raises(CameraLost, match="time jumped"):
        list(camera.frames())
    camera.close()


def test_a_device_tells_when_it_took_a_frame():
    """A driver that kept a frame for seven seconds hands out one that is seven seconds old."""
    now_s = time.monotonic()
    script = Timed([(0.0, now_s), (0.0, now_s - 7), (0.0, now_s + 100), (0.0, 0.0)])
    camera = live(script, "/dev/video7")
    device = camera.open_device()
    ages_s = [time.monotonic() - camera.read_device(device)[1] for _ in range(4)]
    assert ages_s[1] >= 7
    assert max(ages_s[0], *ages_s[2:]) < 5  # of another clock: their arrival


@pytest.mark.parametrize("source", ["rtsp://u:secret@127.0.0.1:9/x", "/dev/video97", 97])
def test_absent_camera_is_one_line_and_nothing_on_stderr(source, capfd):
    """The real OpenCV, which likes to talk."""
    camera = OpenCVCamera(source=source, width=64, height=48, stall_timeout_s=2.0)
    with pytest.raises(CameraLost, match="cannot be opened"):
        next(camera.frames())
    camera.close()
    assert capfd.readouterr().err == ""
