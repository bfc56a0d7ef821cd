"""Config -> the stages: the only place that names concrete classes; what is kept and what is decided stand beside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from device.access.admission import Admission, AdmissionRule
from device.access.clock import Clock
from device.access.lockout import PinLockout
from device.access.pin_entry import PinEntry
from device.access.policy import parse_hours
from device.access.selftest import is_proven
from device.build.records import audit_head as audit_head
from device.build.records import build_audit as build_audit
from device.build.records import build_gallery as build_gallery
from device.build.records import build_kept as build_kept
from device.build.records import build_keys as build_keys
from device.build.records import build_pin_file as build_pin_file
from device.build.records import build_refusal_file as build_refusal_file
from device.build.records import build_switches as build_switches
from device.build.records import build_usage as build_usage
from device.build.records import open_anchor as open_anchor
from device.build.records import open_any_gallery as open_any_gallery
from device.build.records import open_audit as open_audit
from device.build.records import open_outside_audit as open_outside_audit
from device.build.records import outside_audit_path as outside_audit_path
from device.build.rules import SAME_PERSON_FMR as SAME_PERSON_FMR
from device.build.rules import build_decider as build_decider
from device.build.rules import build_judge as build_judge
from device.build.rules import decision_rule as decision_rule
from device.build.rules import lockout_rule as lockout_rule
from device.build.rules import look_alike_margin as look_alike_margin
from device.build.rules import quality_limits as quality_limits
from device.build.rules import threshold_for as threshold_for
from device.command import owner_command
from device.config import MODELS, Config, check_model
from device.decide.backoff_file import BackoffFile
from device.desk.desk import Desk, DeskRule, NoDesk
from device.desk.line import Line
from device.desk.opening import Freshness, Opening, OpeningRule
from device.desk.switches import Switches
from device.desk.wire import LONGEST_COMMAND
from device.enroll.collector import Collector
from device.errors import ConfigError, ModelError, UsageError
from device.gallery.gallery import Gallery
from device.gallery.usage import UsageFile
from device.health import BoardRule, BoardWatch, NoBoard
from device.journal.trail import AuditTrail
from device.lock.client import RemoteLock
from device.lock.front import LocalFront, Prompt, raise_alarm
from device.lock.panel.keypad import KeypadThread, SerialKeypad
from device.paths import expand
from device.pipeline import Door
from device.protocols import Aligner, Camera, Closable, Detector, Front
from device.vision.align import LandmarkAligner, MeshAligner
from device.vision.assets import FACE_DETECTOR, FACE_MESH, find_asset
from device.vision.camera.meter import FaceMeter, Metered, NoMeter
from device.vision.camera.source import open_camera
from device.vision.camera.turned import TurnedCamera
from device.vision.detect import open_detector
from device.vision.embed import LiteRTEmbedder, load_manifest
from device.vision.finder import Finder
from device.vision.intent import IntentRule
from device.vision.liveness import PadScorer
from device.vision.scene import SceneRule, SceneWatch, Unwatched
from device.vision.track import Tracker
from device.vision.turn_search import NoSearch, TurnSearch
from device.vision.unscored import Unscored

WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "weights"


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
    manifest = shipped_manifest(
        "pad", f'set liveness.mode = "off" and run {owner_command("unlock --no-liveness")}'
    )
    return PadScorer(manifest=manifest, threads=config.threads)


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


def shortfall(config: Config, templates: int) -> str:
    """Say in one line what the door cannot promise with so many templates.

    "" where it keeps what is asked, and where nobody asked for more than the default: what a large gallery keeps is
    said when it grows, and by the doctor.
    """
    if config.false_accepts_per_approach >= Config().false_accepts_per_approach:
        return ""
    short = threshold_for(config, load_manifest(manifest_path(config.model)), templates).shortfall
    return f"{short} (docs/how/security.md)" if short else ""


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
