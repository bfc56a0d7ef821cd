"""Cameras: newest frame, capture times, lost and found again; clips: every frame once."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import cv2
import numpy as np
import pytest

from device.errors import CameraError, CameraLost, FaceUnlockError, is_out_of_memory
from device.vision.camera.clip import ClipCamera
from device.vision.camera.live import MAX_HUNG_READERS
from device.vision.camera.opencv import OpenCVCamera
from device.vision.camera.picamera2 import Picamera2Camera, sensor_time_s
from device.vision.camera.pixels import FORMATS, to_rgb
from device.vision.camera.source import open_camera
from tests.support.buffers import buffer_of

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
    with pytest.raises(CameraLost, match="cannot be opened"):
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


@pytest.mark.parametrize("source", ["rtsp:/admin:secret@door.local/x", "rtsp//admin:secret@door.local/x"])
def test_a_mistyped_address_keeps_its_password(source):
    with pytest.raises(CameraError, match="no such file") as caught:
        opened(source)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("source", ["x" * 5000, "~nosuch/clip.mp4", "file:///clip.mp4"])
def test_a_path_that_cannot_be_is_one_line(source):
    with pytest.raises(FaceUnlockError, match=r"File name too long|home folder|no such file") as caught:
        opened(source)
    assert "\n" not in str(caught.value)


def test_a_file_below_dev_is_a_clip_too():
    path = Path("/dev/shm/face-unlock-test.avi")
    if not path.parent.is_dir():
        pytest.skip("no /dev/shm")
    try:
        assert not opened(str(write_clip(path))).live
    finally:
        path.unlink()


# --- pixels


def test_to_rgb_of_all_kinds():
    bgra = np.zeros((4, 6, 4), np.uint8)
    bgra[..., 0] = 9  # blue
    assert to_rgb(bgra)[0, 0].tolist() == [0, 0, 9]
    assert to_rgb(bgra, order="RGB")[0, 0].tolist() == [9, 0, 0]
    for gray in (picture(5, (4, 6)), picture(5, (4, 6, 1))):
        assert to_rgb(gray).shape == (4, 6, 3)
        assert to_rgb(gray)[0, 0].tolist() == [5, 5, 5]
    assert to_rgb(picture(5, (4, 6, 4)), order="RGB").flags["C_CONTIGUOUS"]
    for wrong in (np.zeros((4, 6, 3), np.uint16), picture(0, (4, 6, 2)), np.zeros(4, np.uint8)):
        with pytest.raises(CameraError, match="expected"):
            to_rgb(wrong)


def test_sensor_time_is_monotonic_time():
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert sensor_time_s(boot_ns - 500_000_000) == pytest.approx(time.monotonic() - 0.5, abs=0.1)
    for odd in (None, 0, boot_ns + 10**12):
        assert sensor_time_s(odd) == pytest.approx(time.monotonic(), abs=0.1)


def test_sensor_time_after_the_board_slept(monkeypatch):
    monkeypatch.setattr(time, "clock_gettime", lambda clock: time.monotonic() + 3600)
    taken_ns = int((time.monotonic() + 3600 - 0.25) * 1e9)
    assert sensor_time_s(taken_ns) == pytest.approx(time.monotonic() - 0.25, abs=0.1)


# --- picamera2: a double with the surface that is used of it


class FakePicamera2:
    camera_controls = MappingProxyType(dict.fromkeys(("AfMode", "ExposureTime", "FrameDurationLimits")))
    given_format, given_stride = "BGR888", 3 * 64
    buffer = staticmethod(lambda: np.full((48, 64, 3), (255, 0, 0), np.uint8).reshape(-1))
    on_request = None

    def __init__(self, index):
        if index > 0:
            raise RuntimeError(f'No camera number {index} found - use "rpicam-hello --list-cameras"')
        self.log = []
        self.held = 0
        FakePicamera2.last = self

    def create_video_configuration(self, *, main, controls, queue):
        return {"main": main, "controls": controls, "queue": queue}

    def configure(self, configuration):
        self.configuration = configuration

    def camera_configuration(self):
        given = {"format": self.given_format, "stride": self.given_stride}
        return {"main": {**self.configuration["main"], **given}}

    def start(self):
        self.log.append("start")

    def close(self):
        self.log.append("close")

    @contextlib.contextmanager
    def captured_request(self, wait=None, flush=None):
        self.held += 1
        try:
            if self.on_request is not None:
                self.on_request()
            time.sleep(0.005)
            taken_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 40_000_000
            yield SimpleNamespace(
                make_buffer=lambda stream: self.buffer(),
                get_metadata=lambda: {"SensorTimestamp": taken_ns},
            )
        finally:
            self.held -= 1


@pytest.fixture
def picamera2(monkeypatch):
    monkeypatch.setattr(FakePicamera2, "on_request", None)
    monkeypatch.setattr(FakePicamera2, "given_format", "BGR888")
    monkeypatch.setattr(FakePicamera2, "given_stride", 3 * 64)
    return SimpleNamespace(Picamera2=FakePicamera2)


def pi_camera(module, *, index=0, controls=None):
    return Picamera2Camera(
        index=index, width=64, height=48, stall_timeout_s=STALL_S, controls=controls or {}, module=module
    )


def test_picamera2_frame_is_rgb_and_dated_by_the_sensor(picamera2):
    camera = pi_camera(picamera2, controls={"AfMode": 2, "FrameDurationLimits": [33333, 33333]})
    frame = next(camera.frames())
    assert frame.image[0, 0].tolist() == [255, 0, 0]  # BGR888 is R, G, B in memory: nothing to swap
    assert 0.03 < time.monotonic() - frame.captured_at_s < 1
    camera.close()
    assert FakePicamera2.last.configuration == {
        "main": {"size": (64, 48), "format": "BGR888"},
        "controls": {"AfMode": 2, "FrameDurationLimits": (33333, 33333)},
        "queue": False,
    }
    assert FakePicamera2.last.log == ["start", "close"]
    assert FakePicamera2.last.held == 0


def test_picamera2_gives_the_buffer_back_when_reading_fails(picamera2, monkeypatch):
    def fail():
        raise TimeoutError

    monkeypatch.setattr(FakePicamera2, "on_request", staticmethod(fail))
    camera = pi_camera(picamera2)
    with pytest.raises(CameraLost, match="TimeoutError"):
        next(camera.frames())
    camera.close()
    assert FakePicamera2.last.held == 0
    assert FakePicamera2.last.log == ["start", "close"]
    monkeypatch.setattr(FakePicamera2, "on_request", None)
    next(camera.frames())  # the same camera, opened again
    camera.close()


def test_picamera2_absent_camera_may_come_later(picamera2):
    with pytest.raises(CameraLost, match="No camera number 3 found"):
        next(pi_camera(picamera2, index=3).frames())


def test_picamera2_unknown_control_names_the_nearest(picamera2):
    with pytest.raises(CameraError, match=r"camera\.controls\.AfMod: .*'AfMode'") as caught:
        next(pi_camera(picamera2, controls={"AfMod": 2}).frames())
    assert not isinstance(caught.value, CameraLost)  # no reconnect will help
    deadline_s = time.monotonic() + 5
    while FakePicamera2.last.log != ["close"] and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert FakePicamera2.last.log == ["close"]


def test_picamera2_other_format_is_refused(picamera2, monkeypatch):
    monkeypatch.setattr(FakePicamera2, "given_format", "YUYV")
    with pytest.raises(CameraError, match="gives YUYV, expected one of BGR888"):
        next(pi_camera(picamera2).frames())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("padding", [0, 64])
def test_picamera2_takes_what_the_camera_gives(picamera2, monkeypatch, kind, padding):
    red = np.full((48, 64, 3), (200, 30, 30), np.uint8)
    buffer, stride = buffer_of(red, kind, padding)
    monkeypatch.setattr(FakePicamera2, "given_format", kind)
    monkeypatch.setattr(FakePicamera2, "given_stride", stride)
    monkeypatch.setattr(FakePicamera2, "buffer", staticmethod(lambda: buffer))
    camera = pi_camera(picamera2)
    frame = next(camera.frames())
    camera.close()
    assert frame.image.shape == (48, 64, 3)
    assert np.abs(frame.image.astype(int) - red).max() <= 3


@pytest.mark.skipif(
    find_spec("picamera2") is None or not list(Path("/dev").glob("dma_heap/*")),
    reason="needs picamera2, libcamera's virtual pipeline and a dma-heap",
)
def test_libcameras_virtual_pipeline_gives_frames_that_are_pictures():
    import picamera2 as module

    if not module.Picamera2.global_camera_info():
        pytest.skip("libcamera has no camera here: describe a virtual one in its virtual.yaml")
    camera = Picamera2Camera(index=0, width=640, height=480, stall_timeout_s=5.0, controls={}, module=module)
    frame = next(camera.frames())
    camera.close()
    assert frame.image.ndim == 3
    assert frame.image.dtype == np.uint8
    assert frame.image.std() > 0


def test_picamera2_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraError, match="apt install python3-picamera2") as caught:
        pi_camera(None)
    assert not isinstance(caught.value, CameraLost)


# --- clips


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.avi")


def write_clip(path, frames=5, fps=10):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 48))
    for n in range(frames):
        writer.write(np.full((48, 64, 3), (n * 40, 0, 250), np.uint8))
    writer.release()
    return path


def test_clip_gives_each_frame_once_in_order_and_ends(clip):
    camera = ClipCamera(path=clip, paced=False)
    started_s = time.monotonic()
    frames = []
    for frame in camera.frames():
        frames.append(frame)
        time.sleep(0.02)  # a slow consumer misses nothing
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    blues = [int(frame.image[20, 20, 2]) for frame in frames]
    assert blues == pytest.approx([0, 40, 80, 120, 160], abs=12)
    assert min(int(frame.image[20, 20, 0]) for frame in frames) > 200  # red comes first
    first_s = frames[0].captured_at_s
    assert first_s == pytest.approx(started_s, abs=1)
    assert [f.captured_at_s - first_s for f in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)
    assert camera.live is False
    assert len(list(camera.frames())) == 5  # and once more from the start


def test_clip_can_be_paced(clip):
    camera = ClipCamera(path=clip, paced=True)
    for frame in camera.frames():
        assert time.monotonic() >= frame.captured_at_s - 0.001


def test_clip_can_be_closed(clip):
    camera = ClipCamera(path=clip, paced=False)
    seen = []
    for frame in camera.frames():
        seen.append(frame)
        camera.close()
    assert len(seen) == 1


def test_truncated_clip_ends_or_says_so(clip):
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    with contextlib.suppress(CameraError):
        assert len(list(ClipCamera(path=clip, paced=False).frames())) < 5


def test_clip_without_frames(tmp_path, capfd):
    empty = write_clip(tmp_path / "empty.avi", frames=0)
    with pytest.raises(CameraError, match=r"not a video|no picture"):
        list(ClipCamera(path=empty, paced=False).frames())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.mp4", b"hello\n" * 100, "not a video"),
        ("clip01.mp4", b"hello\n" * 100, "not a video"),  # OpenCV takes the digits for a series of pictures
        ("zero.mp4", b"", "the file is empty"),
        ("absent.mp4", None, "no such file"),
        ("two words.mp4", None, "no such file"),
    ],
)
def test_file_that_is_no_clip_is_one_line(tmp_path, capfd, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CameraError, match=message) as caught:
        ClipCamera(path=path, paced=False)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert not isinstance(caught.value, CameraLost)
    assert capfd.readouterr().err == ""


def test_folder_is_no_clip(tmp_path):
    with pytest.raises(CameraError, match="no such file"):
        ClipCamera(path=tmp_path, paced=False)


# --- picking the adapter


def opened(source):
    return open_camera(source, width=64, height=48, stall_timeout_s=1.0, controls={}, paced=False)


def test_open_camera_picks_by_the_source(clip, monkeypatch, picamera2):
    for source, name in [(0, "0"), ("2", "2"), ("/dev/video1", "/dev/video1"), ("rtsp://h/x", "rtsp://h/x")]:
        camera = opened(source)
        assert isinstance(camera, OpenCVCamera)
        assert camera.name == name
        assert camera.live
    assert isinstance(opened(str(clip)), ClipCamera)
    monkeypatch.setitem(sys.modules, "picamera2", picamera2)
    for source, name in [("picamera2", "picamera2:0"), ("picamera2:1", "picamera2:1")]:
        camera = opened(source)
        assert isinstance(camera, Picamera2Camera)
        assert camera.name == name
    with pytest.raises(CameraError, match="no such file"):
        opened("picamera3")


@pytest.mark.parametrize(("found", "kind"), [(object(), Picamera2Camera), (None, OpenCVCamera)])
def test_auto_takes_picamera2_where_it_is_installed(found, kind, monkeypatch, picamera2):
    monkeypatch.setitem(sys.modules, "picamera2", picamera2)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    assert isinstance(opened("auto"), kind)
