"""What stands around a face: a person who moves changes little of it, another film all of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from device.numeric.surroundings import Surroundings

BOX = (260.0, 160.0, 120.0, 120.0)


def room(seed: int) -> np.ndarray:
    """A picture of 640x480 with things in it."""
    coarse = np.random.default_rng(seed).integers(30, 220, (12, 16, 3), dtype=np.uint8)
    return coarse.repeat(40, axis=0).repeat(40, axis=1)


def change(before: np.ndarray, after: np.ndarray, box=BOX) -> float:
    surroundings = Surroundings()
    assert math.isnan(surroundings.see(before, box))
    return surroundings.see(after, box)


def test_the_same_room_with_noise_changes_hardly():
    noise = np.random.default_rng(0).normal(0, 6, (480, 640, 3))
    assert change(room(1), np.clip(room(1) + noise, 0, 255).astype(np.uint8)) < 3


def test_another_room_is_a_jump():
    assert change(room(1), room(2)) > 30


def test_a_head_that_moves_before_the_room_is_no_change():
    turned = room(1)
    turned[160:280, 260:380] = 255 - turned[160:280, 260:380]
    assert change(room(1), turned) < 1


def test_a_lamp_that_is_switched_on_is_no_jump():
    assert change(room(1), np.clip(room(1).astype(int) + 25, 0, 255).astype(np.uint8)) < 3


@pytest.mark.parametrize("box", [(0.0, 0.0, 640.0, 480.0), (math.nan,) * 4])
def test_a_face_that_fills_the_picture_or_is_nowhere_leaves_nothing_to_compare_or_all(box):
    assert math.isnan(change(room(1), room(2), box)) or change(room(1), room(2), box) > 30
