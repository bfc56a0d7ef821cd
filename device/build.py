"""Config -> the stages: the only place that names concrete classes."""

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

SAME_PERSON_FMR = 1e-4  # of one comparison: whether two looks of an enrollment are of one person
# By how much a look-alike's look may be nearer than the templates are: a decade of the FMR curve
# (docs/how/security.md).
MARGIN_FMRS = (1e-5, 1e-4)
WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "weights"


def build_door(
    config: Config,
    *,
    pin_factory: Any,
    audit: AuditTrail | None = None,
    refusal_file: BackoffFile | None = None,
    live: bool = False,
    pin_file: BackoffFile | None = None,
    is_door: bool = False,
    usage_file: UsageFile | None = None,
    line: Line | None = None,
    switches: Switches | None = None,
) -> Door:
    """Put the door together; whatever fails, the pin is locked and given back.

    Args:
        pin_factory: gpiozero's pins; None takes the board's own.
        audit: where grants are recorded first; None records none.
        refusal_file: keeps the count of refused approaches over a restart; None: in memory only (a demo, a replay).
        live: the frames are those of a camera, which is watched; those of a recording may repeat themselves.
        pin_file: the same for wrong PINs.
        is_door: the claimed pin is written down, for a relock after this program's death; False for a demo.
        usage_file: keeps the entries of guests and the times of PINs; None looks at them and keeps none.
        line: the line to the link; None: the door has none.
        switches: of faces; None looks at what is kept.
    """
    with ExitStack() as undo:
        # The pin first: until everything else stands, the door is held locked.
        front = build_front(config, pin_factory=pin_factory, is_door=is_door)
        undo.callback(front.close)
        prompt = build_prompt(config, front)
        embedder = build_embedder(config)
        gallery = build_gallery(config, embedder.manifest, read_only=True)
        undo.callback(gallery.close)
        finder = build_finder(config, embedder.manifest.side_px)
        undo.callback(finder.close)
        decision, intent, liveness = config.decision, config.intent, build_liveness(config)
        clock = Clock(config.policy.require_time_sync)
        audit = audit or AuditTrail(lambda: None, demo=False)
        pins = pin_file or BackoffFile(None)
        lockout = PinLockout(lockout_rule(config), pins.load(), pins.save)
        switches = switches or build_switches(config, read_only=True)
        proven = liveness is not None and is_proven(gallery.selftest(), liveness.model_id)
        parts: list[Closable] = []
        entry = PinEntry()
        for part in build_parts(config, entry, front):
            undo.callback(part.close)
            parts.append(part)
        door = Door(
            finder=finder,
            tracker=Tracker(
                max_gap_s=decision.track_gap_s,
                min_overlap=decision.track_overlap,
                same_face=embedder.manifest.threshold(SAME_PERSON_FMR),
            ),
            search=build_search(config, finder),
            intent=IntentRule(near_share=intent.near_share, max_yaw_deg=intent.max_yaw_deg),
            liveness=liveness or Unscored(),
            embedder=embedder,
            gallery=gallery,
            decider=build_decider(
                config,
                embedder,
                liveness,
                refusal_file or BackoffFile(None),
                proven=proven,
            ),
            prompt=prompt,
            lock=front,
            admission=build_admission(
                config,
                gallery,
                audit,
                entry,
                front,
                clock,
                lockout,
                usage_file or build_usage(config),
                switches,
            ),
            scene=build_scene(config) if live else Unwatched(),
            board=build_board(config) if live else NoBoard(),
            clock=clock,
            desk=build_desk(config, line, front, gallery, audit, clock, lockout, switches, proven=proven)
            if line is not None
            else NoDesk(),
            parts=parts,
        )
        undo.pop_all()
    return door


def build_collector(config: Config, embedder: LiteRTEmbedder, *, samples: int, guided: bool) -> Collector:
    """Put together what an enrollment looks through."""
    finder = build_finder(config, embedder.manifest.side_px)
    return Collector(
        finder=finder,
        embedder=embedder,
        same_person=embedder.manifest.threshold(SAME_PERSON_FMR),
        duplicate=config.enrollment.duplicate_similarity,
        samples=samples,
        guided=guided,
        search=build_search(config, finder) if guided else NoSearch(),
    )


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


def build_admission(
    config: Config,
    gallery: Gallery,
    audit: AuditTrail,
    entry: PinEntry,
    front: Front,
    clock: Clock,
    lockout: PinLockout,
    usage_file: UsageFile,
    switches: Switches,
) -> Admission:
    """Put the last word before the bolt together."""
    policy = config.policy
    return Admission(
        AdmissionRule(
            pin_timeout_s=policy.pin_timeout_s,
            record_required=config.audit.required,
        ),
        gallery,
        audit,
        usage=usage_file,
        entry=entry,
        lockout=lockout,
        clock=clock.now,
        alarm=partial(raise_alarm, front.signal) if policy.alarm_pin >= 0 else lambda: None,
        switched_off=switches.is_off,
    )


def build_line(config: Config) -> Line | None:
    """Return the line to the link, None for a door without one."""
    return Line(expand(config.link.socket), longest=LONGEST_COMMAND) if config.link.socket else None


def build_switches(config: Config, *, read_only: bool = False) -> Switches:
    """Keep which faces are switched off beside the gallery; a door without a link has none to look at."""
    kept = build_kept(config, "switches", read_only=read_only)
    link = config.link
    return Switches(kept, may_switch=link.switches and not read_only, may_loosen=link.loosen)


def build_desk(
    config: Config,
    line: Line,
    front: Front,
    gallery: Gallery,
    audit: AuditTrail,
    clock: Clock,
    lockout: PinLockout,
    switches: Switches,
    *,
    proven: bool,
) -> Desk:
    """Put together what is told to the link and done for it."""
    link = config.link
    try:
        parse_hours(link.open_hours)
    except UsageError as error:
        raise ConfigError(f"link.open_hours: {error}") from None
    rule = OpeningRule(code_hash=link.open_code, hours=link.open_hours)
    return Desk(
        DeskRule(door=link.name, pulse_s=config.lock.pulse_s, names=link.names, proven=proven),
        line,
        front=front,
        freshness=Freshness(link.name, link.command_life_s, clock.now),
        opening=Opening(rule, front=front, audit=audit, lockout=lockout, clock=clock.now),
        switches=switches,
        audit=audit,
        profiles=gallery.profiles,
    )


def build_parts(config: Config, entry: PinEntry, front: Front) -> Iterator[Closable]:
    """Hear the door's keypad, and start the serial one; nothing where nothing is configured."""
    keypad = config.keypad
    front.on_key = entry.press
    if keypad.serial_port:
        port = SerialKeypad(keypad.serial_port, keypad.baud, entry.press)
        yield KeypadThread(port.step, port.close)


def build_front(config: Config, *, pin_factory: Any, is_door: bool = False) -> Front:
    """Claim the door's pins, locked, or reach the lock process that holds them; given pins are the only ones driven."""
    if config.lock.socket and pin_factory is None:
        return RemoteLock(expand(config.lock.socket), life_s=config.decision.max_frame_age_s)
    return LocalFront(config, pin_factory=pin_factory, is_door=is_door)


def build_prompt(config: Config, front: Front) -> Prompt:
    """Have the moves of a challenge told, where a buzzer, an LED or a display is configured."""
    return Prompt(front.signal if config.liveness.tells_moves else None)


def build_liveness(config: Config) -> PadScorer | None:
    """Load the passive network, None where liveness is off."""
    if config.liveness.mode == "off":
        return None
    manifest = shipped_manifest("pad", 'set liveness.mode = "off" and run unlock.py --no-liveness')
    return PadScorer(manifest=manifest, threads=config.threads)


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


def lockout_rule(config: Config) -> LockoutRule:
    return LockoutRule(config.policy.wrong_pins, config.policy.lockout_s)


def build_camera(config: Config) -> Camera:
    """Open the configured source, turned as configured; a clip plays at its own speed."""
    camera = config.camera
    opened = open_camera(
        camera.source,
        width=camera.width,
        height=camera.height,
        stall_timeout_s=camera.stall_timeout_s,
        controls=camera.controls,
        paced=True,
    )
    if camera.rotation == 0 and not camera.mirror:
        return opened
    return TurnedCamera(opened, rotation_deg=camera.rotation, mirror=camera.mirror)


def build_meter(config: Config, camera: Camera) -> FaceMeter | NoMeter:
    """Expose for the face, where the camera takes a wish."""
    return FaceMeter(camera) if config.camera.meter and isinstance(camera, Metered) else NoMeter()


def build_board(config: Config) -> BoardWatch:
    return BoardWatch(BoardRule(config.board.hot_c, config.board.hot_rest_s))


def build_scene(config: Config) -> SceneWatch:
    return SceneWatch(SceneRule(min_detail=config.camera.min_detail, frozen_s=config.camera.frozen_s))


def build_finder(config: Config, crop_px: int) -> Finder:
    """Put together what finds the face of a picture; `crop_px` is the side of the face that the embedder takes."""
    return Finder(
        detector=build_detector(config),
        aligner=build_aligner(config, crop_px),
        limits=quality_limits(config.quality),
        second_face_ratio=config.decision.second_face_ratio,
    )


def build_search(config: Config, finder: Finder) -> TurnSearch:
    """Find out whether the camera hangs on its side."""
    return TurnSearch(finder, rotation_deg=config.camera.rotation, mirror=config.camera.mirror)


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
            "make one with scripts/train/quantize.py"
        )
    return embedder


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


def threshold_for(config: Config, manifest: Manifest, templates: int) -> DoorThreshold:
    """Return the threshold of a door with so many templates."""
    decision = config.decision
    return door_threshold(
        manifest.thresholds,
        false_accepts=config.false_accepts_per_approach,
        templates=templates,
        approach=Approach(decision.frames_per_approach, decision.k),
    )


def shortfall(config: Config, templates: int) -> str:
    """Say in one line what the door cannot promise with so many templates.

    "" where it keeps what is asked, and where nobody asked for more than the default: what a large gallery keeps is
    said when it grows, and by the doctor.
    """
    if config.false_accepts_per_approach >= Config().false_accepts_per_approach:
        return ""
    short = threshold_for(config, load_manifest(manifest_path(config.model)), templates).shortfall
    return f"{short} (docs/how/security.md)" if short else ""


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
    if not path.is_file():  # a network that is missing beside it says so when it is loaded
        raise ModelError(
            f"{path}: expected the network {name!r} and its manifest, received no such files: "
            f"copy both there, or {instead}"
        )
    return path
