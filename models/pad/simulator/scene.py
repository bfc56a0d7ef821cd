"""Made-up frames around a face: a living person in a room, or a print or a screen that somebody holds to the camera.

People and rooms are those of `people.py` and `rooms.py`. Sheets and screens have real sizes, so
how much of their edge a look of 2.7 face widths shows follows from them: a face of life size fills a sheet of A4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from device.numeric.geometry import WIDE_LOOK
from models.pad.simulator.camera import Camera, Image, Light, Rng, Scene, capture, compress, gentle, to_light
from models.pad.simulator.layers import FacePlace, Layer, Outline, hold, over
from models.pad.simulator.people import Pose, people, person
from models.pad.simulator.prints import Print, head_outline, print_sheet
from models.pad.simulator.rooms import CANVAS, MIDDLE, UNIT_PX, Color, Material, color, room
from models.pad.simulator.screens import Screen, show_on_screen
from models.pad.simulator.stance import Stance

SPECIES = ("print", "cutout", "phone", "tablet")
FACE = FacePlace((MIDDLE, MIDDLE), UNIT_PX)  # of the one that is looked at, on every canvas
LOOK_PX, MAP_PX = 112, 14
SHEETS_CM = ((21, 29.7), (14.8, 21), (10, 15), (13, 18), (20, 25))  # A4, A5, and photographs
LARGEST_FACE_CM = 17.0
LARGEST_REACH = 1.5  # face widths from the face to the edge of a made-up photograph


def outline_of(species: str, rng: Rng) -> Outline:
    """Draw a sheet or a screen of a real size with a face of a real size on it; distances in face widths."""
    if species == "phone":
        size, face_cm, upright = rng.uniform((6.2, 12.5), (7.6, 16.5)), rng.uniform(4.3, 7.3), 0.75
    elif species == "tablet":
        size, face_cm, upright = rng.uniform((14.5, 20), (20, 28)), rng.uniform(7, 15), 0.5
    else:
        size = np.array(SHEETS_CM[int(rng.integers(len(SHEETS_CM)))])
        face_cm, upright = rng.uniform(6, LARGEST_FACE_CM), 0.65
    if rng.random() > upright:
        size = size[::-1]
    face_cm = min(face_cm, 0.85 * size[0], 0.85 * size[1] if species == "print" else math.inf)
    width, height = size / face_cm
    x = rng.normal(0, 0.12) * max(width - 1, 0.1)
    y = rng.normal(0.08, 0.12) * max(height - 1.2, 0.1)
    half, tall = width / 2, height / 2
    return Outline(
        max(half + x, 0.5),
        max(half - x, 0.5),
        max(tall - y, 0.6),
        max(tall + y, 0.55),
        float(rng.normal(0, 4)),
    )


@dataclass(frozen=True)
class Attack:
    """The scene of an attack, and `cover` (H, W), 1 where a sheet or a device hides the scene."""

    scene: Scene
    cover: Light


def attack(
    species: str,
    photo: Image,
    ends: npt.NDArray[np.float64],
    behind: Image,
    rng: Rng,
    outline: Outline | None = None,
) -> Attack:
    """Present a photograph as a species before a picture, all on canvases with the face at FACE.

    Args:
        ends: how far the photograph reaches left, right, up and down of the face, in face widths; beyond it, a
            sheet is white and a screen black or in some color.
        behind: (SIDE_PX, SIDE_PX, 3), what the camera sees beside the attack.
        outline: of the sheet or screen; drawn where it is left out.
    """
    if species not in SPECIES:
        raise ValueError(f"species is one of {', '.join(SPECIES)}, received {species!r}")
    outline = outline or outline_of(species, rng)
    if species in ("print", "cutout"):
        layer, outline, fingers = _sheet(species, photo, ends, outline, rng)
    else:
        layer, outline, fingers = _device(species, photo, ends, outline, rng)
    cover = layer.cover[..., 0].copy()
    if fingers:
        layer = hold(layer, outline, FACE, fingers, rng)
    return Attack(over(layer, to_light(behind)), cover)


def _sheet(
    species: str, photo: Image, ends: npt.NDArray[np.float64], outline: Outline, rng: Rng
) -> tuple[Layer, Outline, int]:
    sheet = Print.draw(rng, cutout=species == "cutout")
    if species == "cutout":
        wide, tall = rng.uniform(0.55, 1.2, 2).tolist(), rng.uniform((0.75, 0.6), (1.1, 1.5)).tolist()
        outline = head_outline(rng) if rng.random() < 0.6 else Outline(*wide, *tall, 0.0, 0.5)
    else:
        photo = within(photo, ends, np.array([250, 250, 248]) if rng.random() < 0.85 else color(rng))
    fingers = int(rng.integers(1, 5)) if rng.random() < 0.5 else sheet.fingers
    return print_sheet(photo, FACE, replace(sheet, outline=outline, fingers=0), rng), outline, fingers


def _device(
    species: str, photo: Image, ends: npt.NDArray[np.float64], outline: Outline, rng: Rng
) -> tuple[Layer, Outline, int]:
    screen = Screen.draw(rng, small=species == "phone")
    outline = replace(outline, corner=screen.outline.corner)
    photo = within(photo, ends, np.zeros(3) if rng.random() < 0.6 else color(rng))
    fingers = int(rng.integers(1, 5)) if rng.random() < 0.3 else screen.fingers
    return show_on_screen(photo, FACE, replace(screen, outline=outline, fingers=0), rng), outline, fingers


def within(photo: Image, ends: npt.NDArray[np.float64], paint: Color) -> Image:
    """Return a photograph that ends left, right, up and down at `ends` face widths, in a color beyond."""
    left, right, up, down = np.round(ends * UNIT_PX).astype(int)
    middle, shown = int(MIDDLE), np.empty_like(photo)
    shown[:] = np.clip(paint, 0, 255).astype(np.uint8)
    part = (slice(max(middle - up, 0), middle + down), slice(max(middle - left, 0), middle + right))
    shown[part] = photo[part]
    return shown


def made_up_attack(species: str, material: Material, rng: Rng) -> Attack:
    """Present a made-up photograph of a real face, mostly before somebody who holds it."""
    photo = people(material, rng)
    if rng.random() < 0.7:
        photo = compress(photo, ".jpg", int(rng.integers(40, 97)))
    if rng.random() < 0.3:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.4, 1.2)), np.uint8)
    behind, unit_px = room(material, rng), UNIT_PX * rng.uniform(0.7, 1.5)
    if rng.random() < 0.65:
        x, y = (MIDDLE + UNIT_PX * rng.normal((0, -0.1), 0.5)).tolist()
        behind = person(behind, Pose(x, y, unit_px, rng.normal(0, 6)), material, rng)
    ends = np.clip(LARGEST_REACH * np.exp(rng.normal(-0.25, 0.2, 4)), 0.55, LARGEST_REACH)
    return attack(species, photo, ends, behind, rng)


def view(is_live: bool, material: Material, rng: Rng) -> tuple[Image, npt.NDArray[np.uint8]]:
    """Return a wide look (112, 112, 3) uint8 RGB, and its map (14, 14) uint8, 255 where a sheet or device is."""
    camera = Camera.draw(rng)
    if rng.random() < 0.25:
        camera = gentle(camera)
    if is_live:
        frame = people(material, rng)
        scene = with_hand(frame, FACE, rng) if rng.random() < 0.12 else Scene(to_light(frame))
        found = Attack(scene, np.zeros(CANVAS, np.float32))
    else:
        found = made_up_attack(SPECIES[int(rng.integers(len(SPECIES)))], material, rng)
    look, cover = looked_at(found, camera, rng)
    if rng.random() < 0.15:  # the frame ends within the look
        quarter, rows = int(rng.integers(4)), int(rng.uniform(2, 40))
        look = np.rot90(look, quarter).copy()
        look[:rows] = look[rows]
        look = np.rot90(look, -quarter)
    if rng.random() < 0.08:
        gray = cv2.cvtColor(np.ascontiguousarray(look), cv2.COLOR_RGB2GRAY)
        look = np.repeat(gray[..., None], 3, axis=2)
    return look, np.clip(np.rint(255 * cover), 0, 255).astype(np.uint8)


def with_hand(photo: Image, face: FacePlace, rng: Rng) -> Scene:
    """Return a live face with fingers before its rim: a hand alone is no attack."""
    light, rim = to_light(photo), Outline(*rng.uniform(0.5, 0.9, 4).tolist())
    layer = Layer(light, np.ones((*photo.shape[:2], 1), np.float32))
    return over(hold(layer, rim, face, int(rng.integers(1, 4)), rng), light)


def looked_at(found: Attack, camera: Camera, rng: Rng) -> tuple[Image, Light]:
    """Take the picture and cut the wide look out of it, as loosely as landmarks do; its map with it."""
    face_px = math.exp(rng.uniform(math.log(50), math.log(100)))
    tilt = rng.normal(0, 0.03, 2).tolist()
    stance = Stance(face_px, float(rng.normal(0, 4)), (tilt[0], tilt[1]))
    side = int(1.08 * WIDE_LOOK * face_px) + 2
    to_sensor = stance.to_sensor(FACE, (side, side))
    shot = capture(found.scene, to_sensor, (side, side), camera, rng)
    cover = cv2.warpPerspective(found.cover, to_sensor, (side, side))
    width_px = WIDE_LOOK * face_px * math.exp(rng.normal(0, 0.04))
    center = (side - 1) / 2 + rng.normal(0, 0.03 * face_px, 2)
    return cut(shot, center, width_px, LOOK_PX), cut(cover, center, width_px, MAP_PX)


def cut(image: npt.NDArray, center: npt.NDArray, width_px: float, out_px: int) -> npt.NDArray:
    """Return a square of a picture, made `out_px` wide; beyond the picture its edge pixels go on."""
    side = round(width_px)
    left, top = np.round(center - width_px / 2).astype(int).tolist()
    height, width = image.shape[:2]
    inside = image[max(0, top) : top + side, max(0, left) : left + side]
    missing = (-top, top + side - height, -left, left + side - width)
    square = cv2.copyMakeBorder(inside, *(max(0, rim) for rim in missing), cv2.BORDER_REPLICATE)
    return cv2.resize(square, (out_px, out_px), interpolation=cv2.INTER_AREA)
