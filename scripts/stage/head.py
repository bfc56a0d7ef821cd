"""A head and a flat picture, both made of one photograph, that move before the real detector, mesh and embedder.

    python scripts/stage/head.py tests/data/astronaut.jpg sheet.jpg      look at what it makes

The head is the photograph as a textured mesh: MediaPipe's 468 points with their depth, turned in space, drawn from
back to front; around the face a rim of rubber leads to what stands still. The lids can close. The flat picture is the
same photograph on a plane, or on a bent sheet, turned in space by a pinhole camera. What a head of one photograph
cannot show is what the photograph did not: the side of the nose, the hidden ear, the inside of the mouth.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from device.errors import UsageError
from device.programs import Parser, run
from device.types import Image
from device.vision.align import MeshAligner
from device.vision.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.vision.detect import open_detector
from device.vision.picture import read_picture

Floats = npt.NDArray[np.float64]

WIDTH_PX, HEIGHT_PX = 640, 480
MARGIN_PX = 400
BAND_ROWS = 60
DISTANCE = 4.0  # of the camera from the face, in widths of the face: 60 cm
LASH_COLOR = (70, 45, 35)
RIM = (1.25, 1.55, 1.9)  # of the face's outline: on the head, following by half, standing still
RIM_FOLLOWS = (1.0, 0.5, 0.0)
# MediaPipe's outline of the face, clockwise from the forehead.
OUTLINE = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
# Upper and lower lid of both eyes, pairs across from each other, without the corners.
UPPER_LIDS = (246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398)
LOWER_LIDS = (7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382)
CREASES = (247, 30, 29, 27, 28, 56, 190, 467, 260, 259, 257, 258, 286, 414)  # above the upper lids
LASHES = ((33, *LOWER_LIDS[:7], 133), (263, *LOWER_LIDS[7:], 362))


@dataclass(frozen=True, slots=True)
class Look:
    """How a head or a flat picture stands in one frame.

    Angles as in HeadPose; `size` is of the photograph in the frame; `lids` closes the eyes, 0 to 1 (a head's only);
    `bend_deg` is the arc of a sheet that is bent about its upright middle (a flat picture's only).
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    lids: float = 0.0
    bend_deg: float = 0.0
    size: float = 1.0
    x_px: float = 0.0
    y_px: float = 0.0
    light: float = 1.0
    blur_px: float = 0.6


def rotation(look: Look) -> Floats:
    """Return the (3, 3) rotation of a look: roll after yaw after pitch, as `HeadPose` reads it."""
    yaw, pitch, roll = (math.radians(each) for each in (look.yaw_deg, look.pitch_deg, look.roll_deg))
    about_y = [[math.cos(yaw), 0, -math.sin(yaw)], [0, 1, 0], [math.sin(yaw), 0, math.cos(yaw)]]
    about_x = [[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]]
    about_z = [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_y) @ np.array(about_x)


class Actor:
    """One photograph with exactly one face, as a head and as a flat picture."""

    def __init__(self, photograph: Image) -> None:
        scale = max(WIDTH_PX / photograph.shape[1], HEIGHT_PX / photograph.shape[0])
        self._photo = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        # Around the head the photograph goes on: no edge of it is to be seen where none should be.
        self._scene = cv2.copyMakeBorder(self._photo, *[MARGIN_PX] * 4, cv2.BORDER_REPLICATE)
        face = find_mesh(self._photo)
        self._center = face[:, :2].mean(axis=0)
        self._face = face + np.array([MARGIN_PX, MARGIN_PX, 0])
        left, right = self._face[234], self._face[454]
        self.face_width_px = float(np.linalg.norm(left[:2] - right[:2]))
        self._pivot = (left + right) / 2  # between the ears, where a neck turns
        self._points, self._follows = surround(self._face, self._scene.shape)
        self._triangles = triangulate(self._points[:, :2], self._scene.shape)

    def head(self, look: Look) -> Image:
        """Return a frame, (480, 640, 3) uint8 RGB, in which the head is alive."""
        points, source = self._close_eyes(look.lids)
        moved = (points - self._pivot) @ rotation(look).T
        flat = moved[:, :2] * self._nearer(points[:, 2] - self._pivot[2], moved[:, 2]) + self._pivot[:2]
        flat = self._points[:, :2] + self._follows[:, None] * (flat - self._points[:, :2])
        # What stands still first, then the head from back to front.
        still = self._follows[self._triangles].min(axis=1) < 1
        order = np.lexsort((-moved[self._triangles, 2].mean(axis=1), ~still))
        placed = (flat - self._center - MARGIN_PX) * look.size + place(look)
        frame = paint(self._scene, source, placed, self._triangles[order], wall())
        if look.lids > 0.7:
            lashes = [np.round(placed[list(each)] * 16).astype(np.int32) for each in LASHES]
            cv2.polylines(frame, lashes, False, LASH_COLOR, 2, cv2.LINE_AA, shift=4)
        return film(frame, look)

    def picture(self, look: Look, behind: Image | None = None) -> Image:
        """Return a frame in which the photograph is held up, flat or bent, before a wall or another frame."""
        columns = 41 if look.bend_deg else 2
        height, width = self._photo.shape[:2]
        x, y = np.meshgrid(np.linspace(0, width - 1, columns), [0, height - 1])
        source = np.stack([x.ravel(), y.ravel()], axis=1)
        moved = bend(source - self._center, width, look.bend_deg) @ rotation(look).T
        placed = moved[:, :2] * self._nearer(np.zeros(len(moved)), moved[:, 2]) * look.size + place(look)
        frame = wall() if behind is None else behind.copy()
        if look.bend_deg:
            triangles = strip_triangles(columns, moved[:, 2])
            return film(paint(self._photo, source, placed, triangles, frame), look)
        matrix = cv2.getPerspectiveTransform(source.astype(np.float32), placed.astype(np.float32))
        transparent = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_TRANSPARENT}
        cv2.warpPerspective(self._photo, matrix, (WIDTH_PX, HEIGHT_PX), dst=frame, **transparent)
        return film(frame, look)

    def _close_eyes(self, lids: float) -> tuple[Floats, Floats]:
        """Return the points with the lids down, (N, 3), and where each takes its color from, (N, 2).

        A lid that comes down is skin: its edge takes its color from above the lashes, half way to the crease.
        """
        points, source = self._points.copy(), self._points[:, :2].copy()
        upper, lower, crease = list(UPPER_LIDS), list(LOWER_LIDS), list(CREASES)
        points[upper] += lids * (points[lower] - points[upper])
        source[upper] += min(1.0, 2 * lids) * 0.6 * (source[crease] - source[upper])
        return points, source

    def _nearer(self, before_px: Floats, after_px: Floats) -> Floats:
        """Return (N, 1): how much larger points look after they moved from one depth to another."""
        far_px = DISTANCE * self.face_width_px
        # What would be at the camera or behind it stays before it.
        return ((before_px + far_px) / np.maximum(after_px + far_px, 0.2 * far_px))[:, None]


def place(look: Look) -> Floats:
    return np.array([WIDTH_PX / 2 + look.x_px, HEIGHT_PX / 2 + look.y_px])


def wall() -> Image:
    return np.full((HEIGHT_PX, WIDTH_PX, 3), 150, np.uint8)


def bend(flat: Floats, width_px: float, bend_deg: float) -> Floats:
    """Return (N, 3) points of a sheet (N, 2) that is bent about its upright middle by an arc."""
    sheet = np.column_stack([flat, np.zeros(len(flat))])
    if bend_deg:
        radius = width_px / math.radians(bend_deg)
        sheet[:, 0], sheet[:, 2] = (
            radius * np.sin(flat[:, 0] / radius),
            radius * (1 - np.cos(flat[:, 0] / radius)),
        )
    return sheet


def find_mesh(image: Image) -> Floats:
    """Return the (468, 3) mesh of the only face in an image."""
    detector = open_detector("litert", find_asset(FACE_DETECTOR), 0.5, 1)
    try:
        faces = detector.detect(image)
    finally:
        detector.close()
    if len(faces) != 1:
        raise UsageError(f"the photograph has {len(faces)} faces, expected one: take another")
    return MeshAligner(model=find_asset(FACE_MESH), threads=1).align(image, faces[0]).mesh.astype(np.float64)


def surround(face: Floats, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return the face with three rims and the photograph's border, (N, 3), and how much each point follows the head."""
    center, outline = face.mean(axis=0), face[list(OUTLINE)]
    points, follows = [face], [np.ones(len(face))]
    for share, follow in zip(RIM, RIM_FOLLOWS, strict=True):
        rim = center + share * (outline - center)
        rim[:, 2] = outline[:, 2] + (share - 1) * 0.5 * np.ptp(
            face[:, 0]
        )  # the skull goes back behind the face
        points.append(rim)
        follows.append(np.full(len(rim), follow))
    height, width = shape[:2]
    x, y = np.meshgrid(np.linspace(0, width - 1, 5), np.linspace(0, height - 1, 5))
    border = np.column_stack([x.ravel(), y.ravel(), np.zeros(25)])
    edge = (np.abs(border[:, :2] - [width / 2, height / 2]) >= [width / 2 - 1, height / 2 - 1]).any(axis=1)
    points.append(border[edge])
    follows.append(np.zeros(edge.sum()))
    every = np.concatenate(points)
    inside = ((every[:, :2] >= 0) & (every[:, :2] <= [width - 1, height - 1])).all(axis=1)
    inside[: len(face)] = True
    return every[inside], np.concatenate(follows)[inside]


def triangulate(points: Floats, shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """Return the (M, 3) Delaunay triangles of points (N, 2)."""
    height, width = shape[:2]
    subdivision = cv2.Subdiv2D((-8, -8, width + 16, height + 16))
    numbers = {}
    for number, (x, y) in enumerate(points.astype(np.float32)):
        numbers.setdefault((float(x), float(y)), number)
        subdivision.insert((float(x), float(y)))
    corners = subdivision.getTriangleList().reshape(-1, 3, 2)
    found = [[numbers.get((float(x), float(y)), -1) for x, y in each] for each in corners]
    return np.array([each for each in found if -1 not in each], np.intp)


def strip_triangles(columns: int, depth: Floats) -> npt.NDArray[np.intp]:
    """Return the triangles of two rows of points, the farthest first."""
    at = np.arange(columns - 1)
    upper = np.stack([at, at + 1, at + columns], axis=1)
    lower = np.stack([at + 1, at + columns + 1, at + columns], axis=1)
    triangles = np.concatenate([upper, lower])
    return triangles[np.argsort(-depth[triangles].mean(axis=1))]


def paint(
    photo: Image, source: Floats, target: Floats, triangles: npt.NDArray[np.intp], behind: Image
) -> Image:
    """Draw the triangles of `photo` in their order: which one each pixel shows, then where that comes from."""
    shown = np.full((HEIGHT_PX, WIDTH_PX), -1, np.int32)
    corners = target[triangles]
    edges = corners[:, 1:] - corners[:, :1]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    drawable = np.flatnonzero(np.abs(area) > 1e-6)  # a closed eye has no inside
    fixed = np.rint(corners * 16).astype(np.int32)
    for number in drawable:
        cv2.fillConvexPoly(shown, fixed[number], int(number), shift=4)
    maps = np.zeros((len(triangles) + 1, 2, 3), np.float32)  # the last is for pixels that no triangle shows
    maps[drawable] = affine(corners[drawable], source[triangles][drawable])
    frame = cv2.remap(photo, places(maps, shown), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    np.copyto(frame, behind, where=(shown < 0)[..., None])
    return frame.astype(np.uint8, copy=False)


def places(maps: Floats, shown: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Return where each pixel comes from, (H, W, 2): some rows at a time, which stay in the processor's cache."""
    tables = np.ascontiguousarray(maps.reshape(-1, 6).T, np.float64)
    found = np.empty((*shown.shape, 2), np.float32)
    x = np.arange(shown.shape[1], dtype=np.float64)
    for top in range(0, len(shown), BAND_ROWS):
        band = shown[top : top + BAND_ROWS].astype(np.intp)
        y = np.arange(top, top + len(band), dtype=np.float64)[:, None]
        for axis in range(2):
            of_x, of_y, offset = (each.take(band, mode="wrap") for each in tables[3 * axis : 3 * axis + 3])
            found[top : top + BAND_ROWS, :, axis] = of_x * x + of_y * y + offset
    return found


def affine(before: Floats, after: Floats) -> Floats:
    """Return the (M, 2, 3) transforms that bring triangles (M, 3, 2) onto others."""
    corners = np.concatenate([before, np.ones((len(before), 3, 1))], axis=2)
    return np.linalg.solve(corners, after).transpose(0, 2, 1)


def film(frame: Image, look: Look) -> Image:
    """Add what a camera adds: a little blur, and the light."""
    blurred = cv2.GaussianBlur(frame, (0, 0), look.blur_px) if look.blur_px else frame
    return cv2.convertScaleAbs(blurred, alpha=look.light).astype(np.uint8, copy=False)


HEADS = (
    *(Look(), Look(yaw_deg=-25), Look(yaw_deg=25), Look(pitch_deg=18), Look(pitch_deg=-18)),
    Look(lids=1.0),
)
PICTURES = (
    *(Look(size=0.8), Look(yaw_deg=-35, size=0.8), Look(yaw_deg=35, size=0.8)),
    *(Look(pitch_deg=30, size=0.8), Look(pitch_deg=-30, size=0.8), Look(bend_deg=80, size=0.8, yaw_deg=20)),
)


def contact_sheet(actor: Actor) -> Image:
    """Show what an actor can do, the head above, the flat picture below."""
    rows = [
        np.hstack([actor.head(look) for look in HEADS]),
        np.hstack([actor.picture(look) for look in PICTURES]),
    ]
    return cv2.resize(np.vstack(rows), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA).astype(np.uint8)


def load_actor(path: Path) -> Actor:
    """Read a photograph with one face."""
    return Actor(read_picture(path))


def main(arguments: list[str] | None = None) -> int:
    """Write the contact sheet and return the exit code."""
    parser = Parser(prog="head.py", description="Draw a head and a flat picture from a photograph.")
    parser.add_argument("photograph", type=Path)
    parser.add_argument("sheet", type=Path, help="file to write, .jpg or .png")
    return run("head", lambda: act(parser.parse_args(arguments)))


def act(args: argparse.Namespace) -> int:
    drawn = cv2.cvtColor(contact_sheet(load_actor(args.photograph)), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(args.sheet), drawn):
        raise UsageError(f"{args.sheet}: cannot be written: name a .jpg or .png in a folder that is there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
