"""A door whose stages answer what the test tells them."""

from __future__ import annotations

import random
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np

from device.access.admission import AdmitAll
from device.decide.backoff import Count
from device.decide.decider import Decider, DecisionRule, LivenessRule
from device.decide.moves import ChallengeRule
from device.decide.refusals import Refusals
from device.gallery.gallery import Gallery
from device.lock.front import Prompt
from device.pipeline import Door, handle_frame
from device.protocols import Aligner, Detector, Embedder, LivenessScorer, Lock
from device.types import AlignedFace, FaceDetection, Frame, HeadPose, Reason
from device.vision.finder import Finder
from device.vision.intent import IntentRule
from device.vision.quality import QualityLimits
from device.vision.track import Tracker

LIMITS = QualityLimits(
    min_face_px=60,
    min_sharpness=0,
    min_signal=2,
    max_white=0.7,
    max_yaw_deg=35,
    max_pitch_deg=30,
    max_roll_deg=35,
    min_presence=0,
)
ALICE = np.eye(4, dtype=np.float32)[0]
STRANGER = np.eye(4, dtype=np.float32)[1]


def detection(width: float = 120.0, left: float = 100.0) -> FaceDetection:
    return FaceDetection(box=(left, 80.0, width, width), score=0.9, keypoints=np.zeros((6, 2), np.float32))


BLOCKS = np.kron(np.indices((14, 14)).sum(axis=0) % 2, np.ones((8, 8)))[..., None].repeat(3, axis=2)


def aligned(contrast: int = 80, presence: float = 20.0, yaw_deg: float = 0.0) -> AlignedFace:
    """Return a face of which no more is to be seen than blocks of a contrast, in gray levels."""
    image = (20 + contrast * BLOCKS).astype(np.uint8)
    return AlignedFace(
        image=image,
        measured=image,
        landmarks=np.zeros((5, 2), np.float32),
        mesh=np.zeros((468, 3), np.float32),
        presence=presence,
        pose=HeadPose(yaw_deg, 0, 0),
        eye_openness=(0.3, 0.3),
    )


def staged_door(folder: Path) -> Door:
    """Return a door that knows alice, sees her well, and grants at her third frame."""
    gallery = Gallery(folder / "gallery.db", model_id="m", dimension=4, read_only=False)
    gallery.enroll("alice", ALICE[None], replace=False)
    made = Door(
        finder=Finder(
            detector=create_autospec(Detector, instance=True),
            aligner=create_autospec(Aligner, instance=True),
            limits=LIMITS,
            second_face_ratio=0.5,
        ),
        tracker=Tracker(max_gap_s=0.5, min_overlap=0.3, same_face=0.5),
        intent=IntentRule(near_share=0.1, max_yaw_deg=20),
        liveness=create_autospec(LivenessScorer, instance=True),
        embedder=create_autospec(Embedder, instance=True),
        gallery=gallery,
        decider=Decider(
            DecisionRule(threshold=0.5, k=3, n=5, cooldown_s=5.0, max_frame_age_s=1.5),
            liveness=LivenessRule(mode="challenge", unsure=0.8, attack=0.2),
            challenge=ChallengeRule(moves=1, answer_s=2.5, blink=True),
            chance=random.Random(0),
            refusals=Refusals(Count(), lambda _: None),
        ),
        prompt=Prompt(),
        admission=AdmitAll(),
        lock=create_autospec(Lock, instance=True),
    )
    made.finder.detector.detect.return_value = [detection()]
    made.finder.aligner.align.return_value = aligned()
    made.liveness.score.return_value = 0.9
    made.embedder.embed.return_value = ALICE
    return made


def frame(at_s: float) -> Frame:
    return Frame(np.zeros((480, 640, 3), np.uint8), at_s)


def reasons(device: Door, times: list[float]) -> list[Reason]:
    return [handle_frame(frame(at_s), device, at_s).reason for at_s in times]
