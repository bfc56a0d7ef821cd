"""Made-up frames around a face: a living person in a room, or a print or a screen that somebody holds to the camera.

Faces are real; necks, clothes and rooms are made up (`models.surroundings`). Sheets and screens have real sizes, so how
much of their edge a look of 2.7 face widths shows follows from them: a face of life size fills a sheet of A4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from models.camera_chain import Camera, Image, Light, Rng, Scene, capture, compress, gentle, to_light
from models.print_attack import Print, head_outline, print_sheet
from models.recapture_layer import FacePlace, Layer, Outline, hold, over
from models.screen_attack import Screen, show_on_screen
from models.stance import Stance
from models.surroundings import (
    CROP_CENTER,
    CROP_FACE_PX,
    MIDDLE,
    SIDE_PX,
    UNIT_PX,
    Color,
    Material,
    box,
    color,
    fill,
    room,
    texture,
)

SPECIES = ("print", "cutout", "phone", "tablet")
FACE = FacePlace((MIDDLE, MIDDLE), UNIT_PX)  # of the one that is looked at, on every canvas
LOOK_WIDTHS, LOOK_PX, MAP_PX = 2.7, 112, 14
SHEETS_CM = ((21, 29.7), (14.8, 21), (10, 15), (13, 18), (20, 25))  # A4, A5, and photographs
LARGEST_FACE_CM = 17.0
LARGEST_REACH = 1.5  # face widths from the face to the edge of a made-up photograph
CANVAS = (SIDE_PX, SIDE_PX)


@dataclass(frozen=True)
class Pose:
    """Where a person stands on the canvas: center and width of the face in px, turn in the picture."""

    x: float = MIDDLE
    y: float = MIDDLE
    unit_px: float = UNIT_PX
    turn_deg: float = 0.0

    def from_crop(self) -> npt.NDArray[np.float64]:
        """Return the (2, 3) transform from an aligned crop to the canvas."""
        matrix = cv2.getRotationMatrix2D(CROP_CENTER, self.turn_deg, self.unit_px / CROP_FACE_PX)
        matrix[:, 2] += (self.x - CROP_CENTER[0], self.y - CROP_CENTER[1])
        return np.asarray(matrix, np.float64)

    def at(self, *places: tuple[float, float]) -> npt.NDArray[np.float64]:
        """Return px of places (N, 2) given in face widths from the face's center."""
        return np.array(places, np.float64) * self.unit_px + (self.x, self.y)


def people(material: Material, rng: Rng) -> Image:
    """Draw a frame of a living person in the middle, perhaps with others beside, and things before them."""
    image = room(material, rng)
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            x = MIDDLE + float(rng.choice([-1, 1])) * UNIT_PX * rng.uniform(0.8, 1.9)
            y, unit_px = MIDDLE + UNIT_PX * rng.normal(0, 0.5), UNIT_PX * rng.uniform(0.3, 1.1)
            image = person(image, Pose(x, y, unit_px, rng.normal(0, 10)), material, rng)
    image = person(image, Pose(), material, rng)
    if rng.random() < 0.15:
        image = microphone(image, rng)
    for _ in range(rng.poisson(0.35)):  # an arm, a neighbor's shoulder
        angle, apart = rng.uniform(0, 2 * math.pi), UNIT_PX * rng.uniform(0.85, 1.6)
        center = (MIDDLE + apart * math.cos(angle), MIDDLE + apart * math.sin(angle))
        size = UNIT_PX * np.exp(rng.normal((-1.2, -0.2), 0.5))
        corners = box(center, tuple(size), rng.uniform(0, 180)) + rng.normal(0, 0.08, (4, 2)) * size.min()
        paint = color(rng) if rng.random() < 0.6 else texture(material, rng)
        image = fill(image, corners, paint, rng, rng.uniform(0.5, 4))
    return image


def microphone(image: Image, rng: Rng) -> Image:
    """Hold a microphone before somebody's chest or chin."""
    head = Pose().at((rng.normal(0, 0.5), rng.uniform(0.65, 1.3)))[0]
    foot = head + UNIT_PX * np.array([rng.normal(0, 0.6), 2.0])
    across, dark = UNIT_PX * np.array([rng.uniform(0.03, 0.06), 0]), color(rng) * rng.uniform(0.1, 0.6)
    stick = [head - across, head + across, foot + across, foot - across]
    image = fill(image, np.array(stick), dark, rng)
    return fill(image, oval(head, UNIT_PX * rng.uniform((0.07, 0.08), (0.14, 0.2))), dark, rng)


def person(image: Image, pose: Pose, material: Material, rng: Rng) -> Image:
    """Put a dressed person into a picture."""
    face, mask = material.person(rng)
    image = body(image, face, mask, pose, material, rng)
    if rng.random() < 0.15:
        image = headgear(image, pose, material, rng)
    if rng.random() < 0.12:
        image = raised_hand(image, face, pose, rng)
    return image


def body(
    image: Image,
    face: Image,
    mask: npt.NDArray[np.uint8],
    pose: Pose,
    material: Material,
    rng: Rng,
) -> Image:
    """Put a face on a body: with what the photograph had around it carried on, or cut out of it."""
    if rng.random() < 0.55:
        image = carried_on(image, face, pose, rng)
        if rng.random() < 0.25:
            return image
        cover = cv2.warpAffine(mask, pose.from_crop(), CANVAS).astype(np.float32) / 255
        whole = np.full(mask.shape, 255, np.uint8)
        inside = cv2.warpAffine(whole, pose.from_crop(), CANVAS).astype(np.float32) / 255
        cover = np.minimum(cover, cv2.GaussianBlur(inside, (0, 0), 1))
        return blend(torso(image, face, pose, material, rng), placed(face, pose), cover)
    image = torso(image, face, pose, material, rng)
    cover = cv2.warpAffine(mask.astype(np.float32) / 255 * faded(rng), pose.from_crop(), CANVAS)
    if rng.random() < 0.5:
        cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.3:
        image = long_hair(image, face, pose, rng)
    return blend(image, placed(face, pose), cover)


def placed(face: Image, pose: Pose, border: int = cv2.BORDER_REPLICATE) -> Image:
    return np.asarray(cv2.warpAffine(face, pose.from_crop(), CANVAS, borderMode=border), np.uint8)


def blend(image: Image, paint: Image, cover: Light) -> Image:
    """Return `paint` over the picture where `cover` (H, W) is 1."""
    under = image.astype(np.float32)
    return np.clip(under + cover[..., None] * (paint - under), 0, 255).astype(np.uint8)


def carried_on(behind: Image, face: Image, pose: Pose, rng: Rng) -> Image:
    """Carry a crop on beyond its edges: mirrored and blurred, or with its edge pixels; farther out stands `behind`."""
    x, y = np.arange(SIDE_PX) - pose.x, np.arange(SIDE_PX)[:, None] - pose.y
    if rng.random() < 0.75:
        image = placed(face, pose, cv2.BORDER_REFLECT_101)
        soft = cv2.GaussianBlur(image, (0, 0), pose.unit_px * rng.uniform(0.02, 0.25))
        apart = np.hypot(x, y) / pose.unit_px
        image = blend(image, soft, np.clip((apart - 0.75) / rng.uniform(0.05, 0.6), 0, 1))
    else:
        image = placed(face, pose)
    if rng.random() < 0.5:
        beside = np.clip((np.abs(x) / pose.unit_px - rng.uniform(0.75, 1.0)) / rng.uniform(0.02, 0.4), 0, 1)
        image = blend(image, behind, np.broadcast_to(beside, image.shape[:2]))
    return image


def faded(rng: Rng) -> Light:
    """Return (112, 112) weights that let hair end softly where the crop does."""
    ramp = np.clip(np.arange(112, dtype=np.float32) / rng.uniform(6, 18), 0, 1)
    bottom = np.clip(np.arange(112, dtype=np.float32) / rng.uniform(2, 8), 0, 1)[::-1]
    return np.asarray((ramp * bottom)[:, None] * (ramp * ramp[::-1])[None], np.float32)


def torso(image: Image, face: Image, pose: Pose, material: Material, rng: Rng) -> Image:
    """Draw neck, shoulders and clothes below a face."""
    skin = np.median(face[50:80, 40:70].reshape(-1, 3), axis=0)
    neck, shoulder = rng.uniform(0.28, 0.42), rng.uniform(0.72, 1.0)
    top, low = rng.uniform(0.45, 0.6), shoulder + 0.35
    sides = pose.at((-neck, top), (neck, top), (1.2 * neck, low), (-1.2 * neck, low))
    image = fill(image, sides, skin * rng.uniform(0.6, 0.95), rng)
    image = fill(image, pose.at(*shoulders(shoulder, rng)), cloth(material, rng), rng)
    if rng.random() < 0.4:
        return jacket(image, pose, neck, shoulder, rng)
    if rng.random() < 0.5:  # an opening, at times with a tie
        wide, deep = neck * rng.uniform(0.5, 1.1), rng.uniform(0.2, 0.7)
        opening = pose.at((-wide, shoulder - 0.02), (wide, shoulder - 0.02), (0, shoulder + deep))
        image = fill(image, opening, 0.85 * skin if rng.random() < 0.5 else color(rng), rng)
        if rng.random() < 0.5:
            image = tie(image, pose, shoulder + 0.1, rng)
    if rng.random() < 0.4:  # a collar
        for side in (-1, 1):
            flap = (side * 0.7 * neck, shoulder - 0.12), (side * (neck + 0.25), shoulder + 0.05)
            tip = (side * 0.2, shoulder + rng.uniform(0.2, 0.5))
            image = fill(image, pose.at(*flap, tip), color(rng), rng)
    return image


def shoulders(level: float, rng: Rng) -> list[tuple[float, float]]:
    """Return the outline of a trunk, in face widths: one shoulder at times higher or nearer than the other."""
    halves, falls = rng.uniform(0.85, 1.5) * np.exp(rng.normal(0, 0.15, 2)), rng.uniform(0.15, 0.45, 2)
    slope, outline = rng.normal(0, 0.12), []
    for x in np.linspace(-1, 1, 25):
        side = int(x > 0)
        y = level + 1.5 * falls[side] * max(0.0, abs(x) - 0.25) ** 1.5 + slope * x * abs(x)
        outline.append((float(x * halves[side]), float(y)))
    return [*outline, (1.1 * float(halves[1]), 9.0), (-1.1 * float(halves[0]), 9.0)]


def cloth(material: Material, rng: Rng) -> Color | Image:
    """Draw a cloth: plain, dark or patterned."""
    kind = rng.random()
    if kind < 0.4:
        return texture(material, rng)
    return color(rng) if kind < 0.75 else rng.uniform(8, 60) * np.exp(rng.normal(0, 0.1, 3))


def jacket(image: Image, pose: Pose, neck: float, shoulder: float, rng: Rng) -> Image:
    """Open a jacket on a shirt, mostly a light one, with lapels and mostly a tie."""
    shirt = rng.uniform(150, 255) * np.exp(rng.normal(0, 0.05, 3)) if rng.random() < 0.7 else color(rng)
    wide, deep, at = 1.05 * neck, rng.uniform(0.6, 1.4), rng.normal(0, 0.08)
    front = pose.at((-wide, shoulder - 0.1), (wide, shoulder - 0.1), (at, shoulder + deep))
    image = fill(image, front, np.clip(shirt, 0, 255), rng)
    if rng.random() < 0.75:
        image = tie(image, pose, shoulder + rng.uniform(-0.05, 0.1), rng)
    lapel = color(rng) * rng.uniform(0.1, 0.6)
    for side in (-1, 1):
        inner, out = (side * wide, shoulder - 0.1), wide + rng.uniform(0.15, 0.35)
        corner = (side * out, shoulder + deep * rng.uniform(0.2, 0.4))
        image = fill(image, pose.at(inner, corner, (at, shoulder + deep)), lapel, rng)
    return image


def tie(image: Image, pose: Pose, top: float, rng: Rng) -> Image:
    half, low = rng.uniform(0.05, 0.1), top + 1.4
    ends = pose.at((-half, top), (half, top), (1.5 * half, low), (-1.5 * half, low))
    return fill(image, ends, color(rng), rng)


def headgear(image: Image, pose: Pose, material: Material, rng: Rng) -> Image:
    """Put on a hat or a cap, or lay a scarf around head and neck."""
    paint = cloth(material, rng)
    if rng.random() < 0.6:
        brim, crown = -rng.uniform(0.42, 0.6), -rng.uniform(0.85, 1.1)
        sides = (
            (-0.55, brim),
            (-0.5, crown + 0.1),
            (-0.25, crown),
            (0.25, crown),
            (0.5, crown + 0.1),
            (0.55, brim),
        )
        image = fill(image, pose.at(*sides), paint, rng)
        wide, thick = rng.uniform(0.5, 1.0, 2), rng.uniform(0.04, 0.12)
        edge = (
            (-wide[0], brim - thick),
            (wide[1], brim - thick),
            (wide[1], brim + thick),
            (-wide[0], brim + thick),
        )
        return fill(image, pose.at(*edge), paint if rng.random() < 0.7 else color(rng), rng)
    size, hole = (
        np.array([0.75, 0.95]) * rng.uniform(0.9, 1.15),
        np.array([0.48, 0.66]) * rng.uniform(0.9, 1.1),
    )
    center, lower = pose.at((0, 0), (0, 0.04))
    ring = [oval(center, size * pose.unit_px), oval(lower, hole * pose.unit_px)[::-1]]
    return fill(image, np.concatenate(ring), paint, rng)


def oval(center: npt.NDArray[np.float64], half: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return places (33, 2) around an ellipse, the first again at the end."""
    angle = np.linspace(0, 2 * math.pi, 33)
    return center + np.stack([np.cos(angle), np.sin(angle)], axis=1) * half


def raised_hand(image: Image, face: Image, pose: Pose, rng: Rng) -> Image:
    """Raise a hand beside or below a face."""
    skin = np.median(face[50:80, 40:70].reshape(-1, 3), axis=0) * rng.uniform(0.7, 1.1)
    palm = pose.at((rng.normal(0, 0.8), rng.uniform(0.6, 1.2)))[0]
    image = fill(image, oval(palm, pose.unit_px * rng.uniform((0.12, 0.15), (0.25, 0.3))), skin, rng)
    for finger in range(int(rng.integers(2, 6))):
        middle = palm + pose.unit_px * np.array([0.1 * (finger - 2), -rng.uniform(0.2, 0.4)])
        size = (0.08 * pose.unit_px, pose.unit_px * rng.uniform(0.25, 0.5))
        image = fill(image, box(middle, size, 12.0 * (finger - 2) + rng.normal(0, 8)), skin, rng)
    return image


def long_hair(image: Image, face: Image, pose: Pose, rng: Rng) -> Image:
    """Let hair fall on both sides, in the color of what is above the forehead."""
    hair = face[8:30, 30:80].reshape(-1, 3).mean(axis=0)
    for side in (-1, 1):
        end = (side * rng.uniform(0.5, 0.8), rng.uniform(0.5, 1.3))
        corners = ((side * 0.35, -0.2), (side * 0.62, -0.1), end, (side * 0.3, 0.6))
        image = fill(image, pose.at(*corners), hair, rng)
    return image


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
        found = Attack(_living(people(material, rng), rng), np.zeros(CANVAS, np.float32))
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


def _living(frame: Image, rng: Rng) -> Scene:
    """Return the scene of a frame, at times with fingers before the face: a hand alone is no attack."""
    light = to_light(frame)
    if rng.random() >= 0.12:
        return Scene(light)
    rim = Outline(*rng.uniform(0.5, 0.9, 4).tolist())
    layer = Layer(light, np.ones((*frame.shape[:2], 1), np.float32))
    return over(hold(layer, rim, FACE, int(rng.integers(1, 4)), rng), light)


def looked_at(found: Attack, camera: Camera, rng: Rng) -> tuple[Image, Light]:
    """Take the picture and cut the wide look out of it, as loosely as landmarks do; its map with it."""
    face_px = math.exp(rng.uniform(math.log(50), math.log(100)))
    tilt = rng.normal(0, 0.03, 2).tolist()
    stance = Stance(face_px, float(rng.normal(0, 4)), (tilt[0], tilt[1]))
    side = int(1.08 * LOOK_WIDTHS * face_px) + 2
    to_sensor = stance.to_sensor(FACE, (side, side))
    shot = capture(found.scene, to_sensor, (side, side), camera, rng)
    cover = cv2.warpPerspective(found.cover, to_sensor, (side, side))
    width_px = LOOK_WIDTHS * face_px * math.exp(rng.normal(0, 0.04))
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
