"""Config -> stages: names, thresholds, and that a failed build leaves the door locked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gpiozero.pins.mock import MockFactory

from device.build import WEIGHTS, build_device, decision_rule, manifest_path, quality_limits
from device.config import Config, LockConfig, QualityConfig
from device.embed import LiteRTEmbedder
from device.errors import ConfigError, FaceUnlockError, GalleryError, ModelError

TINY = Path(__file__).parent / "data" / "tiny.json"


def test_a_model_is_a_name_or_a_path() -> None:
    assert manifest_path("mobilefacenet") == WEIGHTS / "mobilefacenet.json"
    assert manifest_path("/somewhere/mine.json") == Path("/somewhere/mine.json")
    with pytest.raises(ConfigError, match="home folder"):
        manifest_path("~nosuch/mine.json")


def test_the_threshold_travels_with_the_model() -> None:
    embedder = LiteRTEmbedder(manifest=TINY, threads=1)
    rule = decision_rule(Config(false_match_rate=1e-4), embedder)
    assert rule.threshold == embedder.manifest.threshold(1e-4)
    assert (rule.k, rule.n) == (Config().decision.k, Config().decision.n)


def test_the_quality_section_is_the_limits() -> None:
    limits = quality_limits(QualityConfig(min_face_px=77.0))
    assert limits.min_face_px == 77.0


def test_the_whole_door_from_one_config(real_model: None, enrolled_gallery: Path) -> None:
    factory = MockFactory()
    device = build_device(Config(gallery=str(enrolled_gallery)), pin_factory=factory)
    assert device.lock.is_locked is True
    assert [subject.subject_id for subject in device.gallery.subjects()] == ["Eileen"]
    device.close()
    assert device.lock.is_locked is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "nosuchmodel"}, ConfigError),
        ({"model": "nosuchmodel.json"}, ModelError),
        ({"gallery": "/nonexistent/gallery.db"}, GalleryError),
        ({"lock": LockConfig(pin=3)}, ConfigError),
    ],
)
def test_a_failed_build_gives_the_pin_back_locked(
    real_model: None, change: dict[str, object], error: type[FaceUnlockError], enrolled_gallery: Path
) -> None:
    factory = MockFactory()
    config = replace(Config(gallery=str(enrolled_gallery)), **change)
    with pytest.raises(error):
        build_device(config, pin_factory=factory)
    assert all(not state for pin in factory.pins.values() for _, state in pin.states)
    again = build_device(Config(gallery=str(enrolled_gallery)), pin_factory=factory)  # the pin is free
    again.close()
