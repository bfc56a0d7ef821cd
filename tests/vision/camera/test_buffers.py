"""Buffers of cameras: whatever the format and however the rows are padded, the picture is the same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from device.errors import CameraError
from device.vision.camera.pixels import FORMATS, PACKED, rgb_of_buffer
from tests.support.machines.buffers import buffer_of
from tests.support.photos import photo


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("padding", [0, 2, 64])
def test_a_buffer_of_each_format_gives_the_picture_whatever_pads_its_rows(kind, padding):
    image = cv2.resize(photo("astronaut"), (160, 120), interpolation=cv2.INTER_AREA)
    buffer, stride = buffer_of(image, kind, padding)
    seen = rgb_of_buffer(buffer, kind, (160, 120), stride)
    assert seen.shape == (120, 160, 3)
    assert seen.flags.c_contiguous
    lost = np.abs(seen.astype(int) - image)
    if kind in PACKED:
        assert lost.max() == 0
    else:  # color has half the resolution
        assert np.median(lost) <= 2
        assert np.abs(seen.mean((0, 1)) - image.mean((0, 1))).max() < 1


@pytest.mark.parametrize("kind", FORMATS)
def test_the_sides_of_a_picture_are_not_exchanged_and_its_colors_neither(kind):
    image = np.zeros((8, 16, 3), np.uint8)
    image[:4, :8], image[4:, 8:] = (250, 20, 20), (20, 20, 250)
    seen = rgb_of_buffer(*_split(buffer_of(image, kind, 16), kind))
    assert np.abs(seen.astype(int) - image).max() <= 4


def _split(made, kind):
    buffer, stride = made
    return buffer, kind, (16, 8), stride


@pytest.mark.parametrize("kind", FORMATS)
def test_what_lies_behind_the_picture_is_left_out_and_the_last_row_needs_no_padding(kind):
    image = np.full((8, 16, 3), 130, np.uint8)
    buffer, stride = buffer_of(image, kind, 16)
    longer = np.concatenate([buffer, np.full(500, 9, np.uint8)])
    assert (
        rgb_of_buffer(longer, kind, (16, 8), stride) == rgb_of_buffer(buffer, kind, (16, 8), stride)
    ).all()
    last = 8 if kind == "YUV420" else 16
    shorter = buffer[:-last]
    assert (
        rgb_of_buffer(shorter, kind, (16, 8), stride) == rgb_of_buffer(buffer, kind, (16, 8), stride)
    ).all()


@pytest.mark.parametrize(
    ("kind", "size", "stride", "length"),
    [
        ("BGR888", (16, 8), 48, 100),
        ("BGR888", (16, 8), 40, 9999),
        ("NV12", (16, 8), 16, 150),
        ("YUV420", (16, 8), 16, 150),
        ("NV12", (15, 8), 16, 9999),
        ("YUV420", (16, 7), 16, 9999),
        ("MJPEG", (16, 8), 16, 9999),
        ("BGR888", (16, 8), 48, 0),
    ],
)
def test_a_buffer_that_holds_no_such_picture_is_an_error_that_says_so(kind, size, stride, length):
    with pytest.raises(CameraError, match=r"camera gives .* expected .*: change its mode"):
        rgb_of_buffer(np.zeros(length, np.uint8), kind, size, stride)
