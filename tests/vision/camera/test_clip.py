"""Clips that count as a camera."""

from __future__ import annotations

import contextlib
import time

import pytest

from device.errors import CameraError, CameraLost
from device.vision.camera.clip import ClipCamera
from tests.support.clips import write_clip


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
