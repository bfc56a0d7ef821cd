"""A turned head is told by where its nose is."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the training tools: make test-train")

from models.landmarks.points import LANDMARKS, mirrored
from models.training.turned import nose_offset, turned_heads
from tests.support.training_data import portraits

pytestmark = pytest.mark.train


def test_the_nose_is_off_the_middle_by_as_much_in_a_mirror_to_the_other_side():
    points = np.random.default_rng(0).uniform(0, 112, (len(LANDMARKS), 2))
    assert nose_offset(mirrored(points, 112)) == pytest.approx(-nose_offset(points))


def test_faces_from_the_front_are_not_turned():
    assert len(turned_heads(np.stack(portraits()))) == 0
