"""Camera frames of photographs: as they are (live), or shown again on paper or a screen that often fills the view.

The photographs have real surroundings, so the answers that the teachers give for such frames are about what they know:
texture near, surroundings wide. Sheets and screens are those of `print_attack` and `screen_attack`; beside their
physics stands a second, cruder kind of both (gratings whose phase and strength wander), so that no single model of
moire is learned. One camera takes all, so the camera is no clue.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from models.pad.looks import Box
from models.pad.simulator.camera import (
    Camera,
    Image,
    Light,
    Rng,
    Scene,
    SensorGrid,
    capture,
    compress,
    to_light,
)
from models.pad.simulator.layers import FacePlace, Layer, Outline, hold, over
from models.pad.simulator.prints import Print, head_outline, print_sheet
from models.pad.simulator.screens import Screen, show_on_screen
from models.pad.simulator.sizes import outline_of
from models.pad.simulator.stance import Stance

LIVE, PRINT, CUTOUT, PHONE, TABLET = "live", "print", "cutout", "phone", "tablet"
SPECIES = (PRINT, CUTOUT, PHONE, TABLET)
SHARES = (0.36, 0.08, 0.24, 0.32)  # of the attacks
FILLS = 0.6  # share of prints and screens that leave no edge in view
FAR = 9.0  # face widths to an edge that nobody sees
JITTER = 0.03  # of the detector's box, share of its width


@dataclass(frozen=True)
class Photograph:
    """A photograph (H, W, 3) uint8 RGB and the detector's box of its face."""

    image: Image
    box: Box

    @property
    def center(self) -> tuple[float, float]:
        return self.box.x + self.box.width / 2, self.box.y + self.box.height / 2

    @property
    def ends(self) -> npt.NDArray[np.float64]:
        """Return how far it reaches left, right, up and down of the face, in box widths."""
        (height, width), (x, y) = self.image.shape[:2], self.center
        return np.array([x, width - 1 - x, y, height - 1 - y]) / self.box.width

    def on_canvas(
        self, face: FacePlace, size: tuple[int, int], border: int, paint: tuple[int, int, int] = (0, 0, 0)
    ) -> Image:
        """Return a canvas of `size` (w, h) with the face at its place."""
        scale = face.width_px / self.box.width
        (x, y), (to_x, to_y) = self.center, face.center
        matrix = np.array([[scale, 0, to_x - scale * x], [0, scale, to_y - scale * y]])
        picture = self.image
        if scale < 0.8:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.45 / scale), np.uint8)
        flags = cv2.INTER_LINEAR if scale < 1 else cv2.INTER_CUBIC
        found = cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=border, borderValue=paint)
        return np.asarray(found, np.uint8)


@dataclass(frozen=True)
class Frame:
    """A simulated camera frame: (H, W, 3) uint8 RGB, the detector's box, and whether no edge is in view."""

    image: Image
    box: Box
    fills: bool


def take(photo: Photograph, species: str, behind: Photograph, rng: Rng) -> Frame:
    """Take a frame of a photograph: LIVE as if it were the scene, else shown as one of SPECIES before `behind`."""
    fills = species not in (LIVE, CUTOUT) and rng.random() < FILLS
    size, face = framing(photo, whole=species == LIVE or fills, rng=rng)
    if species == LIVE:
        canvas = photo.on_canvas(face, size, cv2.BORDER_REFLECT_101)
        scene = with_hand(canvas, face, rng) if rng.random() < 0.05 else Scene(to_light(canvas))
    else:
        scene = shown(photo, species, behind, face, size, fills, rng)
    stance = Stance(
        face.width_px,
        float(rng.normal(0, 4)),
        (float(rng.normal(0, 0.02)), float(rng.normal(0, 0.02))),
    )
    homography = about(face, stance)
    image = capture(scene, homography, size, broad_camera(rng), rng)
    image = cheap(image, rng)
    return Frame(image, box_of(photo, face, homography, rng), fills)


def framing(photo: Photograph, *, whole: bool, rng: Rng) -> tuple[tuple[int, int], FacePlace]:
    """Draw the size (w, h) of a frame and where the face stands in it; `whole` keeps it within the photograph."""
    face_px = math.exp(rng.uniform(math.log(60), math.log(180)))
    widths = rng.uniform(1.7, 4.0)
    aspect = float(rng.choice([4 / 3, 0.75, 1.0], p=[0.7, 0.2, 0.1]))
    wide, tall = (widths * aspect, widths) if aspect >= 1 else (widths, widths / aspect)
    x, y = rng.normal(0.5, 0.07), rng.normal(0.5, 0.05)
    sides = np.array([x * wide, (1 - x) * wide, y * tall, (1 - y) * tall])
    if whole and rng.random() < 0.85:
        sides = np.minimum(sides, photo.ends * 1.02)
    sides = np.maximum(sides, 0.52) * face_px
    left, right, up, down = sides.tolist()
    return (round(left + right), round(up + down)), FacePlace((left, up), face_px)


def shown(
    photo: Photograph,
    species: str,
    behind: Photograph,
    face: FacePlace,
    size: tuple[int, int],
    fills: bool,
    rng: Rng,
) -> Scene:
    """Return the scene of a photograph on paper or on a screen."""
    outline = Outline(FAR, FAR, FAR, FAR) if fills else outline_of(species, rng)
    if fills and rng.random() < 0.25:  # one edge comes into view
        outline = replace(
            outline, **{str(rng.choice(["left", "right", "up", "down"])): float(rng.uniform(0.7, 1.8))}
        )
    paper = species in (PRINT, CUTOUT)
    border = cv2.BORDER_REFLECT_101 if fills else cv2.BORDER_CONSTANT
    paint = (250, 250, 248) if paper else (0, 0, 0)
    canvas = photo.on_canvas(face, size, border, paint)
    if rng.random() < 0.6:
        canvas = compress(canvas, ".jpg", int(rng.integers(35, 96)))
    if rng.random() < 0.2:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 1.4)), np.uint8)
    layer, outline, fingers = (sheet if paper else screen)(canvas, species, outline, face, rng)
    if fills and rng.random() < 0.9:
        fingers = 0
    if fingers:
        layer = hold(layer, outline, face, fingers, rng)
    moved = FacePlace(
        tuple(np.array(face.center) + face.width_px * rng.normal(0, 0.6, 2)),
        face.width_px * rng.uniform(0.6, 1.4),
    )
    around = behind.on_canvas(moved, size, cv2.BORDER_REFLECT_101)
    return over(layer, to_light(around))


def sheet(
    canvas: Image, species: str, outline: Outline, face: FacePlace, rng: Rng
) -> tuple[Layer, Outline, int]:
    """Return a print or a cutout as a layer."""
    made = Print.draw(rng, cutout=species == CUTOUT)
    if species == CUTOUT:
        wide, tall = rng.uniform(0.55, 1.2, 2).tolist(), rng.uniform((0.75, 0.6), (1.1, 1.5)).tolist()
        outline = head_outline(rng) if rng.random() < 0.6 else Outline(*wide, *tall, 0.0, 0.5)
    if rng.random() < 0.5:
        canvas = flat(canvas, rng.uniform(0.5, 1.05), rng.uniform(0.55, 0.95), rng.uniform(0, 45), rng)
    fingers = int(rng.integers(1, 5)) if rng.random() < 0.4 else 0
    layer = print_sheet(canvas, face, replace(made, outline=outline, fingers=0), rng)
    if rng.random() < 0.4:
        layer = replace(layer, structure=gratings(rng, halftone=True))
    return layer, outline, fingers


def screen(
    canvas: Image, species: str, outline: Outline, face: FacePlace, rng: Rng
) -> tuple[Layer, Outline, int]:
    """Return a photograph on a phone or a tablet as a layer."""
    made = Screen.draw(rng, small=species == PHONE)
    if rng.random() < 0.5:
        canvas = flat(canvas, rng.uniform(0.8, 1.3), rng.uniform(0.8, 1.25), rng.uniform(-10, 25), rng)
    layer = show_on_screen(canvas, face, replace(made, outline=outline, fingers=0), rng)
    if rng.random() < 0.5:
        layer = replace(layer, structure=gratings(rng, halftone=False))
    fingers = int(rng.integers(1, 5)) if rng.random() < 0.25 else 0
    return layer, replace(outline, corner=made.outline.corner), fingers


def flat(canvas: Image, chroma: float, contrast: float, black: float, rng: Rng) -> Image:
    """Return a picture of other chroma and contrast, its black lifted, with a cast."""
    values = canvas.astype(np.float32)
    gray = values.mean(axis=2, keepdims=True)
    values = gray + np.float32(chroma) * (values - gray)
    values = (values - 127.5) * np.float32(contrast) + 127.5 + np.float32(black)
    values *= np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
    return np.clip(values, 0, 255).astype(np.uint8)


def gratings(rng: Rng, *, halftone: bool) -> Callable[[Light, SensorGrid], Light]:
    """Return a structure of one to three gratings on the sensor, whose phase and strength wander over the picture."""
    count = 1 if halftone else int(rng.integers(1, 4))
    own = np.random.default_rng(int(rng.integers(2**32)))
    largest, longest_px = (0.12, 5.0) if halftone else (0.16, 40.0)
    shifted = 2 * math.pi / 3 if rng.random() < 0.4 else 0.0

    def structure(light: Light, grid: SensorGrid) -> Light:
        factor = np.ones_like(light)
        for _ in range(count):
            add_grating(factor, own, longest_px, largest, shifted)
        return light * factor

    return structure


def add_grating(factor: Light, rng: Rng, longest_px: float, largest: float, shifted: float) -> None:
    """Add one grating to a factor (H, W, 3), in place; colors stand `shifted` apart."""
    height, width = factor.shape[:2]
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    turn = 2 * math.pi / math.exp(rng.uniform(math.log(2.1), math.log(longest_px)))
    angle, phase = rng.uniform(0, math.pi), rng.uniform(0, 6.3)
    along = turn * (math.cos(angle) * x + math.sin(angle) * y) + wander(rng, (height, width), 5.0) + phase
    strength = largest * rng.random() * np.clip(0.5 + wander(rng, (height, width), 0.6), 0, 1.2)
    for channel in range(3):
        factor[..., channel] += strength * np.cos(along + np.float32(channel * shifted))


def wander(rng: Rng, shape: tuple[int, int], reach: float) -> Light:
    """Return a smooth random field (H, W) within about `reach`."""
    coarse = rng.normal(0, 0.5 * reach, (4, 4)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def with_hand(canvas: Image, face: FacePlace, rng: Rng) -> Scene:
    """Return a live face with fingers before its rim: a hand alone is no attack."""
    light, rim = to_light(canvas), Outline(*rng.uniform(0.5, 0.9, 4).tolist())
    layer = Layer(light, np.ones((*canvas.shape[:2], 1), np.float32))
    return over(hold(layer, rim, face, int(rng.integers(1, 4)), rng), light)


def about(face: FacePlace, stance: Stance) -> npt.NDArray[np.float64]:
    """Return the homography that turns and tilts a canvas about the face and leaves the face where it is."""
    x, y = face.center
    there = stance.to_sensor(face, (1, 1))
    back = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    return back @ there


def broad_camera(rng: Rng) -> Camera:
    """Draw a camera, from a good one in daylight to a cheap one at dusk."""
    noise = math.exp(rng.uniform(math.log(0.3), math.log(5.0)))
    return replace(
        Camera.draw(rng),
        blur_px=float(rng.choice([rng.uniform(0.2, 0.7), rng.uniform(0.5, 1.6)], p=[0.6, 0.4])),
        exposure=float(rng.uniform(0.2, 0.7)),
        read_noise=0.0015 * noise,
        shot_noise=0.006 * noise,
        quality=int(rng.integers(35, 97)),
    )


def cheap(image: Image, rng: Rng) -> Image:
    """Return a frame that a driver may have enlarged from fewer pixels, or made gray."""
    height, width = image.shape[:2]
    if rng.random() < 0.2:
        factor = rng.uniform(0.5, 0.9)
        small = cv2.resize(
            image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA
        )
        image = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < 0.03:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    return np.ascontiguousarray(image)


def box_of(photo: Photograph, face: FacePlace, homography: npt.NDArray[np.float64], rng: Rng) -> Box:
    """Return the box as loosely as the detector finds it."""
    x, y, w = homography @ np.array([*face.center, 1.0])
    scale = math.exp(rng.normal(0, JITTER))
    width, height = face.width_px * scale, face.width_px * photo.box.height / photo.box.width * scale
    x, y = np.array([x, y]) / w + rng.normal(0, JITTER * face.width_px, 2)
    return Box(float(x - width / 2), float(y - height / 2), width, height)


def recorded(photo: Photograph, rng: Rng) -> Frame:
    """Return a recorded picture as a frame: framed and lit anew, now and then through a second camera.

    Recorded pictures were cut near the face, printed ones nearer in the mean: their edges must tell nobody the class.
    """
    height, width = photo.image.shape[:2]
    (x, y), side = photo.center, photo.box.width
    left, right, up, down = np.minimum(photo.ends, rng.uniform(0.52, 1.2, 4)) * side
    x0, y0 = max(int(x - left), 0), max(int(y - up), 0)
    image = photo.image[y0 : min(int(y + down) + 1, height), x0 : min(int(x + right) + 1, width)]
    box = photo.box._replace(x=photo.box.x - x0, y=photo.box.y - y0)
    levels = (np.arange(256)[:, None] / 255) ** rng.uniform(0.75, 1.3) * rng.uniform(0.7, 1.25) * 255
    levels = levels * np.exp(rng.normal(0, 0.05, 3))
    image = np.asarray(cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8)[None]), np.uint8)
    if rng.random() < 0.3:
        image = compress(image, ".jpg", int(rng.integers(50, 97)))
    scale = math.exp(rng.normal(0, JITTER))
    moved = rng.normal(0, JITTER * side, 2)
    box = Box(
        box.x + moved[0] + box.width * (1 - scale) / 2,
        box.y + moved[1] + box.height * (1 - scale) / 2,
        box.width * scale,
        box.height * scale,
    )
    return Frame(np.ascontiguousarray(image), box, True)
