"""Config -> the stages: the only place that names concrete classes."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from device.align import LandmarkAligner, MeshAligner
from device.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.camera import ClipCamera, LiveCamera, open_camera
from device.challenge import ChallengeRule
from device.config import MODELS, Config, QualityConfig, check_model
from device.decision import Decider, DecisionRule, LivenessRule
from device.detect import open_detector
from device.embed import LiteRTEmbedder
from device.enrollment import Collector
from device.errors import ModelError
from device.gallery import Gallery
from device.intent import IntentRule
from device.liveness import PadScorer
from device.lock import PulseLock, check_pin, open_lock
from device.paths import expand
from device.pipeline import Device
from device.prompt import Prompt, check_prompt_pins, open_prompt
from device.protocols import Aligner, Detector, LivenessScorer
from device.quality import QualityLimits
from device.refusal_file import RefusalFile
from device.refusals import Refusals
from device.track import Tracker

WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "weights"


def build_device(config: Config, *, pin_factory: Any, refusal_file: RefusalFile | None = None) -> Device:
    """Put the door together; whatever fails, the pin is locked and given back.

    Args:
        pin_factory: gpiozero's pins; None takes the board's own.
        refusal_file: keeps the count of refused approaches over a restart; None: in memory only (a demo, a replay).
    """
    with ExitStack() as undo:
        # The pin first: until everything else stands, the door is held locked.
        lock = build_lock(config, pin_factory=pin_factory)
        undo.callback(lock.close)
        prompt = build_prompt(config, pin_factory=pin_factory)
        undo.callback(prompt.close)
        embedder = build_embedder(config)
        gallery = build_gallery(config, embedder, read_only=True)
        undo.callback(gallery.close)
        detector = build_detector(config)
        undo.callback(detector.close)
        decision, intent, liveness = config.decision, config.intent, build_liveness(config)
        threshold = embedder.manifest.threshold(config.false_match_rate)
        device = Device(
            detector=detector,
            second_face_ratio=decision.second_face_ratio,
            tracker=Tracker(
                max_gap_s=decision.track_gap_s, min_overlap=decision.track_overlap, same_face=threshold
            ),
            aligner=build_aligner(config, embedder.manifest.side_px),
            limits=quality_limits(config.quality),
            intent=IntentRule(near_share=intent.near_share, max_yaw_deg=intent.max_yaw_deg),
            liveness=liveness,
            embedder=embedder,
            gallery=gallery,
            decider=build_decider(config, embedder, liveness, refusal_file or RefusalFile(None)),
            prompt=prompt,
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


def build_lock(config: Config, *, pin_factory: Any) -> PulseLock:
    """Claim the pin, locked."""
    check_pin(config.lock, config.status.serial_port)
    return open_lock(config.lock, pin_factory=pin_factory)


def build_prompt(config: Config, *, pin_factory: Any) -> Prompt:
    """Claim the pins that tell a challenge, none by default."""
    check_prompt_pins(config.liveness, config.lock, config.status.serial_port)
    return open_prompt(config.liveness, pin_factory=pin_factory)


def build_liveness(config: Config) -> LivenessScorer | None:
    """Load the passive network, None where liveness is off."""
    if config.liveness.mode == "off":
        return None
    manifest = shipped_manifest("pad", 'set liveness.mode = "off" and run unlock.py --no-liveness')
    return PadScorer(manifest=manifest, threads=config.threads)


def build_decider(
    config: Config, embedder: LiteRTEmbedder, scorer: LivenessScorer | None, refusal_file: RefusalFile
) -> Decider:
    """Put the decision together, with chance that nobody can foresee."""
    liveness = config.liveness
    return Decider(
        decision_rule(config, embedder),
        liveness=LivenessRule(
            mode=liveness.mode,
            unsure=scorer.unsure if scorer else 0.0,
            attack=scorer.attack if scorer else 0.0,
        ),
        challenge=ChallengeRule(moves=liveness.moves, answer_s=liveness.answer_s, blink=liveness.blink),
        chance=random.SystemRandom(),
        refusals=Refusals(refusal_file.load(), refusal_file.save),
    )


def build_refusal_file(config: Config) -> RefusalFile:
    """Keep the refused approaches of this door beside its gallery."""
    return RefusalFile(config.gallery_path.with_name(f"{config.gallery_path.name}.refusals"))


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
        dwell_s=config.intent.dwell_s,
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
