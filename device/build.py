"""Config -> the stages: the only place that names concrete classes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from device.align import LandmarkAligner, MeshAligner
from device.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.camera import ClipCamera, LiveCamera, open_camera
from device.config import MODELS, Config, QualityConfig, check_model
from device.decision import Decider, DecisionRule
from device.detect import open_detector
from device.embed import LiteRTEmbedder
from device.enrollment import Collector
from device.errors import ModelError
from device.gallery import Gallery
from device.lock import board_text, open_lock
from device.lock_client import RemoteLock
from device.paths import expand
from device.pins import check_pins
from device.pipeline import Device
from device.protocols import Aligner, Detector, Lock
from device.quality import QualityLimits
from device.track import Tracker

WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "weights"


def build_device(config: Config, *, pin_factory: Any) -> Device:
    """Put the door together; whatever fails, the pin is locked and given back.

    Args:
        pin_factory: gpiozero's pins; None takes the board's own.
    """
    with ExitStack() as undo:
        # The pin first: until everything else stands, the door is held locked.
        lock = build_lock(config, pin_factory=pin_factory)
        undo.callback(lock.close)
        embedder = build_embedder(config)
        gallery = build_gallery(config, embedder, read_only=True)
        undo.callback(gallery.close)
        detector = build_detector(config)
        undo.callback(detector.close)
        decision = config.decision
        device = Device(
            detector=detector,
            second_face_ratio=decision.second_face_ratio,
            tracker=Tracker(max_gap_s=decision.track_gap_s, min_overlap=decision.track_overlap),
            aligner=build_aligner(config, embedder.manifest.side_px),
            limits=quality_limits(config.quality),
            embedder=embedder,
            gallery=gallery,
            decider=Decider(decision_rule(config, embedder)),
            lock=lock,
        )
        undo.pop_all()
    return device


def build_collector(config: Config, embedder: LiteRTEmbedder, *, samples: int, guided: bool) -> Collector:
    """Put together what an enrollment looks through."""
    return Collector(
        detector=build_detector(config),
        aligner=build_aligner(config, embedder.manifest.side_px),
        embedder=embedder,
        limits=quality_limits(config.quality),
        second_face_ratio=config.decision.second_face_ratio,
        same_person=embedder.manifest.threshold(config.false_match_rate),
        duplicate=config.enrollment.duplicate_similarity,
        samples=samples,
        guided=guided,
    )


def build_lock(config: Config, *, pin_factory: Any) -> Lock:
    """Claim the pin, locked, or reach the lock process that holds it; given pins are the only ones driven."""
    if config.lock.socket and pin_factory is None:
        return RemoteLock(expand(config.lock.socket), life_s=config.decision.max_frame_age_s)
    check_pins(config.lock, config.door, config.status.serial_port, board_text())
    return open_lock(config.lock, pin_factory=pin_factory)


def build_camera(config: Config) -> LiveCamera | ClipCamera:
    """Open the configured source; a clip plays at its own speed."""
    camera = config.camera
    return open_camera(
        camera.source,
        width=camera.width,
        height=camera.height,
        stall_timeout_s=camera.stall_timeout_s,
        controls=camera.controls,
        paced=True,
    )


def build_detector(config: Config) -> Detector:
    return open_detector(
        config.detector.kind, find_asset(FACE_DETECTOR), config.detector.min_score, config.threads
    )


def build_aligner(config: Config, crop_px: int) -> Aligner:
    """Take the configured aligner; `crop_px` is the side of the face that the embedder takes."""
    if config.alignment == "landmarks":
        manifest = shipped_manifest("landmarks", 'set alignment = "mesh"')
        return LandmarkAligner(manifest=manifest, threads=config.threads, crop_px=crop_px)
    return MeshAligner(model=find_asset(FACE_MESH), threads=config.threads, crop_px=crop_px)


def build_embedder(config: Config) -> LiteRTEmbedder:
    """Load the configured model; the door takes int8 networks only, whose speed and accuracy were measured."""
    embedder = LiteRTEmbedder(manifest=manifest_path(config.model), threads=config.threads)
    kind = embedder.manifest.input.dtype
    if kind != "int8":
        raise ModelError(
            f"model {embedder.model_id}: the door expects an int8 network, received {kind}: "
            "make one with scripts/quantize.py"
        )
    return embedder


def build_gallery(config: Config, embedder: LiteRTEmbedder, *, read_only: bool) -> Gallery:
    dimension = embedder.manifest.embedding_dim
    return Gallery(config.gallery_path, model_id=embedder.model_id, dimension=dimension, read_only=read_only)


def decision_rule(config: Config, embedder: LiteRTEmbedder) -> DecisionRule:
    """Take the threshold from the model's manifest, all else from the config."""
    decision = config.decision
    return DecisionRule(
        threshold=embedder.manifest.threshold(config.false_match_rate),
        k=decision.k,
        n=decision.n,
        cooldown_s=decision.cooldown_s,
        max_frame_age_s=decision.max_frame_age_s,
    )


def quality_limits(quality: QualityConfig) -> QualityLimits:
    return QualityLimits(**vars(quality))


def manifest_path(model: str) -> Path:
    """Return the manifest of a shipped model's name, or the path itself where one is given."""
    check_model(model, "model")
    if model.endswith(".json"):
        return expand(model)
    there = [name for name in MODELS if (WEIGHTS / f"{name}.json").is_file()]
    return shipped_manifest(model, f"set model to one that is there ({', '.join(there) or 'none is'})")


def shipped_manifest(name: str, instead: str) -> Path:
    """Return the manifest of a network of models/weights/; `instead` says what to do where it is missing."""
    path = WEIGHTS / f"{name}.json"
    if not (path.is_file() and path.with_suffix(".tflite").is_file()):
        raise ModelError(
            f"{path}: expected the network {name!r} and its manifest, received no such files: "
            f"copy both there, or {instead}"
        )
    return path
