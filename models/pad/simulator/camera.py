"""The camera as physics: what stands before it, in linear light, to a compressed uint8 picture.

Live faces and attacks go through the same chain: lens, sensor, demosaicing, noise, white balance, compression. What
tells them apart must come from the print or the screen. Every function is pure; chance comes in through a seeded
generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Light = npt.NDArray[np.float32]  # (H, W, 3), linear, 1 is white
Floats = npt.NDArray[np.float64]
Rng = np.random.Generator

_LEVELS = 4095
_TO_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)
_TO_PIXELS = np.rint(255 * (np.arange(_LEVELS + 1) / _LEVELS) ** (1 / 2.2)).astype(np.float32)


def to_light(image: Image) -> Light:
    """Return linear light of an sRGB picture, by a gamma of 2.2."""
    return np.asarray(cv2.LUT(np.ascontiguousarray(image), _TO_LINEAR))


def to_pixels(light: Light) -> Light:
    """Return gamma-coded float32 values in [0, 255] of linear light."""
    return _TO_PIXELS[np.clip(light * _LEVELS, 0, _LEVELS).astype(np.uint16)]


@dataclass(frozen=True)
class SensorGrid:
    """Where the pixels of a sensor look: `u`, `v` (h, w) px of the scene, and the sensor's own rows `y` (h, 1)."""

    u: Light
    v: Light
    y: Light


@dataclass(frozen=True)
class Scene:
    """What stands before the camera: `light` (H, W, 3), and what finer structure does to it at the sensor's pixels.

    `structure(light, grid)` is evaluated where the sensor samples, not drawn into the picture: a screen's pixels are
    finer than any canvas, and what a camera makes of them is an alias.
    """

    light: Light
    structure: Callable[[Light, SensorGrid], Light] | None = None


@dataclass(frozen=True)
class Camera:
    """One camera and its settings; sizes in px of the sensor."""

    blur_px: float = 0.5  # lens and defocus, standard deviation
    motion_px: float = 0.0
    motion_deg: float = 0.0
    exposure: float = 0.4  # brightness (gamma-coded) that the mean of the scene gets, share of white
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    slope: tuple[float, float] = (0.0, 0.0)  # light falling off over the picture, share from middle to edge
    read_noise: float = 0.002  # of white, linear
    shot_noise: float = 0.005  # at white
    demosaic: bool = True
    sharpen: float = 0.3
    denoise: bool = False
    contrast: float = 1.0
    veil: float = 0.0  # stray light in the lens, share of the mean
    codec: str = ".jpg"
    quality: int = 80

    @classmethod
    def draw(cls, rng: Rng) -> Camera:
        """Draw a camera, good or cheap, in light in which the door's quality check lets a face pass."""
        noise = math.exp(rng.uniform(math.log(0.3), math.log(3.0)))
        slope_rad, slope = rng.uniform(0, 2 * math.pi), abs(rng.normal(0, 0.25))
        warm, green = rng.normal(0, 0.1), rng.normal(0, 0.04)
        return cls(
            blur_px=float(rng.choice([rng.uniform(0.3, 0.6), rng.uniform(0.5, 1.3)], p=[0.7, 0.3])),
            motion_px=float(rng.uniform(1, 5)) if rng.random() < 0.08 else 0.0,
            motion_deg=float(rng.uniform(0, 180)),
            exposure=float(rng.uniform(0.28, 0.66)),
            white_balance=(math.exp(warm), math.exp(green), math.exp(-warm)),
            slope=(slope * math.cos(slope_rad), slope * math.sin(slope_rad)),
            read_noise=0.0015 * noise,
            shot_noise=0.006 * noise,
            demosaic=bool(rng.random() < 0.7),
            sharpen=float(rng.uniform(0, 0.9)) if rng.random() < 0.6 else 0.0,
            denoise=bool(rng.random() < 0.2),
            contrast=float(rng.uniform(0.75, 1.35)),
            veil=float(rng.uniform(0.02, 0.4)) if rng.random() < 0.3 else 0.0,
            codec=".jpg" if rng.random() < 0.7 else ".webp",
            quality=int(rng.integers(45, 97)),
        )


def gentle(camera: Camera) -> Camera:
    """Return a camera that leaves a picture as sharp and clean as it was; light and compression stay."""
    return replace(
        camera,
        blur_px=0.0,
        motion_px=0.0,
        read_noise=0.0,
        shot_noise=0.0,
        demosaic=False,
        denoise=False,
        veil=0.0,
    )


def capture(scene: Scene, to_sensor: Floats, size: tuple[int, int], camera: Camera, rng: Rng) -> Image:
    """Take a picture: (h, w, 3) uint8 of `size` (w, h); `to_sensor` is the (3, 3) homography from scene to sensor."""
    light = lens(project(scene.light, to_sensor, size), camera)
    if scene.structure is not None:
        # After the lens: moire is made by the sampling, and nothing blurs it again
        light = scene.structure(light, sensor_grid(np.linalg.inv(to_sensor), size))
    light = expose(light, camera)
    light = add_noise(light, camera, rng)
    pixels = develop(to_pixels(light), camera)
    return compress(pixels, camera.codec, camera.quality)


def project(light: Light, to_sensor: Floats, size: tuple[int, int]) -> Light:
    """Bring the scene onto the sensor; each sensor pixel gathers light over its own area."""
    shrink = math.sqrt(abs(np.linalg.det(to_sensor[:2, :2])))
    if shrink < 0.8:
        light = cv2.GaussianBlur(light, (0, 0), 0.45 / shrink)
    return np.asarray(
        cv2.warpPerspective(
            light, to_sensor, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        ),
        np.float32,
    )


def sensor_grid(to_scene: Floats, size: tuple[int, int]) -> SensorGrid:
    """Return where each pixel of a sensor of `size` (w, h) looks."""
    x, y = np.arange(size[0], dtype=np.float32)[None], np.arange(size[1], dtype=np.float32)[:, None]
    m = to_scene.astype(np.float32)
    w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    return SensorGrid((m[0, 0] * x + m[0, 1] * y + m[0, 2]) / w, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / w, y)


def lens(light: Light, camera: Camera) -> Light:
    """Blur by lens, defocus and motion; stray light lies over all of it."""
    if camera.blur_px > 0:
        light = cv2.GaussianBlur(light, (0, 0), camera.blur_px)
    if camera.motion_px >= 1:
        light = cv2.filter2D(light, -1, streak(camera.motion_px, camera.motion_deg))
    return light + np.float32(camera.veil * light.mean()) if camera.veil > 0 else light


def streak(length_px: float, angle_deg: float) -> Light:
    """Return the kernel of a straight motion."""
    size = 2 * math.ceil(length_px / 2) + 1
    kernel = np.zeros((size, size), np.float32)
    kernel[size // 2] = np.clip(length_px / 2 + 0.5 - np.abs(np.arange(size) - size // 2), 0, 1)
    middle = ((size - 1) / 2, (size - 1) / 2)
    kernel = cv2.warpAffine(kernel, cv2.getRotationMatrix2D(middle, angle_deg, 1), (size, size))
    return kernel / max(float(kernel.sum()), 1e-6)


def expose(light: Light, camera: Camera) -> Light:
    """Bring the mean to the exposure; add the slope of the light and the white balance."""
    height, width = light.shape[:2]
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    shade = np.clip(1 + camera.slope[0] * x + camera.slope[1] * y, 0.15, None)
    gain = camera.exposure**2.2 / max(float(light.mean()), 1e-4)
    # A camera does not make a black scene gray
    return light * (shade[..., None] * (min(gain, 8.0) * np.array(camera.white_balance, np.float32)))


def add_noise(light: Light, camera: Camera, rng: Rng) -> Light:
    """Add read noise and shot noise (variance grows with the light)."""
    sigma = np.sqrt(camera.read_noise**2 + camera.shot_noise**2 * np.clip(light, 0, 1))
    return light + sigma * rng.standard_normal(light.shape, np.float32)


def develop(pixels: Light, camera: Camera) -> Image:
    """Do what a camera's processor does: contrast, demosaicing, smoothing, sharpening."""
    image = np.clip((pixels - 127.5) * camera.contrast + 127.5, 0, 255).astype(np.uint8)
    if camera.demosaic:
        image = demosaic(image)
    if camera.denoise:
        image = np.asarray(cv2.medianBlur(image, 3), np.uint8)
    if camera.sharpen > 0:
        soft = cv2.GaussianBlur(image, (0, 0), 1.0)
        image = np.asarray(cv2.addWeighted(image, 1 + camera.sharpen, soft, -camera.sharpen, 0), np.uint8)
    return image


def demosaic(image: Image) -> Image:
    """Keep one color a pixel, as a Bayer sensor does, and guess the other two."""
    mosaic = image[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = image[::2, ::2, 2], image[1::2, 1::2, 0]
    return np.asarray(cv2.cvtColor(mosaic, cv2.COLOR_BayerRGGB2RGB), np.uint8)[..., ::-1]


def compress(image: Image, codec: str, quality: int) -> Image:
    """Compress by ".jpg" or ".webp", and decompress."""
    flag = cv2.IMWRITE_JPEG_QUALITY if codec == ".jpg" else cv2.IMWRITE_WEBP_QUALITY
    done, data = cv2.imencode(codec, np.ascontiguousarray(image[..., ::-1]), [flag, quality])
    assert done, f"cv2 cannot write {codec}"
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
