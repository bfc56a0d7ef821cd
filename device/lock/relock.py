"""Relock: lock the door after a program ended without doing so; `python -m device.lock --relock`.

It locks the pin that was claimed since the board started (claim.py), whatever the configuration says meanwhile. Only
where nothing was claimed it reads the configuration and locks the pin of `[lock]`. It has to be quick on a slow board:
what it does not need it does not import.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device.errors import FaceUnlockError, LockError
from device.lock.claim import GPIOCHIP, GPIOZERO, Claim, claim_of, recorded_claims, set_lgpio_folder


def relock(claim: Claim, *, pin_factory: Any = None) -> None:
    """Drive one pin to locked and give it back; raise LockError when it cannot be."""
    try:
        if claim.driver == GPIOCHIP and pin_factory is None:
            _drive_gpiochip(claim)
        elif pin_factory is None and claim.chip and not os.environ.get("GPIOZERO_PIN_FACTORY"):
            _drive_lgpio(claim)
        else:
            _drive_gpiozero(claim, pin_factory)
    except FaceUnlockError:
        raise
    except Exception as error:
        raise LockError(
            f"{claim}: cannot be locked: {error}: check who else holds it (gpioinfo) and the gpio group"
        ) from error


def _drive_gpiochip(claim: Claim) -> None:
    import gpiod

    settings = gpiod.LineSettings(
        direction=gpiod.line.Direction.OUTPUT,
        output_value=gpiod.line.Value.INACTIVE,
        active_low=not claim.active_high,
    )
    gpiod.request_lines(claim.chip, consumer="face-unlock", config={claim.line: settings}).release()


def _drive_lgpio(claim: Claim) -> None:
    """Claim the line at its locked level: without gpiozero, which takes longer to import than all the rest."""
    set_lgpio_folder()
    import lgpio

    handle = lgpio.gpiochip_open(int(claim.chip))
    try:
        lgpio.gpio_claim_output(handle, claim.line, int(not claim.active_high))
    finally:
        lgpio.gpiochip_close(handle)


def _drive_gpiozero(claim: Claim, pin_factory: Any) -> None:
    from device.lock.gpio import GpioLock

    with contextlib.ExitStack() as undo:
        if pin_factory is None:
            from device.lock.drivers import board_pins

            pin_factory = undo.enter_context(board_pins(None, driver=GPIOZERO))
        GpioLock(pin=claim.line, active_high=claim.active_high, pulse_s=1.0, pin_factory=pin_factory).close()


def configured_claim(path: Path | None) -> Claim:
    """Return the pin of a configuration's `[lock]`."""
    from device.config import load_config

    return claim_of(load_config(path).lock)


def main(arguments: list[str] | None = None, *, pin_factory: Any = None) -> int:
    """Drive the claimed pin to locked, give it back, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m device.lock",
        description="Lock the pin that was claimed last, whatever the configuration says; else the configured one.",
    )
    parser.add_argument("--relock", action="store_true", required=True, help="lock the door now")
    parser.add_argument(
        "--config",
        type=Path,
        help="TOML file, read where no pin was claimed since the start; without it the service's, else the defaults",
    )
    args = parser.parse_args(arguments)
    faults: list[FaceUnlockError] = []
    try:
        for claim in recorded_claims() or [configured_claim(args.config)]:
            with _kept(faults.append):
                relock(claim, pin_factory=pin_factory)
                print(f"locked: {claim}")
    except FaceUnlockError as error:
        faults.append(error)
    for fault in faults:
        print(f"relock: {fault}", file=sys.stderr)
    return faults[0].exit_code if faults else 0


@contextlib.contextmanager
def _kept(keep: Callable[[FaceUnlockError], None]) -> Any:
    """Return a fault instead of raising it: one faulty pin must not keep the next one unlocked."""
    try:
        yield
    except FaceUnlockError as error:
        keep(error)
