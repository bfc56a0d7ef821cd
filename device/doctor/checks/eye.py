"""The camera: opened as the door opens it, and its pictures looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from device.address import mask_address
from device.build import build_camera, build_finder
from device.doctor.checks.visits import last_heartbeat
from device.doctor.examination import Setup
from device.doctor.finding import Finding, green, red, split_advice, yellow
from device.errors import CameraError, FaceUnlockError
from device.numeric.geometry import CROP_SIZE_PX
from device.protocols import Camera
from device.types import Frame, Reason, Stop
from device.vision.camera.turned import ROTATIONS_DEG, turn
from device.vision.finder import Finder
from device.vision.scene import BRIGHT, DARK, measure
from device.vision.turn_search import NOT_UPRIGHT, upright_rotation

NAME = "camera"
WATCHED_S, MOST_FRAMES = 3.0, 200
LOOKS = 12  # of the frames, so many are searched for a face
FEW_FPS = 8.0  # the challenge was measured at so many frames a second (docs/how/challenge.md)
STOP_DOOR = "to look at its pictures: sudo systemctl stop face-unlock, then face-unlock doctor --only camera"


def check(setup: Setup) -> Iterator[Finding]:
    """Open the camera and say what it gives; a camera that the door has is left to it."""
    name = mask_address(setup.config.camera.source)
    doors = setup.host.doors(str(setup.config.camera.source))
    if doors and not is_clip(setup):
        yield from busy(setup, name, doors[0].number)
        return
    try:
        with closing(build_camera(setup.config)) as camera:
            frames = film(camera)
    except CameraError as error:
        users = setup.host.holders(devices_of(setup))
        if users:
            used = f"{error}; {users[0].name} (process {users[0].number}) has it open"
            yield red(NAME, used, "end that program: a camera serves one program at a time")
        else:
            yield split_advice(NAME, error)
        return
    yield from check_frames(setup, frames)


def is_clip(setup: Setup) -> bool:
    with suppress(OSError):
        return Path(str(setup.config.camera.source)).is_file()
    return False


def devices_of(setup: Setup) -> list[Path]:
    """List the devices behind a source; none of a network camera, a file or libcamera."""
    text = str(setup.config.camera.source)
    if text.isdecimal():
        return [setup.host.dev / f"video{text}"]
    return [Path(text)] if text.startswith("/dev/") else []


def busy(setup: Setup, name: str, number: int) -> Iterator[Finding]:
    """Say what the door that has the camera says of it."""
    beat = last_heartbeat(setup.host)
    if beat is None:
        yield green(NAME, f"{name}: in use by the door (process {number}); {STOP_DOOR}")
    elif beat.camera_lost:
        lost = f"{name}: the door has lost it (heartbeat {beat.age_s:.0f} s ago)"
        yield red(NAME, lost, "check cable and power; unplug it and plug it in again")
    else:
        rate = f"which handled {beat.fps:g} frames a second {beat.age_s:.0f} s ago"
        yield green(NAME, f"{name}: in use by the door (process {number}), {rate}; {STOP_DOOR}")


def film(camera: Camera) -> list[Frame]:
    """Return the frames of `WATCHED_S`; the camera is closed by whoever opened it."""
    frames: list[Frame] = []
    with closing(camera.frames()) as shots:  # type: ignore[type-var]
        for frame in shots:
            frames.append(frame)
            if frame.captured_at_s - frames[0].captured_at_s >= WATCHED_S or len(frames) >= MOST_FRAMES:
                break
    return frames


def check_frames(setup: Setup, frames: list[Frame]) -> Iterator[Finding]:
    """Say what the frames are like."""
    camera = setup.config.camera
    if not frames:
        yield red(NAME, f"{mask_address(camera.source)}: gave no frame", "check cable and power")
        return
    yield judge_stream(frames, camera.width, camera.height, camera.rotation)
    shown = frames[:: max(1, len(frames) // LOOKS)][:LOOKS]
    yield judge_light(shown, camera.min_detail)
    try:
        finder = build_finder(setup.config, CROP_SIZE_PX)
    except FaceUnlockError:  # the networks have a line of their own
        return
    with closing(finder):
        yield judge_rotation(shown, finder, camera.rotation, camera.mirror)
    set_to = "mirrored by camera.mirror" if camera.mirror else "not mirrored, as configured"
    yield green(
        "mirror", f"{set_to}; to see whether that is right: face-unlock doctor --watch, and turn left"
    )


def judge_stream(frames: list[Frame], width: int, height: int, rotation: int) -> Finding:
    """Return the finding of size and rate."""
    high, wide = frames[0].image.shape[:2]
    passed_s = frames[-1].captured_at_s - frames[0].captured_at_s
    rate = (len(frames) - 1) / passed_s if passed_s > 0 else 0.0
    asked = (height, width) if rotation in (90, 270) else (width, height)
    says = f"{wide}x{high}, {rate:.1f} frames a second"
    if len(frames) > 2 and all((frame.image == frames[0].image).all() for frame in frames[1:]):
        frozen = f"{says}, and each is the same picture"
        return red(NAME, frozen, "the camera is frozen: unplug it and plug it in again")
    if rate < FEW_FPS:
        few = f"{says}: fewer than {FEW_FPS:g}, so moves are missed"
        return yellow(NAME, few, "more light; a smaller camera.width; a faster link to the camera")
    if (wide, high) != asked:
        return green(NAME, f"{says} ({asked[0]}x{asked[1]} was asked for)")
    return green(NAME, says)


def judge_light(frames: list[Frame], min_detail: float) -> Finding:
    """Return the finding of the light in the whole picture."""
    measured = [measure(frame.image) for frame in frames]
    light, detail = (sorted(values)[len(values) // 2] for values in zip(*measured, strict=True))
    says = f"mean {light:.0f} of 255 ({DARK:g} to {BRIGHT:g} serve)"
    if detail < min_detail:
        nothing = f"the picture shows nothing: detail {detail:.1f}, needs {min_detail:g}; {says}"
        return red("light", nothing, "clear the lens; light")
    if light < DARK:
        return yellow("light", f"dark: {says}", "a lamp before the door")
    if light > BRIGHT:
        return yellow("light", f"glaring: {says}", "no sun or lamp straight into the camera")
    return green("light", f"{says}, detail {detail:.0f} (needs {min_detail:g})")


def judge_rotation(frames: list[Frame], finder: Finder, rotation: int, mirror: bool) -> Finding:
    """Return the finding of the way the camera hangs: does a face stand upright, or only after a turn?"""
    turned = dict.fromkeys(ROTATIONS_DEG[1:], 0)
    hint = ""
    for frame in frames:
        face = finder.find(frame.image).face
        if not (isinstance(face, Stop) and face.reason in NOT_UPRIGHT):
            return green("rotation", f"{rotation} degrees: a face stands upright")
        hint = hint or (face.hint if face.reason is not Reason.NO_FACE else "")
        for turn_deg in turned:
            turned[turn_deg] += not isinstance(finder.find(turn(frame.image, turn_deg)).face, Stop)
    best = max(turned, key=lambda each: turned[each])
    if turned[best] > 1:
        right = upright_rotation(best, rotation, mirror)
        text = f"{rotation} degrees: faces are seen only after turning the picture"
        return red("rotation", text, f"set camera.rotation = {right}")
    seen = f"the face was not good enough ({hint})" if hint else "nobody stood before the camera"
    again = "stand before it and run this again"
    return yellow("rotation", f"{rotation} degrees, as configured: {seen}, so it was not checked", again)
