"""The serial ports: of the status lines and of a keypad."""

from __future__ import annotations

import os
from collections.abc import Iterator

from device.doctor.examination import Setup, unseen
from device.doctor.finding import Finding, green, yellow

NAME = "serial"


def check(setup: Setup) -> Iterator[Finding]:
    """Say whether each configured port is there; no byte is sent or taken."""
    config = setup.config
    ports = {"status": config.status.serial_port, "keypad": config.keypad.serial_port}
    used = {section: port for section, port in ports.items() if port}
    if not used:
        yield green(NAME, "no port is configured")
    for section, port in used.items():
        yield judge(section, port)


def judge(section: str, port: str) -> Finding:
    """Return the finding of one port; the door works without it."""
    says = f"{port}, the {'status lines' if section == 'status' else 'keypad'}"
    try:
        descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return unseen(NAME, f"{says}: this user may not open it")
    except BlockingIOError:
        return green(NAME, f"{says}: in use")
    except OSError as error:
        if "busy" in str(error.strerror).lower():  # the door has it for itself
            return green(NAME, f"{says}: in use")
        lacks = f"{says}: {error.strerror}"
        return yellow(NAME, lacks, f"check the cable; enable_uart=1; or set {section}.serial_port")
    try:
        if os.isatty(descriptor):
            return green(NAME, f"{says}: there")
        return yellow(
            NAME, f"{says}: is no serial port", f"set {section}.serial_port to one, as /dev/serial0"
        )
    finally:
        os.close(descriptor)
