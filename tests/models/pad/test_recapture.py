"""Simulated presentation attacks: seeded, of one shape and type, and doing what they claim."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the training tools: make test-train")

from device.vision.assets import FACE_DETECTOR, FACE_MESH
from models.pad.simulator.camera import (
    Camera,
    Scene,
    capture,
    compress,
    demosaic,
    gentle,
    project,
    sensor_grid,
    streak,
    to_light,
    to_pixels,
)
from models.pad.simulator.layers import FacePlace, Layer, Outline, hold, over, soft_edge
from models.pad.simulator.prints import Print, bent, halftoned, inked, print_sheet
from models.pad.simulator.screens import Screen, emitted, gridded, reflections, show_on_screen
from models.pad.simulator.stance import Stance
from tests.support.photos import model_file
from tests.support.training_data import portraits

FACE = FacePlace((55.5, 62.0), 80.0)
WIDE = Outline(3, 3, 3, 3)
PLAIN = Print(outline=WIDE, halftone=0, grain=0, bend=0, shading=0, shadow=0)
SCREEN = Screen(outline=WIDE, fade=0, glare=0)
CLEAN = replace(gentle(Camera()), sharpen=0.0, codec=".webp", quality=100)
GRAY = np.full((112, 112, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def portrait():
    return portraits()[1]


def shoot(scene: Scene, camera: Camera = CLEAN, stance: Stance | None = None, seed: int = 0) -> np.ndarray:
    stance = stance or Stance(FACE.width_px)
    size = (112, 112)
    return capture(scene, stance.to_sensor(FACE, size), size, camera, np.random.default_rng(seed))


def sense(scene: Scene, face_px: float = 80.0) -> np.ndarray:
    """Return the light that a sensor of 112 px gathers, no lens and no noise between."""
    matrix = Stance(face_px).to_sensor(FACE, (112, 112))
    light = project(scene.light, matrix, (112, 112))
    return scene.structure(light, sensor_grid(np.linalg.inv(matrix), (112, 112)))


def spectrum(picture: np.ndarray) -> np.ndarray:
    """Return the power (112, 57) of a picture's brightness, its mean taken out."""
    light = picture.astype(np.float64).mean(axis=2)
    return np.abs(np.fft.rfft2(light - light.mean())) ** 2


def test_a_clean_camera_shows_a_live_face_as_it_is(portrait):
    light = to_light(portrait)
    exposure = float(light.mean()) ** (1 / 2.2)
    shot = shoot(Scene(to_light(portrait)), replace(CLEAN, exposure=exposure))
    moved = np.roll(portrait, -6, axis=0)  # the face's center goes to the middle, from 62 to 55.5
    assert np.abs(shot.astype(int)[:100] - moved[:100]).mean() < 8
    assert np.abs(shot.astype(int)[:100] - portrait[:100]).mean() > 15


def test_light_and_pixels_are_inverses():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    assert np.abs(to_pixels(to_light(levels)) - levels)[:, 16:].max() <= 2


def test_a_stance_puts_the_face_in_the_middle():
    matrix = Stance(120.0, turn_deg=20, tilt=(0.1, -0.05)).to_sensor(FACE, (200, 160))
    at = matrix @ np.array([*FACE.center, 1])
    assert at[:2] / at[2] == pytest.approx([99.5, 79.5])
    step = matrix[:2, :2] @ [1, 0]
    straight = Stance(120.0, turn_deg=20).to_sensor(FACE, (200, 160))[:2, :2] @ [1, 0]
    assert np.hypot(*straight) == pytest.approx(1.5)
    assert np.degrees(np.arctan2(straight[1], straight[0])) == pytest.approx(20)
    assert not np.allclose(step, straight)


def test_a_face_place_scales_with_its_picture():
    large = FACE.scaled(2)
    assert (large.center, large.width_px) == ((111.5, 124.5), 160.0)


class TestPrint:
    def test_ink_stays_within_paper_and_black(self, portrait):
        parameters = replace(PLAIN, paper=(0.8, 0.8, 0.7), ink=0.1)
        light = inked(portrait, FACE, parameters)
        assert light.min() >= 0.1 - 1e-6
        assert light[..., 0].max() <= 0.8 + 1e-6
        assert light[..., 2].max() <= 0.7 + 1e-6

    def test_dot_gain_darkens_the_middle_and_leaves_white(self):
        middle, white = (np.full((8, 8, 3), level, np.uint8) for level in (128, 255))
        none, much = replace(PLAIN, dot_gain=0.0), replace(PLAIN, dot_gain=0.3)
        assert inked(middle, FACE, much).mean() < 0.9 * inked(middle, FACE, none).mean()
        assert inked(white, FACE, much).mean() == pytest.approx(inked(white, FACE, none).mean())

    def test_ink_short_of_color_is_grayer(self, portrait):
        def color(saturation):
            light = inked(portrait, FACE, replace(PLAIN, saturation=saturation))
            return (light.max(axis=2) - light.min(axis=2)).mean()

        assert color(0.3) < 0.6 * color(1.0)

    def test_halftone_is_periodic_where_the_cells_are(self):
        # 20 cells in 80 px: 28 periods in 112 px, along the rows for yellow, whose screen is not turned
        parameters = replace(PLAIN, halftone=0.3, cells=20)
        scene = Scene(
            np.full((112, 112, 3), 0.5, np.float32),
            lambda light, grid: halftoned(light, grid, FACE, parameters),
        )
        light = sense(scene)
        power = spectrum(light[..., 2:])
        assert power[0].argmax() == 28
        assert power[0, 28] > 100 * np.median(power[power > 0])

    def test_a_bent_sheet_is_shaded_across_the_bend(self):
        light = np.full((112, 112, 3), 0.5, np.float32)
        across = bent(light, FACE, replace(PLAIN, bend=0.15, bend_deg=0))[..., 0]
        assert across[:, 100].mean() > 1.3 * across[:, 12].mean()
        assert np.ptp(across, axis=0).max() < 1e-5
        assert np.allclose(bent(light, FACE, PLAIN), light)

    def test_a_cutout_lets_the_background_be_seen_around_the_head(self, portrait):
        rng = np.random.default_rng(3)
        layer = print_sheet(portrait, FACE, replace(Print.draw(rng, cutout=True), fingers=0), rng)
        assert layer.cover[62, 55] == 1
        assert layer.cover[[0, 0, -1, -1], [0, -1, 0, -1]].max() == 0

    def test_the_rim_of_a_print_is_paper(self):
        black = np.zeros((112, 112, 3), np.uint8)
        outline = Outline(0.5, 0.5, 0.5, 0.5)
        parameters = replace(PLAIN, outline=outline, margin=0.1, paper=(0.9, 0.9, 0.9))
        layer = print_sheet(black, FACE, parameters, np.random.default_rng(0))
        inside = 55 - 40 + 4  # 4 px inside the left edge of 40 px from the middle; the rim has 8
        assert layer.light[62, inside].min() > 0.85
        assert layer.light[62, 55].max() < 0.1

    def test_grain_roughens_the_paper(self):
        smooth, rough = (
            print_sheet(GRAY, FACE, replace(PLAIN, grain=grain), np.random.default_rng(0)).light
            for grain in (0.0, 0.05)
        )
        assert smooth[..., 0].std() < 1e-6
        assert rough[..., 0].std() / rough.mean() > 0.03


class TestScreen:
    def moire(self, screen: Screen, face_px: float = 80.0) -> np.ndarray:
        """Return the power of a gray screen's picture, 112 px wide."""
        scene = Scene(
            np.full((112, 112, 3), 0.3, np.float32), lambda light, grid: gridded(light, grid, FACE, screen)
        )
        light = sense(scene, face_px)
        return spectrum(light[..., :1])

    def test_the_grid_is_a_peak_in_the_spectrum(self):
        # 20 screen pixels in 80 of the sensor: 28 periods in 112 px
        power = self.moire(replace(SCREEN, pixels=20))
        assert power[0, 28] > 1000 * np.median(power)
        assert power[28, 0] > 1000 * np.median(power)

    def test_a_grid_finer_than_the_sensor_comes_back_as_moire(self):
        # 75 screen pixels in 80 of the sensor: 105 periods, seen as 112 - 105 = 7
        power = self.moire(replace(SCREEN, pixels=75))
        assert power[0].argmax() == 7

    def test_the_lens_blurs_the_face_and_not_the_moire(self):
        screen = replace(SCREEN, pixels=75)
        scene = Scene(
            np.full((112, 112, 3), 0.3, np.float32), lambda light, grid: gridded(light, grid, FACE, screen)
        )
        sharp, blurred = (
            spectrum(shoot(scene, replace(CLEAN, blur_px=blur_px)))[0, 7] for blur_px in (0.0, 4.0)
        )
        assert blurred == pytest.approx(sharp, rel=0.05)
        assert sharp > 1e4

    def test_a_turned_grid_turns_the_moire(self):
        power = self.moire(replace(SCREEN, pixels=20, grid_deg=45))
        assert power[0, 28] < 0.01 * power.max()

    def test_a_sensor_pixel_as_wide_as_a_screen_pixel_sees_no_stripes(self):
        blind = self.moire(replace(SCREEN, pixels=75, fill=80 / 75))
        assert blind.max() < 1e-3 * self.moire(replace(SCREEN, pixels=75, fill=0.5)).max()

    def test_red_green_and_blue_stripes_stand_apart(self):
        scene = Scene(
            np.full((112, 112, 3), 0.3, np.float32),
            lambda light, grid: gridded(light, grid, FACE, replace(SCREEN, pixels=20)),
        )
        light = sense(scene)
        phases = np.angle(np.fft.rfft(light[40], axis=0)[28])
        assert np.degrees(np.diff(phases)) % 360 == pytest.approx([120, 120], abs=1)

    def test_the_cast_is_blue(self):
        light = emitted(GRAY, FACE, replace(SCREEN, white=(0.9, 1.0, 1.2), black=0.0))
        assert light[..., 2].mean() / light[..., 0].mean() == pytest.approx(1.2 / 0.9, rel=1e-3)

    def test_the_backlight_leaks_into_black(self):
        black = np.zeros((112, 112, 3), np.uint8)
        assert emitted(black, FACE, replace(SCREEN, black=0.02)).min() >= 0.02

    def test_glare_only_adds_light(self):
        screen = replace(SCREEN, glare=0.2, lamp=1.0)
        added = reflections((112, 112), FACE, screen, np.random.default_rng(1))
        assert added.min() >= 0
        assert added.max() > 0.15

    def test_the_bezel_is_around_what_is_lit(self):
        outline = Outline(0.5, 0.5, 0.5, 0.5)
        screen = replace(SCREEN, outline=outline, bezel=0.1, bezel_color=0.01)
        layer = show_on_screen(GRAY, FACE, screen, np.random.default_rng(0))
        bezel, outside = 55 - 40 - 4, 55 - 40 - 12
        assert layer.light[62, bezel].max() < 0.02
        assert layer.cover[62, bezel] == 1
        assert layer.cover[62, outside] == 0
        assert layer.light[62, 55].min() > 0.1

    def test_banding_runs_along_the_sensors_rows(self):
        power = self.moire(replace(SCREEN, sharp=0.0, banding=0.2, band_px=16))
        assert power[:, 0].argmax() % 112 in (7, 105)
        assert power[:, 1:].max() < 1e-3 * power.max()


class TestCamera:
    def test_structure_stays_on_the_layer(self):
        cover = np.zeros((112, 112, 1), np.float32)
        cover[:, :56] = 1
        light = np.full((112, 112, 3), 0.4, np.float32)
        scene = over(Layer(light, cover, lambda seen, grid: seen * 2), light)
        seen = sense(scene)
        assert seen[60, 40, 0] == pytest.approx(0.8, rel=0.01)
        assert seen[60, 80, 0] == pytest.approx(0.4, rel=0.01)

    def test_exposure_is_what_the_mean_becomes(self):
        shot = shoot(Scene(to_light(GRAY)), replace(CLEAN, exposure=0.6))
        assert shot.mean() == pytest.approx(255 * 0.6, abs=3)

    def test_noise_grows_with_the_light_and_is_none_in_a_gentle_camera(self):
        noisy = replace(CLEAN, shot_noise=0.05, exposure=0.6)
        assert shoot(Scene(to_light(GRAY)), noisy).std() > 3
        assert shoot(Scene(to_light(GRAY)), gentle(noisy)).std() < 1

    def test_demosaicing_keeps_gray_and_smears_fine_color(self):
        assert np.array_equal(demosaic(GRAY), GRAY)
        stripes = np.zeros((32, 32, 3), np.uint8)
        stripes[:, ::2] = 255
        assert np.ptp(demosaic(stripes)[8:24, 8:24].astype(int), axis=2).max() > 50

    def test_demosaicing_keeps_colors_in_their_channels(self):
        red = np.zeros((32, 32, 3), np.uint8)
        red[..., 0] = 200
        assert np.abs(demosaic(red)[4:-4, 4:-4].astype(int) - red[4:-4, 4:-4]).max() <= 2

    @pytest.mark.parametrize("codec", [".jpg", ".webp"])
    def test_compression_loses_more_at_lower_quality(self, portrait, codec):
        lost = [
            np.abs(compress(portrait, codec, quality).astype(int) - portrait).mean() for quality in (20, 95)
        ]
        assert lost[0] > 1.5 * lost[1]

    def test_a_streak_lies_along_its_direction(self):
        level = streak(5, 0)
        assert level.sum() == pytest.approx(1)
        assert level[len(level) // 2].sum() == pytest.approx(1)
        assert np.allclose(streak(5, 90), level.T, atol=0.02)

    def test_a_drawn_camera_is_seeded(self):
        first, again = (Camera.draw(np.random.default_rng(4)) for _ in range(2))
        assert first == again
        assert first != Camera.draw(np.random.default_rng(5))


class TestLayer:
    def test_an_outline_is_as_wide_as_it_says(self):
        inside = Outline(0.5, 0.75, 0.25, 0.5).depth((112, 160), FACE) > 0
        assert inside.any(axis=0).sum() == pytest.approx(1.25 * 80, abs=1)
        assert inside.any(axis=1).sum() == pytest.approx(0.75 * 80, abs=1)
        left = np.flatnonzero(inside.any(axis=0))[0]
        assert left == pytest.approx(55.5 - 40, abs=1)

    def test_round_corners_are_cut(self):
        square, rounded = (
            Outline(0.5, 0.5, 0.5, 0.5, corner=corner).depth((112, 112), FACE) for corner in (0, 0.3)
        )
        assert square[62 - 38, 56 - 38] > 0 > rounded[62 - 38, 56 - 38]
        assert rounded[62, 56 - 38] > 0

    def test_fingers_come_over_the_rim_and_not_to_the_middle(self):
        outline = Outline(0.6, 0.6, 0.6, 0.6)
        light = np.zeros((112, 112, 3), np.float32)
        layer = Layer(light, soft_edge(outline.depth((112, 112), FACE)))
        held = hold(layer, outline, FACE, 3, np.random.default_rng(0))
        assert held.light.max() > 0.02
        assert held.light[62, 45:66].max() == 0
        assert held.cover.sum() > layer.cover.sum()
        assert layer.light.max() == 0

    def test_a_layer_hides_what_is_behind_it(self):
        cover = np.ones((112, 112, 1), np.float32)
        scene = over(
            Layer(np.full((112, 112, 3), 0.2, np.float32), cover), np.ones((112, 112, 3), np.float32)
        )
        assert np.allclose(scene.light, 0.2)


def test_the_examples_are_drawn(tmp_path):
    for asset in (FACE_DETECTOR, FACE_MESH):
        model_file(asset)
    out, root = tmp_path / "recapture.png", Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, root / "scripts" / "measure" / "recapture_examples.py", "--out", out],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(out)).std() > 20
