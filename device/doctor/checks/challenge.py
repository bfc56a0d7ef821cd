"""The challenge: whom the door asks for a move, and whether anybody at it can hear or see what is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from device.access.selftest import SelfTest, capped_mode, is_proven
from device.build import open_any_gallery, shipped_manifest
from device.config import Config
from device.doctor.checks.services import is_installed
from device.doctor.examination import Setup
from device.doctor.finding import Finding, green, red, yellow
from device.errors import FaceUnlockError
from device.lock.panel.outputs import prompt_pins
from device.moment import in_local_time
from device.vision.liveness import load_liveness_manifest

SELFTEST = "face-unlock selftest"
CONNECT = (
    "connect a buzzer, an LED or a display: liveness.buzzer_pin, led_pin, display (docs/how/challenge.md)"
)


def check(setup: Setup) -> Iterator[Finding]:
    """Say what the self-test proved, then who is asked, and how they are told."""
    config = setup.config
    if config.liveness.mode == "off":
        yield red("self-test", "liveness is off, so nothing is tested", 'set liveness.mode = "challenge"')
        return
    network = load_liveness_manifest(shipped_manifest("pad", "run sudo scripts/install.sh again")).model_id
    verdict = stored_verdict(config)
    proven = is_proven(verdict, network)
    yield judge_verdict(verdict, network)
    mode = capped_mode(config.liveness.mode, unproven=config.liveness.unproven, proven=proven)
    yield judge_signs(mode, ways_to_tell(config), installed=is_installed(setup.host))


def stored_verdict(config: Config) -> SelfTest | None:
    """Return the verdict of the last self-test, None where there is none or it cannot be read."""
    try:
        with closing(open_any_gallery(config, read_only=True)) as gallery:
            return gallery.selftest()
    except FaceUnlockError:  # the gallery has a line of its own
        return None


def judge_verdict(verdict: SelfTest | None, liveness_id: str) -> Finding:
    """Return the finding of the self-test."""
    if verdict is None:
        return yellow("self-test", "this door has none, so it asks everybody for a move", SELFTEST)
    on = f"of {in_local_time(verdict.tested_at)[:10]}"
    if verdict.liveness_id != liveness_id:
        other = f"{on}, of another liveness network ({verdict.liveness_id}): it asks everybody for a move"
        return yellow("self-test", other, SELFTEST)
    if not verdict.passed:
        return yellow("self-test", f"{on}: not passed, so the door asks everybody for a move", SELFTEST)
    return green("self-test", f"{on}: passed; only who does not look clearly live is asked for a move")


def ways_to_tell(config: Config) -> list[str]:
    """List what tells a person at the door which move is asked for."""
    pins = [key.removeprefix("liveness.").removesuffix("_pin") for key in prompt_pins(config.liveness)]
    return [*pins, "display"] if config.liveness.display else pins


def judge_signs(mode: str, ways: list[str], *, installed: bool) -> Finding:
    """Return the finding of what tells the moves; `mode` is the one that the door uses."""
    if mode == "passive":
        return green("challenge", "this door never asks for a move")
    if ways:
        return green("challenge", f"what is asked is told by {' and '.join(ways)}")
    if not installed:
        nobody = "what is asked stands in the terminal of the door alone: no buzzer, LED or display"
        return yellow("challenge", nobody, CONNECT)
    nobody = "nobody at the door can hear or see what is asked: there is no buzzer, LED or display"
    if mode == "always":
        return red("challenge", f"{nobody}; everybody is asked", f"{CONNECT}; or {SELFTEST}")
    return yellow("challenge", f"{nobody}; who does not look clearly live is asked", CONNECT)
