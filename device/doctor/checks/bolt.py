"""The bolt: the pins it hangs on and the lock process; nothing is claimed and nobody is spoken to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from device.doctor.checks.services import is_installed
from device.doctor.examination import Setup, unseen
from device.doctor.finding import Finding, green, red, yellow
from device.lock.claim import claim_of, recorded_claims
from device.paths import expand

NAME = "lock"
SERVICE_SOCKET = Path("/run/face-unlock-lock/bolt.sock")  # of systemd/face-unlock-lock.service


def check(setup: Setup) -> Iterator[Finding]:
    """Say what drives the bolt, and whether it is there."""
    address = lock_socket(setup)
    if address is not None:
        yield from check_process(setup, address)
    else:
        yield from check_pins(setup)


def lock_socket(setup: Setup) -> Path | None:
    """Return the lock process's socket, None where the door drives the pins itself."""
    if setup.config.lock.socket:
        return expand(setup.config.lock.socket)
    return SERVICE_SOCKET if is_installed(setup.host) else None


def check_process(setup: Setup, address: Path) -> Iterator[Finding]:
    """Say whether the lock process is there, without a word to it: who connects could take the door's place."""
    claim, claimed = claim_of(setup.config.lock), recorded_claims()
    start = "sudo systemctl restart face-unlock-lock; systemctl status face-unlock-lock"
    try:
        there = address.is_socket()
    except OSError:
        there = False
    if not there and not _may_enter(address.parent):
        yield unseen(NAME, f"{address}: this user may not look there")
        return
    listening, connected = setup.host.socket(address)
    if not there:
        yield red(NAME, f"the lock process is gone: there is no {address}", start)
    elif listening:
        who = "the door is connected" if connected else "no door is connected"
        yield green(NAME, f"the lock process holds {claim}; {who}")
    elif setup.host.lock_processes():
        yield unseen(NAME, f"a lock process runs; whether it listens at {address} cannot be seen from here")
    else:
        yield red(NAME, f"the lock process is gone: nobody listens at {address}", start)
    if claimed and not any(each.is_pin_of(claim) for each in claimed):
        text = f"{claimed[0]} was claimed since the board started, the configuration names {claim}"
        yield yellow(NAME, text, "sudo systemctl restart face-unlock-lock face-unlock")


def check_pins(setup: Setup) -> Iterator[Finding]:
    """Say whether the board has the pins that the configuration names, and who may use them."""
    lock = setup.config.lock
    claim = claim_of(lock)
    chips = [Path(lock.chip)] if lock.is_gpiochip else sorted(setup.host.dev.glob("gpiochip*"))
    there = [chip for chip in chips if chip.exists()]
    if not there:
        what = lock.chip if lock.is_gpiochip else "any GPIO chip"
        advice = (
            "run it on the board; to try the program without one: face-unlock unlock --demo --camera CLIP"
        )
        yield red(NAME, f"this machine does not have {what}, which {claim} would be on", advice)
    elif not any(os.access(chip, os.R_OK | os.W_OK) for chip in there):
        yield unseen(NAME, f"{there[0]} is there, and this user may not use it")
    else:
        yield green(NAME, f"{claim} is driven by the door itself; its level is not touched here")


def _may_enter(folder: Path) -> bool:
    return os.access(folder, os.X_OK) or not os.path.lexists(folder)
