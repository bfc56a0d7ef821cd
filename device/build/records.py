"""Config -> what is kept: keys, audits, anchors, counts, galleries."""

from __future__ import annotations
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from device.access.admission import Admission, AdmissionRule
from device.access.clock import Clock
from device.access.lockout import DOUBLINGS, LockoutRule, PinLockout, is_wrong_pins
from device.access.pin_entry import PinEntry
from device.access.policy import parse_hours
from device.access.selftest import capped_mode, is_proven
from device.config import MODELS, Config, QualityConfig, check_model
from device.decide.backoff import Count
from device.decide.backoff_file import BEYOND_ANY_CLOCK_S, BackoffFile
from device.decide.decider import Decider, DecisionRule, LivenessRule
from device.decide.moves import ChallengeRule
from device.decide.refusals import Refusals
from device.decide.threshold import Approach, DoorThreshold, door_threshold
from device.desk.desk import Desk, DeskRule, NoDesk
from device.desk.line import Line
from device.desk.opening import Freshness, Opening, OpeningRule
from device.desk.switches import Switches
from device.desk.wire import LONGEST_COMMAND
from device.enroll.collector import Collector
from device.errors import ConfigError, GalleryKeyError, ModelError, UsageError
from device.gallery.gallery import Gallery
from device.gallery.lookalike import LookAlike, Templates, look_alikes
from device.gallery.seal import generation_path
from device.gallery.usage import UsageFile
from device.health import BoardRule, BoardWatch, NoBoard
from device.journal.audit import Audit, Limits
from device.journal.trail import AuditTrail
from device.lock.client import RemoteLock
from device.lock.front import LocalFront, Prompt, raise_alarm
from device.lock.panel.keypad import KeypadThread, SerialKeypad
from device.paths import expand
from device.pipeline import Door
from device.protocols import Aligner, Camera, Closable, Detector, Front, LivenessScorer
from device.vault.anchor import AnchorFile
from device.vault.generation import GenerationFile
from device.vault.kept import WERE_PLAIN, KeptFile
from device.vault.keys import KeyRing, KeyStore, LatestKeys, check_bond
from device.vault.sealing import Sealer
from device.vision.align import LandmarkAligner, MeshAligner
from device.vision.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.vision.camera.meter import FaceMeter, Metered, NoMeter
from device.vision.camera.source import open_camera
from device.vision.camera.turned import TurnedCamera
from device.vision.detect import open_detector
from device.vision.embed import LiteRTEmbedder, Manifest, load_manifest
from device.vision.finder import Finder
from device.vision.intent import IntentRule
from device.vision.liveness import PadScorer
from device.vision.quality import QualityLimits
from device.vision.scene import SceneRule, SceneWatch, Unwatched
from device.vision.track import Tracker
from device.vision.turn_search import NoSearch, TurnSearch
from device.vision.unscored import Unscored
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from device.access.admission import Admission, AdmissionRule
from device.access.clock import Clock
from device.access.lockout import DOUBLINGS, LockoutRule, PinLockout, is_wrong_pins
from device.access.pin_entry import PinEntry
from device.access.policy import parse_hours
from device.access.selftest import capped_mode, is_proven
from device.build.rules import lockout_rule, threshold_for
from device.config import MODELS, Config, QualityConfig, check_model
from device.decide.backoff import Count
from device.decide.backoff_file import BEYOND_ANY_CLOCK_S, BackoffFile
from device.decide.decider import Decider, DecisionRule, LivenessRule
from device.decide.moves import ChallengeRule
from device.decide.refusals import Refusals
from device.decide.threshold import Approach, DoorThreshold, door_threshold
from device.desk.desk import Desk, DeskRule, NoDesk
from device.desk.line import Line
from device.desk.opening import Freshness, Opening, OpeningRule
from device.desk.switches import Switches
from device.desk.wire import LONGEST_COMMAND
from device.enroll.collector import Collector
from device.errors import ConfigError, GalleryKeyError, ModelError, UsageError
from device.gallery.gallery import Gallery
from device.gallery.lookalike import LookAlike, Templates, look_alikes
from device.gallery.seal import generation_path
from device.gallery.usage import UsageFile
from device.health import BoardRule, BoardWatch, NoBoard
from device.journal.audit import Audit, Limits
from device.journal.trail import AuditTrail
from device.lock.client import RemoteLock
from device.lock.front import LocalFront, Prompt, raise_alarm
from device.lock.panel.keypad import KeypadThread, SerialKeypad
from device.paths import expand
from device.pipeline import Door
from device.protocols import Aligner, Camera, Closable, Detector, Front, LivenessScorer
from device.vault.anchor import AnchorFile
from device.vault.generation import GenerationFile
from device.vault.kept import WERE_PLAIN, KeptFile
from device.vault.keys import KeyRing, KeyStore, LatestKeys, check_bond
from device.vault.sealing import Sealer
from device.vision.align import LandmarkAligner, MeshAligner
from device.vision.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.vision.camera.meter import FaceMeter, Metered, NoMeter
from device.vision.camera.source import open_camera
from device.vision.camera.turned import TurnedCamera
from device.vision.detect import open_detector
from device.vision.embed import LiteRTEmbedder, Manifest, load_manifest
from device.vision.finder import Finder
from device.vision.intent import IntentRule
from device.vision.liveness import PadScorer
from device.vision.quality import QualityLimits
from device.vision.scene import SceneRule, SceneWatch, Unwatched
from device.vision.track import Tracker
from device.vision.turn_search import NoSearch, TurnSearch
from device.vision.unscored import Unscored


def open_any_gallery(config: Config, *, read_only: bool, any_generation: bool = False) -> Gallery:
    """Open a gallery of whichever model, for all but matching and enrolling."""
    return Gallery(
        config.gallery_path,
        model_id=None,
        dimension=1,
        read_only=read_only,
        keys=build_keys(config),
        any_generation=any_generation,
    )


def build_keys(config: Config) -> KeyStore:
    """Say where the gallery's key is."""
    return KeyStore.of(config.gallery_path, config.gallery_key_path)


def build_audit(config: Config, *, demo: bool) -> AuditTrail:
    """Return the audit of a program; without a key, which the gallery will complain about, it records nothing."""
    latest = LatestKeys(build_keys(config))

    def opened() -> Audit | None:
        ring = latest()
        return open_audit(config, ring) if ring is not None else None

    def outside() -> Audit | None:
        ring = latest()
        return open_outside_audit(config, ring) if ring is not None else None

    return AuditTrail(opened, demo=demo, outside=outside)


def open_audit(config: Config, ring: KeyRing) -> Audit:
    """Open the audit log with the gallery's key; its head lies with the key."""
    limits = Limits(config.audit.max_kb * 1000, config.audit.keep_files)
    return Audit(
        config.audit_path,
        ring.audit_keys,
        head=audit_head(config, build_keys(config)),
        anchor=open_anchor(config, ring),
        limits=limits,
    )


def open_anchor(config: Config, ring: KeyRing) -> AnchorFile:
    """Open what says how far audit, gallery and counts have come."""
    sealer = Sealer(ring.keys, "gallery")
    return AnchorFile(
        GenerationFile(generation_path(config.gallery_path, build_keys(config)), sealer), sealer
    )


def build_kept(config: Config, name: str, *, read_only: bool = False) -> KeptFile:
    """Say where a count of this door is kept: beside its gallery.

    Args:
        name: one of `kept.NAMES`.
        read_only: write nothing: a demo.
    """
    latest = LatestKeys(build_keys(config))

    def keys() -> tuple[Sealer, AnchorFile]:
        ring = latest()
        if ring is None:
            raise GalleryKeyError(f"{build_keys(config)}: is missing, so nothing can be counted: put it back")
        return Sealer(ring.keys, "gallery"), open_anchor(config, ring)

    path = config.gallery_path.with_name(f"{config.gallery_path.name}.{name}")
    return KeptFile(path, name, keys, read_only=read_only, was_plain=name in WERE_PLAIN)


def open_outside_audit(config: Config, ring: KeyRing) -> Audit:
    """Open the audit log of what anybody before the door can cause: refusals, the camera."""
    limits = Limits(config.audit.max_kb * 1000, max(1, config.audit.keep_files // 4))
    path = outside_audit_path(config)
    return Audit(
        path,
        ring.audit_keys,
        head=audit_head(config, build_keys(config), path),
        anchor=open_anchor(config, ring),
        limits=limits,
    )


def outside_audit_path(config: Config) -> Path:
    path = config.audit_path
    return path.with_name(f"{path.name}-outside")


def audit_head(config: Config, keys: KeyStore, path: Path | None = None) -> Path:
    """Say where the newest number of an audit log lies, of the main one for None."""
    path = path or config.audit_path
    return (path.parent if keys.is_credential else keys.path.parent) / f"{path.name}.head"


def build_switches(config: Config, *, read_only: bool = False) -> Switches:
    """Keep which faces are switched off beside the gallery; a door without a link has none to look at."""
    kept = build_kept(config, "switches", read_only=read_only)
    link = config.link
    return Switches(kept, may_switch=link.switches and not read_only, may_loosen=link.loosen)


def build_usage(config: Config, *, read_only: bool = True) -> UsageFile:
    """Keep the entries of guests and the times of PINs beside the gallery; a demo spends none."""
    return UsageFile(build_kept(config, "usage", read_only=read_only))


def build_refusal_file(config: Config) -> BackoffFile:
    """Keep the refused approaches of this door beside its gallery."""
    return BackoffFile(build_kept(config, "refusals"))


def build_pin_file(config: Config) -> BackoffFile:
    """Keep the wrong PINs of this door beside its gallery."""
    rule = lockout_rule(config)
    lost = Count(rule.wrong_pins * (DOUBLINGS + 1), rule.longest_s, BEYOND_ANY_CLOCK_S)
    return BackoffFile(build_kept(config, "wrong_pins"), lost, is_wrong_pins, "wrong PINs")


def build_gallery(config: Config, manifest: Manifest, *, read_only: bool) -> Gallery:
    """Open the gallery of an embedder; each match follows the number of templates that it holds at that moment."""
    keys = build_keys(config)
    if not config.unbound_key:
        check_bond(keys)
    return Gallery(
        config.gallery_path,
        model_id=manifest.model_id,
        dimension=manifest.embedding_dim,
        read_only=read_only,
        keys=keys,
        threshold_for=lambda templates: threshold_for(config, manifest, templates).threshold,
    )
