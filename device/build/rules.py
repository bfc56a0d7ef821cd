"""Config -> what is decided: thresholds, limits, the decider, whom a newcomer looks like."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial

from device.access.lockout import LockoutRule
from device.access.selftest import capped_mode
from device.config import Config, QualityConfig
from device.decide.backoff_file import BackoffFile
from device.decide.decider import Decider, DecisionRule, LivenessRule
from device.decide.moves import ChallengeRule
from device.decide.refusals import Refusals
from device.decide.threshold import Approach, DoorThreshold, door_threshold
from device.gallery.gallery import Gallery
from device.gallery.lookalike import LookAlike, Templates, look_alikes
from device.protocols import LivenessScorer
from device.vision.embed import LiteRTEmbedder, Manifest
from device.vision.quality import QualityLimits

SAME_PERSON_FMR = 1e-4  # of one comparison: whether two looks of an enrollment are of one person
# By how much a look-alike's look may be nearer than the templates are: a decade of the FMR curve
# (docs/how/security.md).
MARGIN_FMRS = (1e-5, 1e-4)


def build_decider(
    config: Config,
    embedder: LiteRTEmbedder,
    scorer: LivenessScorer | None,
    refusal_file: BackoffFile,
    *,
    proven: bool,
) -> Decider:
    """Put the decision together, with chance that nobody can foresee; an unproven door challenges everybody."""
    liveness = config.liveness
    return Decider(
        decision_rule(config, embedder),
        liveness=LivenessRule(
            mode=capped_mode(liveness.mode, unproven=liveness.unproven, proven=proven),
            unsure=scorer.unsure if scorer else 0.0,
            attack=scorer.attack if scorer else 0.0,
        ),
        challenge=ChallengeRule(moves=liveness.moves, answer_s=liveness.answer_s, blink=liveness.blink),
        chance=random.SystemRandom(),
        refusals=Refusals.kept_in(refusal_file),
    )


def lockout_rule(config: Config) -> LockoutRule:
    return LockoutRule(config.policy.wrong_pins, config.policy.lockout_s)


def threshold_for(config: Config, manifest: Manifest, templates: int) -> DoorThreshold:
    """Return the threshold of a door with so many templates."""
    decision = config.decision
    return door_threshold(
        manifest.thresholds,
        false_accepts=config.false_accepts_per_approach,
        templates=templates,
        approach=Approach(decision.frames_per_approach, decision.k),
    )


def build_judge(
    config: Config, gallery: Gallery, manifest: Manifest
) -> Callable[[Templates, Mapping[str, Templates]], list[LookAlike]]:
    """Say who of some people looks like somebody who comes from another gallery."""
    return partial(
        look_alikes,
        threshold=threshold_for(config, manifest, gallery.count() + 1).threshold,
        floor=manifest.threshold(max(manifest.thresholds)),
        margin=look_alike_margin(manifest),
    )


def look_alike_margin(manifest: Manifest) -> float:
    strict, lenient = MARGIN_FMRS
    return manifest.threshold(strict) - manifest.threshold(lenient)


def decision_rule(config: Config, embedder: LiteRTEmbedder) -> DecisionRule:
    """Take the least threshold, that of one template, from the model's manifest, all else from the config."""
    decision = config.decision
    return DecisionRule(
        threshold=threshold_for(config, embedder.manifest, 1).threshold,
        k=decision.k,
        n=decision.n,
        cooldown_s=decision.cooldown_s,
        max_frame_age_s=decision.max_frame_age_s,
        dwell_s=config.intent.dwell_s,
    )


def quality_limits(quality: QualityConfig) -> QualityLimits:
    return QualityLimits(**vars(quality))
