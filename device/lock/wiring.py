"""Which of a Raspberry Pi's pins a door may use, told before one is claimed: one check for all of them.

Pure: the text of config.txt comes in.

GPIO0 to 8 are high from power-on, 9 to 27 low: a relay on the wrong side opens the door with each power cut.
No line of config.txt mends that, for it is read seconds later; `gpio=17=op,dl` only keeps a good pin low
from the firmware on.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from device.config import Config, LockConfig, check_pins_once, pins_in_use
from device.errors import ConfigError

HIGH_AT_BOOT = range(9)  # GPIO0-8 of a Raspberry Pi wake up with a pull-up, GPIO9-27 with a pull-down
CAMERA_PINS = (0, 1)  # the bus by which firmware asks cameras, displays and HATs who they are
UART_PINS = (14, 15)  # the board's serial port
BOOT_FILE = "/boot/firmware/config.txt"


@dataclass(frozen=True, slots=True)
class Bus:
    """A use of pins that config.txt turns on; `off` is the line that gives them back."""

    name: str
    pins: tuple[int, ...]
    on: str
    off: str


BUSES = (
    Bus("SPI", (7, 8, 9, 10, 11), r"dtparam=spi(=on)?", "dtparam=spi=off"),
    Bus("I2C", (2, 3), r"dtparam=i2c(_arm)?(=on)?", "dtparam=i2c_arm=off"),
    Bus("I2S", (18, 19, 20, 21), r"dtparam=i2s(=on)?", "dtparam=i2s=off"),
    Bus("1-Wire", (4,), r"dtoverlay=w1-gpio", "# dtoverlay=w1-gpio"),
)


def check_wiring(config: Config, boot_text: str) -> None:
    """Refuse pins that open the door at boot, belong to something else, or are named twice: every pin of every kind.

    Args:
        boot_text: what stands in the board's config.txt; empty where there is none.
    """
    uses = pins_in_use(config)
    if config.lock.is_gpiochip:
        for key, _ in uses:
            raise ConfigError(
                f'{key}: expected lock.driver = "gpiozero", received "{config.lock.driver}": switches, keypads, '
                "buzzers, LEDs and alarms work on a Raspberry Pi's pins only: remove the line"
            )
        return
    check_level_at_boot(config.lock)
    check_pins_once(uses, "")
    for key, pin in uses:
        _check_free(key, pin, config, boot_text)


def board_text() -> str:
    """Return the Raspberry Pi's config.txt, empty where there is none or it may not be read."""
    with contextlib.suppress(OSError):
        return Path(BOOT_FILE).read_text(encoding="utf-8", errors="replace")
    return ""


def check_level_at_boot(lock: LockConfig) -> None:
    pin, high_at_boot = lock.pin, lock.pin in HIGH_AT_BOOT
    if high_at_boot != lock.active_high:
        return
    level, kind = ("high", "active-high") if high_at_boot else ("low", "active-low")
    choice = "GPIO9 to 27" if high_at_boot else "GPIO2 to 8, or an active-high relay"
    drive = "gpio=17=op,dl" if high_at_boot else "gpio=4=op,dh"
    raise ConfigError(
        f"lock.pin: GPIO{pin} is {level} at boot, which unlocks an {kind} relay: choose {choice}, "
        f"and add `{drive}` with that pin to {BOOT_FILE}"
    )


def _check_free(key: str, pin: int, config: Config, boot_text: str) -> None:
    ports = {"status": config.status.serial_port, "keypad": config.keypad.serial_port}
    for section, port in ports.items():
        if pin in UART_PINS and port and not port.startswith(("/dev/ttyUSB", "/dev/ttyACM")):
            what = "serial log" if section == "status" else "serial keypad"
            raise ConfigError(
                f"{key}: GPIO{pin} carries the {what} on {port}: choose another pin, such as 17, "
                f'or set {section}.serial_port = "" and `enable_uart=0` in {BOOT_FILE}'
            )
    if pin in CAMERA_PINS:
        raise ConfigError(
            f"{key}: GPIO{pin} is of the bus that finds cameras and HATs: choose another pin, such as 17"
        )
    for bus in BUSES:
        if pin in bus.pins and _is_on(bus, boot_text):
            raise ConfigError(
                f"{key}: GPIO{pin} is in use by {bus.name}: choose another pin, such as 17, "
                f"or change the line to `{bus.off}` in {BOOT_FILE} and start the board anew"
            )


def _is_on(bus: Bus, boot_text: str) -> bool:
    """Say whether a line turns the bus on and no later one turns it off again."""
    on = False
    for line in _settings(boot_text):
        if re.fullmatch(bus.on, line.split(",")[0]):
            on = True
        elif line == bus.off:
            on = False
    return on


def _settings(boot_text: str) -> list[str]:
    """List the settings of a config.txt, those of `dtparam=spi=on,i2c_arm=on` one by one."""
    found = []
    for line in boot_text.splitlines():
        text = line.split("#")[0].replace(" ", "").strip()
        head, _, rest = text.partition("=")
        found += [f"dtparam={each}" for each in rest.split(",")] if head == "dtparam" else [text]
    return found
