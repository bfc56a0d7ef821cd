"""Show the whole product at work, without a camera and without pins: python scripts/demo.py  (make demo)

    python scripts/demo.py --model mobilenetv2      another network; --config FILE takes any other key from a file

One person is enrolled from a photograph. Then a clip plays in which nobody, a stranger, the enrolled person and nobody
again stand before the camera. Detector, network, gallery file and lock are the real ones; only the pins are gpiozero's
own mock. Writes demo.png; exits with 1 if the stranger is let in or the enrolled person is not.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "scripts"))

import demo_picture
import make_clip
from demo_picture import Act, Play, Step
from gpiozero.pins.mock import MockFactory

import enroll
from device.build import build_camera, build_device, manifest_path
from device.config import CameraConfig, Config, LockConfig, check_model, load_config
from device.embed import load_manifest
from device.errors import FaceUnlockError, UsageError
from device.pipeline import Device, handle_frame
from device.types import Decision, Reason

MARK = "[demo: no pin is driven]"
SUBJECT, STRANGER = "Eileen Collins", "Grace Hopper"
PULSE_S = 2.0  # shorter than at a door, so that the clip shows it end


def photographs() -> dict[str, Path]:
    """Return the two portraits, both in the public domain."""
    found = find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        raise UsageError("the demo's second portrait comes with matplotlib: run it with `make demo`")
    sample = "mpl-data/sample_data/grace_hopper.jpg"
    return {
        SUBJECT: ROOT / "tests/data/astronaut.jpg",
        STRANGER: Path(found.submodule_search_locations[0]) / sample,
    }


def film(folder: Path, photos: dict[str, Path], seconds: float) -> tuple[Path, list[Act]]:
    """Write the clip and return its acts."""
    order = [("nobody", 0.5), (STRANGER, 1.0), (SUBJECT, 1.0), ("nobody", 0.5)]
    scenes, acts, at_s = [], [], 0.0
    for who, share in order:
        still = make_clip.read_still(photos[who]) if who in photos else None
        scenes.append(make_clip.Scene(still, share * seconds))
        acts.append(Act(who, at_s, at_s + share * seconds))
        at_s += share * seconds
    make_clip.write_clip(folder / "clip.mp4", make_clip.render(scenes))
    return folder / "clip.mp4", acts


def play(config: Config, acts: list[Act]) -> Play:
    """Run the clip through the real pipeline, in its own time, and record what happens."""
    factory = MockFactory()
    device = build_device(config, pin_factory=factory)
    pin = factory.pin(config.lock.pin)
    try:
        pin.clear_states()
        recorded_from_s = time.monotonic()
        steps = list(walk(config, device))
        while device.lock.is_locked is False:
            time.sleep(0.02)
        threshold = max(step.decision.threshold or -1.0 for step in steps)
    finally:
        device.close()
    offset_s = recorded_from_s - steps[0].decision.captured_at_s
    return Play(acts, steps, waveform(pin, offset_s, until_s=acts[-1].ends_s), threshold)


def walk(config: Config, device: Device) -> Iterator[Step]:
    """Yield each frame with its decision, and print one line per event."""
    camera, began_s, last = build_camera(config), 0.0, None

    def tell(locked: bool) -> None:
        say(time.monotonic() - began_s, "locked" if locked else f"unlocked for {PULSE_S:g} s")

    device.lock.on_change = tell  # type: ignore[attr-defined]
    try:
        for frame in camera.frames():
            began_s = began_s or frame.captured_at_s
            decision = handle_frame(frame, device, frame.captured_at_s)
            if decision.reason is not last and decision.reason not in (Reason.CONFIRMING, Reason.COOLDOWN):
                say(frame.captured_at_s - began_s, headline(decision))
            last = decision.reason
            yield Step(frame.captured_at_s - began_s, frame.image, decision)
    finally:
        camera.close()


def headline(decision: Decision) -> str:
    """Say a decision in words."""
    if decision.granted:
        return f"granted: {decision.subject_id}"
    if decision.reason is Reason.NO_FACE:
        return "nobody there"
    return (
        f"refused: {str(decision.reason).replace('_', ' ')}{f' ({decision.hint})' if decision.hint else ''}"
    )


def say(at_s: float, text: str) -> None:
    print(f"{MARK} {at_s:5.1f} s  {text}", flush=True)


def waveform(pin: Any, offset_s: float, until_s: float) -> list[tuple[float, bool]]:
    """Turn the mock pin's record, each state with the time since the one before, into (seconds, high)."""
    at_s, changes = offset_s, []
    for passed_s, high in pin.states:
        at_s += passed_s
        changes.append((at_s, bool(high)))
    return [*changes, (max(until_s, at_s), changes[-1][1])]


def faults(result: Play) -> list[str]:
    """List what went wrong: somebody let in who may not, or kept out who may."""
    found = []
    for act in result.acts:
        steps = [step for step in result.steps if act.starts_s <= step.at_s < act.ends_s]
        granted = {step.decision.subject_id for step in steps if step.decision.granted}
        wanted = {SUBJECT} if act.who == SUBJECT else set()
        if granted != wanted:
            found.append(
                f"{act.who}: expected {', '.join(wanted) or 'no'} grant, received {granted or 'none'}"
            )
        if any(step.decision.detection for step in steps) != (act.who != "nobody"):
            found.append(f"{act.who}: the detector {'saw somebody' if act.who == 'nobody' else 'saw nobody'}")
    granted_s = [step.at_s for step in result.steps if step.decision.granted]
    unlocked_s = [at_s for at_s, high in result.pin if high]
    if granted_s and unlocked_s and unlocked_s[0] < granted_s[0]:
        found.append(f"the pin unlocked {granted_s[0] - unlocked_s[0]:.3f} s before the grant")
    if [high for _, high in result.pin] != [False, True, False, False]:
        found.append(f"the pin went {result.pin}, expected one pulse that ends locked")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="demo.py", description="Show the whole product at work, without pins."
    )
    parser.add_argument("--picture", type=Path, default=ROOT / "demo.png", help="file to write (demo.png)")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each person stays (4)")
    parser.add_argument("--model", metavar="NAME", help="network of the embeddings: a name or a manifest")
    # /dev/null is an empty config: the demo shows the defaults, whatever this machine is set to.
    parser.add_argument("--config", type=Path, default=Path("/dev/null"), help="TOML file (docs/tune.md)")
    args = parser.parse_args(arguments)
    try:
        check(args.picture, args.seconds)
        with tempfile.TemporaryDirectory(prefix="face-unlock-demo-") as folder:
            result = run(Path(folder), args.seconds, args.config, args.model)
        draw(result, args.picture)
    except FaceUnlockError as error:
        print(f"{MARK} demo: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{MARK} demo: interrupted", file=sys.stderr)
        return 130
    print(f"{MARK} wrote {args.picture.name}")
    found = faults(result)
    for line in found:
        print(f"{MARK} FAILED: {line}", file=sys.stderr)
    if not found:
        print(f"{MARK} passed: {SUBJECT} was let in, {STRANGER} was not, and the door is locked")
    return 1 if found else 0


def check(picture: Path, seconds: float) -> None:
    """Refuse before the clip plays what would fail after it."""
    if picture.suffix != ".png" or not os.access(picture.absolute().parent, os.W_OK):
        raise UsageError(
            f"--picture: expected a .png in a folder that can be written, received {str(picture)[:120]}"
        )
    if not 1 <= seconds <= 60:
        raise UsageError(f"--seconds: expected 1 to 60, received {seconds:g}")


def draw(result: Play, picture: Path) -> None:
    """Write the picture; a disk that is full, say, is one line."""
    try:
        demo_picture.draw(result, picture)
    except OSError as error:
        raise UsageError(f"--picture: {str(picture)[:120]}: {error.strerror}: name another file") from error


def run(folder: Path, seconds: float, settings: Path, model: str | None) -> Play:
    """Enroll, make the clip and play it."""
    photos = photographs()
    config = configured(folder, settings, model)
    options = ["--gallery", config.gallery, "--config", str(settings), "--model", config.model, "--no-sheet"]
    model_id = load_manifest(manifest_path(config.model)).model_id
    print(f"{MARK} enrolling {SUBJECT} from {photos[SUBJECT].name} with {model_id}", flush=True)
    code = enroll.main(["--name", SUBJECT, "--images", str(photos[SUBJECT]), *options])
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise FaceUnlockError(f"the enrollment ended with exit code {code}: its line stands above")
    clip, acts = film(folder, photos, seconds)
    print(
        f"{MARK} playing a clip of {acts[-1].ends_s:g} s: nobody, {STRANGER}, {SUBJECT}, nobody", flush=True
    )
    return play(replace(config, camera=CameraConfig(source=str(clip))), acts)


def configured(folder: Path, settings: Path, model: str | None) -> Config:
    """Return the configuration of the demo: a gallery of its own in `folder`, a pin that ends soon."""
    config = load_config(settings)
    model = config.model if model is None else model
    check_model(model, "model")
    lock = LockConfig(pulse_s=PULSE_S)
    return replace(config, model=model, gallery=str(folder / "gallery.db"), lock=lock)


if __name__ == "__main__":
    sys.exit(main())
