"""Config -> stages: names, thresholds, and that a failed build leaves the door locked."""

from __future__ import annotations

import json
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gpiozero.pins.mock import MockFactory

from device import build as module
from device.access.policy import Policy, Usage
from device.access.profile import Profile
from device.build import (
    WEIGHTS,
    build_aligner,
    build_audit,
    build_decider,
    build_door,
    build_embedder,
    build_liveness,
    build_pin_file,
    build_refusal_file,
    build_usage,
    decision_rule,
    manifest_path,
    quality_limits,
)
from device.config import (
    MODELS,
    Config,
    DecisionConfig,
    IntentConfig,
    KeypadConfig,
    LivenessConfig,
    LockConfig,
    PolicyConfig,
    QualityConfig,
)
from device.decide.backoff import Count
from device.decide.backoff_file import BackoffFile
from device.decide.decider import LivenessRule
from device.decide.moves import ChallengeRule
from device.decide.refusals import Refusals
from device.errors import ConfigError, FaceUnlockError, GalleryError, ModelError
from device.gallery.gallery import Gallery
from device.pipeline import handle_frame
from device.types import FaceDetection, Frame, Reason
from device.vision.align import LandmarkAligner, MeshAligner
from device.vision.embed import LiteRTEmbedder
from device.vision.unscored import Unscored
from tests.support.galleries import copy_gallery
from tests.support.photos import photo
from tests.support.tiny_model import write_landmarks, write_pad, write_tiny

TINY = Path(__file__).parent / "data" / "tiny.json"


def test_a_model_is_a_name_or_a_path() -> None:
    assert manifest_path("mobilefacenet") == WEIGHTS / "mobilefacenet.json"
    assert manifest_path("/somewhere/mine.json") == Path("/somewhere/mine.json")
    with pytest.raises(ConfigError, match="home folder"):
        manifest_path("~nosuch/mine.json")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights with two networks, one of them of another side and dimension."""
    monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    write_tiny(tmp_path, "mobilefacenet", side=112, dimension=16)
    write_tiny(tmp_path, "facenet", side=160, dimension=512)
    return tmp_path


def test_each_name_is_its_own_file(weights: Path) -> None:
    assert [build_embedder(Config(model=name)).manifest.name for name in ("mobilefacenet", "facenet")] == [
        "mobilefacenet",
        "facenet",
    ]


def test_a_name_without_its_files_says_which_are_there(weights: Path) -> None:
    (weights / "facenet.json").unlink()
    for name in set(MODELS) - {"mobilefacenet"}:
        with pytest.raises(
            ModelError, match=r"set model to one that is there \(.*mobilefacenet.*\)"
        ) as caught:
            manifest_path(name)
        assert f"{weights / name}.json" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_name_that_is_none_names_the_nearest() -> None:
    for name, nearest in (("mobilenet2", "mobilenetv2"), ("landmarks", None), ("FaceNet", "facenet")):
        with pytest.raises(ConfigError, match="model: expected one of") as caught:
            manifest_path(name)
        assert nearest is None or f"did you mean {nearest!r}?" in str(caught.value)


def test_a_float_network_opens_no_door(weights: Path) -> None:
    manifest = weights / "mobilefacenet.json"
    values = json.loads(manifest.read_text())
    values["input"]["dtype"] = "float32"
    manifest.write_text(json.dumps(values))
    with pytest.raises(ModelError, match="float32"):
        build_embedder(Config())


def test_the_alignment_is_the_configured_one(weights: Path) -> None:
    with pytest.raises(ModelError, match='set alignment = "mesh"') as caught:
        build_aligner(Config(alignment="landmarks"), 112)
    assert "\n" not in str(caught.value)
    write_landmarks(weights)
    assert isinstance(build_aligner(Config(alignment="landmarks"), 112), LandmarkAligner)


@pytest.mark.parametrize("alignment", ["mesh", "landmarks"])
def test_the_door_cuts_faces_as_its_model_takes_them(real_model: None, weights: Path, alignment: str) -> None:
    write_landmarks(weights)
    write_pad(weights, unsure=0.4)
    config = Config(model="facenet", alignment=alignment, gallery=str(weights / "gallery.db"))
    model_id = build_embedder(config).model_id
    with Gallery(config.gallery_path, model_id=model_id, dimension=512, read_only=False) as gallery:
        gallery.enroll("somebody", np.eye(512, dtype=np.float32)[:1], replace=False)
    device = build_door(config, pin_factory=MockFactory())
    try:
        decision = handle_frame(Frame(photo("astronaut"), 0.0), device, 0.0)
        aligned = device.finder.aligner.align(
            photo("astronaut"), device.finder.detector.detect(photo("astronaut"))[0]
        )
    finally:
        device.close()
    assert aligned.image.shape == (160, 160, 3)
    assert isinstance(device.finder.aligner, MeshAligner if alignment == "mesh" else LandmarkAligner)
    # the tiny landmark network sees no face in a photograph, and that must close the door
    assert decision.reason is (Reason.BELOW_THRESHOLD if alignment == "mesh" else Reason.NOT_A_FACE)


def test_the_threshold_travels_with_the_model() -> None:
    embedder = LiteRTEmbedder(manifest=TINY, threads=1)
    decision = DecisionConfig(frames_per_approach=30, k=3)
    rule = decision_rule(Config(false_accepts_per_approach=1e-3, decision=decision), embedder)
    assert rule.threshold == pytest.approx(embedder.manifest.threshold(1e-4))
    assert (rule.k, rule.n) == (Config().decision.k, Config().decision.n)


def test_the_quality_section_is_the_limits() -> None:
    limits = quality_limits(QualityConfig(min_face_px=77.0))
    assert limits.min_face_px == 77.0


def test_the_whole_door_from_one_config(real_model: None, enrolled_gallery: Path) -> None:
    factory = MockFactory()
    device = build_door(Config(gallery=str(enrolled_gallery)), pin_factory=factory)
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
        ({"liveness": LivenessConfig(led_pin=17)}, ConfigError),
    ],
)
def test_a_failed_build_gives_the_pin_back_locked(
    real_model: None, change: dict[str, object], error: type[FaceUnlockError], enrolled_gallery: Path
) -> None:
    factory = MockFactory()
    config = replace(Config(gallery=str(enrolled_gallery)), **change)
    with pytest.raises(error):
        build_door(config, pin_factory=factory)
    assert all(not state for pin in factory.pins.values() for _, state in pin.states)
    again = build_door(Config(gallery=str(enrolled_gallery)), pin_factory=factory)  # the pin is free
    again.close()


def test_a_missing_passive_network_keeps_the_door_locked_and_says_what_to_do(
    weights: Path, real_model: None
) -> None:
    factory = MockFactory()
    config = Config(gallery=str(weights / "gallery.db"))
    model_id = build_embedder(config).model_id
    with Gallery(config.gallery_path, model_id=model_id, dimension=16, read_only=False) as gallery:
        gallery.enroll("somebody", np.eye(16, dtype=np.float32)[:1], replace=False)
    with pytest.raises(ModelError, match="--no-liveness"):
        build_door(config, pin_factory=factory)
    assert all(not state for pin in factory.pins.values() for _, state in pin.states)
    off = replace(config, liveness=LivenessConfig(mode="off"))
    device = build_door(off, pin_factory=factory)
    assert isinstance(device.liveness, Unscored)
    assert device.decider.liveness.mode == "off"
    device.close()


def test_the_rules_follow_the_config(weights: Path, real_model: None) -> None:
    write_pad(weights, unsure=0.7, attack=0.3)
    settings = LivenessConfig(mode="always", moves=3, answer_s=4.0, blink=False)
    config = Config(liveness=settings, intent=IntentConfig(dwell_s=1.5))
    scorer, embedder = build_liveness(config), build_embedder(config)
    decider = build_decider(config, embedder, scorer, BackoffFile(None), proven=False)
    assert decider.liveness == LivenessRule(mode="always", unsure=0.7, attack=0.3)
    assert decider._challenge_rule == ChallengeRule(moves=3, answer_s=4.0, blink=False)
    assert isinstance(decider._chance, random.SystemRandom)  # nobody can foresee it
    assert decider.rule.dwell_s == 1.5


@pytest.mark.parametrize(
    ("mode", "unproven", "proven", "used"),
    [
        ("passive", "challenge", False, "always"),
        ("challenge", "challenge", False, "always"),
        ("challenge", "challenge", True, "challenge"),
        ("passive", "allow", False, "passive"),
        ("off", "challenge", False, "off"),
    ],
)
def test_an_unproven_door_challenges_everybody(
    weights: Path, real_model: None, mode: str, unproven: str, proven: bool, used: str
) -> None:
    write_pad(weights)
    config = Config(liveness=LivenessConfig(mode=mode, unproven=unproven))
    scorer = build_liveness(config)
    decider = build_decider(config, build_embedder(config), scorer, BackoffFile(None), proven=proven)
    assert decider.liveness.mode == used


def test_the_refusals_of_a_door_are_kept_beside_its_gallery(
    weights: Path, enrolled_gallery: Path, real_model: None
) -> None:
    config = Config(gallery=str(copy_gallery(enrolled_gallery, weights)))
    file = build_refusal_file(config)
    for _ in range(5):
        Refusals.kept_in(file).refuse(100.0)
    assert (weights / "gallery.db.refusals").is_file()
    decider = build_decider(config, build_embedder(config), None, build_refusal_file(config), proven=True)
    assert decider._refusals.left_s(100.0) == 30


def test_the_doors_own_wiring_of_swapped_faces_time_and_wrong_pins(
    real_model: None, enrolled_gallery: Path, tmp_path: Path
) -> None:
    """What a mutant of the wiring switched off: each is asked of the door that device.build puts together."""
    gallery = copy_gallery(enrolled_gallery, tmp_path)
    config = Config(gallery=str(gallery), policy=PolicyConfig(require_time_sync=True))
    build_pin_file(config).save({"somebody": Count(3, 60.0, time.monotonic() + 60.0)})
    door = build_door(config, pin_factory=MockFactory(), pin_file=build_pin_file(config))
    try:
        face = FaceDetection((100.0, 100.0, 100.0, 100.0), 0.9, np.zeros((6, 2), np.float32))
        track = door.tracker.update(face, 1.0)
        door.tracker.confirm(np.eye(128, dtype=np.float32)[0])
        assert door.tracker.confirm(np.eye(128, dtype=np.float32)[0]) == track
        assert (
            door.tracker.confirm(np.eye(128, dtype=np.float32)[1]) != track
        )  # another face in the same place
        assert door.admission._lockout.left_s("somebody", time.monotonic()) > 50
        assert door.clock._require_sync
    finally:
        door.close()


def test_keypad_and_alarm_are_claimed_and_given_back(real_model: None, enrolled_gallery: Path) -> None:
    factory = MockFactory()
    keypad = KeypadConfig(rows="5,6,13,19", columns="16,20,21")
    config = Config(gallery=str(enrolled_gallery), keypad=keypad, policy=PolicyConfig(alarm_pin=22))
    for _ in range(2):  # the second time all pins are free again
        device = build_door(config, pin_factory=factory)
        assert {factory.pin(number).function for number in (5, 6, 13, 19, 22)} == {"output"}
        device.close()
    clash = replace(config, policy=PolicyConfig(alarm_pin=19))  # parse_config would have refused it
    with pytest.raises(ConfigError, match="GPIO19 has two uses"):
        build_door(clash, pin_factory=factory)
    build_door(config, pin_factory=factory).close()


def test_the_key_may_lie_elsewhere(real_model: None, enrolled_gallery: Path, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    shutil.copy(enrolled_gallery, tmp_path)
    for end in (".generation", ".anchor"):
        shutil.copy(f"{enrolled_gallery}{end}", stick)
    shutil.copy(f"{enrolled_gallery}.key", stick / "door.key")
    config = Config(gallery=str(tmp_path / "gallery.db"), gallery_key=str(stick / "door.key"))
    trail = build_audit(config, demo=True)
    build_door(config, pin_factory=MockFactory(), audit=trail).close()
    assert trail.record("started")
    (stick / "door.key").unlink()  # pulled out: the audit goes on with the key it had
    assert trail.record("stopped")
    assert sorted(path.name for path in stick.iterdir()) == [
        f"gallery.db.{end}" for end in ("anchor", "audit.head", "generation")
    ]


def test_wrong_pins_of_before_a_start_still_count_after_it(
    real_model: None, enrolled_gallery: Path, tmp_path: Path
) -> None:
    config = Config(gallery=str(copy_gallery(enrolled_gallery, tmp_path)))
    for wait_s in (60.0, 60.0):  # the second start is one without a wrong PIN in between
        door = build_door(config, pin_factory=MockFactory(), pin_file=build_pin_file(config))
        lockout = door.admission._lockout
        if lockout.left_s("a1", 1000.0) == 0:
            for _ in range(config.policy.wrong_pins):
                lockout.tried("a1", 1000.0)
        assert lockout.left_s("a1", 1000.0) == wait_s
        assert lockout.left_s("b2", 1000.0) == 0
        door.close()
    (tmp_path / "gallery.db.wrong_pins").unlink()
    door = build_door(config, pin_factory=MockFactory(), pin_file=build_pin_file(config))
    assert door.admission._lockout.left_s("b2", 1000.0) == 60 * 1024
    door.close()


def test_refusals_of_before_a_start_still_count_after_it(
    real_model: None, enrolled_gallery: Path, tmp_path: Path
) -> None:
    config = Config(gallery=str(copy_gallery(enrolled_gallery, tmp_path)))
    door = build_door(config, pin_factory=MockFactory(), refusal_file=build_refusal_file(config))
    for _ in range(5):
        door.decider._refusals.refuse(1000.0)
    door.close()
    door = build_door(config, pin_factory=MockFactory(), refusal_file=build_refusal_file(config))
    assert door.decider._refusals.left_s(1001.0) == pytest.approx(29)
    door.close()


def test_without_a_file_of_its_own_a_door_spends_no_entries(
    real_model: None, enrolled_gallery: Path, tmp_path: Path
) -> None:
    """A demo, a replay, a benchmark."""
    config = Config(gallery=str(copy_gallery(enrolled_gallery, tmp_path)))
    door, profile = build_door(config, pin_factory=MockFactory()), Profile(policy=Policy(entries=1))
    door.admission._usage.keep(profile, Usage(entries=1))
    assert door.admission._usage.of(profile).entries == 0
    assert not (tmp_path / "gallery.db.usage").exists()
    build_usage(config, read_only=False).keep(profile, Usage(entries=1))
    assert door.admission._usage.of(profile).entries == 1  # it looks at them
    door.close()
