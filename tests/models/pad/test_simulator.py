"""Made-up scenes: seeded, of real sizes, doing what they claim; frames of people to choose on and to measure on."""

from __future__ import annotations

import zipfile
from collections import Counter

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the training tools: make test-train")

from device.numeric.geometry import FACE_CENTER, FACE_WIDTH_PX, REFERENCE_POINTS, WIDE_LOOK
from device.vision.assets import FACE_DETECTOR, FACE_MESH
from device.vision.liveness import wide_look
from models.pad.simulator.camera import Camera, gentle
from models.pad.simulator.people import Pose, people, person
from models.pad.simulator.rooms import MIDDLE, SIDE_PX, UNIT_PX, Material, box, fill, room
from models.pad.simulator.scene import (
    FACE,
    LOOK_PX,
    SPECIES,
    attack,
    cut,
    looked_at,
    made_up_attack,
    outline_of,
    view,
    within,
)
from scripts.measure.pad_frames import (
    AS_IT_IS,
    DEVELOPMENT,
    NO_EDGE,
    TEST,
    THROUGH_CAMERA,
    Eyes,
    frames,
    half_of,
    without_wedges,
)
from tests.support.photos import model_file, photo
from tests.support.training_data import material, portraits

RNG = np.random.default_rng


@pytest.fixture(scope="module", name="material")
def fixture_material() -> Material:
    return material()


@pytest.mark.parametrize("made", [room, people], ids=["room", "people"])
def test_a_picture_is_seeded(material, made):
    first, again, other = (made(material, RNG(seed)) for seed in (1, 1, 2))
    assert (first.shape, first.dtype) == ((SIDE_PX, SIDE_PX, 3), np.uint8)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rooms_need_no_pictures(material):
    bare = Material(material.faces, material.masks, [])
    assert all(room(bare, RNG(seed)).std() > 0 for seed in range(10))


def test_nothing_that_is_given_is_painted_on(material):
    before = material.faces.copy(), material.pictures[0].copy()
    for seed in range(10):
        view(seed % 2 == 1, material, RNG(seed))
    assert np.array_equal(material.faces, before[0])
    assert np.array_equal(material.pictures[0], before[1])


def test_a_polygon_is_painted_where_it_is_and_nowhere_else():
    gray = np.full((60, 80, 3), 100, np.uint8)
    painted = fill(gray, box((40, 30), (20, 10), 0), np.array([250.0, 0, 0]), RNG(0), soft_px=0.5)
    assert painted[30, 40].tolist() == [250, 0, 0]
    changed = np.argwhere((painted != 100).any(axis=2))
    assert changed.min(axis=0) == pytest.approx([25, 30], abs=2)
    assert changed.max(axis=0) == pytest.approx([35, 50], abs=2)
    assert (gray == 100).all()


def test_what_lies_outside_is_not_painted():
    gray = np.full((60, 80, 3), 100, np.uint8)
    assert np.array_equal(fill(gray, box((300, 300), (20, 10), 0), np.zeros(3), RNG(0)), gray)


def test_a_person_stands_where_the_pose_says(material):
    face = portraits()[0]
    alone = Material(np.stack([face, face]), np.full((2, 112, 112), 255, np.uint8), [])
    pose = Pose(MIDDLE - 20, MIDDLE + 10, 60.0)
    found = np.mean([person(room(alone, RNG(n)), pose, alone, RNG(n)) for n in range(12)], axis=0)
    straight = np.mean([face, face[:, ::-1]], axis=0)
    truth = cv2.warpAffine(straight, pose.from_crop(), (SIDE_PX, SIDE_PX))
    part = (slice(int(pose.y) - 25, int(pose.y) + 25), slice(int(pose.x) - 25, int(pose.x) + 25))
    assert np.corrcoef(found[part].ravel(), truth[part].ravel())[0, 1] > 0.9


def test_sheets_and_screens_have_real_sizes():
    """The wider side of a phone with a face of 4.3 to 7.3 cm is 1.7 to 3.8 face widths, of A4 at most 5."""
    for species, least, most in (("phone", 1.7, 3.9), ("tablet", 1.3, 4.1), ("print", 0.9, 5.0)):
        for seed in range(60):
            found = outline_of(species, RNG(seed))
            assert least <= max(found.left + found.right, found.up + found.down) <= most
            assert min(found.left, found.right) >= 0.5


@pytest.mark.parametrize("species", SPECIES)
def test_an_attack_covers_the_face_and_leaves_what_is_behind(material, species):
    photo_, behind = people(material, RNG(0)), room(material, RNG(1))
    found = attack(species, photo_, np.full(4, 1.2), behind, RNG(2))
    again = attack(species, photo_, np.full(4, 1.2), behind, RNG(2))
    assert np.array_equal(found.scene.light, again.scene.light)
    assert found.cover[int(MIDDLE), int(MIDDLE)] == 1
    assert 0.05 < found.cover.mean() < 0.98


def test_another_species_is_refused(material):
    frame = people(material, RNG(0))
    with pytest.raises(ValueError, match="species is one of print, cutout, phone, tablet, received 'mask'"):
        attack("mask", frame, np.ones(4), frame, RNG(0))


def test_a_photograph_ends_where_it_does():
    gray = np.full((SIDE_PX, SIDE_PX, 3), 100, np.uint8)
    shown = within(gray, np.array([0.5, 1.0, 0.75, 9.0]), np.zeros(3))
    inside = np.argwhere(shown[..., 0] == 100)
    low, high = inside.min(axis=0), inside.max(axis=0)
    assert low == pytest.approx([MIDDLE - 0.75 * UNIT_PX, MIDDLE - 0.5 * UNIT_PX], abs=1)
    assert high == pytest.approx([SIDE_PX - 1, MIDDLE + UNIT_PX], abs=1.5)


def test_a_look_and_its_map_show_the_same_place(material):
    for seed in range(8):
        found = made_up_attack("tablet", material, RNG(seed))
        look, cover = looked_at(found, gentle(Camera()), RNG(seed))
        assert (look.shape, cover.shape) == ((LOOK_PX, LOOK_PX, 3), (14, 14))
        wide = WIDE_LOOK * UNIT_PX
        whole = cut(found.cover, np.array(FACE.center), wide, 14)
        assert np.abs(whole - cover).mean() < 0.12


def test_training_cuts_the_look_that_the_door_takes(material):
    frame = cv2.GaussianBlur(people(material, RNG(0)), (0, 0), 3)
    landmarks = (REFERENCE_POINTS - FACE_CENTER) * UNIT_PX / FACE_WIDTH_PX + MIDDLE
    door, training = (
        wide_look(frame, landmarks),
        cut(frame, np.array(FACE.center), WIDE_LOOK * UNIT_PX, LOOK_PX),
    )
    assert np.abs(door.astype(int) - training).mean() < 2


@pytest.mark.parametrize("center", [(0, 0), (30, 20), (59, 39)])
def test_a_cut_beyond_the_picture_goes_on_with_its_edge(center):
    gray = np.full((40, 60, 3), 77, np.uint8)
    assert (cut(gray, np.array(center), 50.0, 16) == 77).all()


def test_live_views_have_an_empty_map_and_attacks_do_not(material):
    for seed in range(6):
        assert view(True, material, RNG(seed))[1].max() == 0
        assert view(False, material, RNG(seed))[1].max() >= 254


def test_people_are_parted_by_their_names_alone():
    names = [f"Person_{number}" for number in range(400)]
    counts = Counter(map(half_of, names))
    assert set(counts) == {DEVELOPMENT, TEST}
    assert min(counts.values()) > 150
    # another parting would measure on people that thresholds were chosen on
    assert list(map(half_of, names[:4])) == [DEVELOPMENT, DEVELOPMENT, DEVELOPMENT, DEVELOPMENT]


def test_black_wedges_are_painted_over_and_dark_clothes_stay():
    image = np.full((100, 100, 3), 120, np.uint8)
    image[:8, :30] = 0
    image[40:60, 40:60] = 0
    cleaned = without_wedges(image)
    assert cleaned[2, 10].min() > 80
    assert (cleaned[45:55, 45:55] == 0).all()
    plain = np.full((10, 10, 3), 120, np.uint8)
    assert without_wedges(plain) is plain


def test_frames_show_every_group_with_a_face_in_place(tmp_path):
    for asset in (FACE_DETECTOR, FACE_MESH):
        model_file(asset)
    people_of_half = [name for name in (f"Person_{n}" for n in range(40)) if half_of(name) == TEST][:3]
    with zipfile.ZipFile(tmp_path / "lfw.zip", "w") as archive:
        for person_, name in zip(people_of_half, ("astronaut", "hopper", "astronaut"), strict=True):
            data = cv2.imencode(".webp", cv2.cvtColor(photo(name), cv2.COLOR_RGB2BGR))[1].tobytes()
            archive.writestr(f"{person_}/{person_}_0001.webp", data)
    eyes = Eyes()
    found = list(frames(tmp_path / "lfw.zip", TEST, 3, eyes))
    assert Counter(group for group, _, _ in found) == dict.fromkeys(
        (AS_IT_IS, THROUGH_CAMERA, *SPECIES, NO_EDGE), 2
    )
    accepted = [group for group, frame, place in found if eyes.accepted(frame, place) is not None]
    assert {AS_IT_IS, THROUGH_CAMERA} <= set(accepted)
    again = list(frames(tmp_path / "lfw.zip", TEST, 3, eyes))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(found, again, strict=True))
    assert not list(frames(tmp_path / "lfw.zip", DEVELOPMENT, 3, eyes))
