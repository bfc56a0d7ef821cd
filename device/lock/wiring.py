"""Which of a Raspberry Pi's pins may hold a door, told before one is claimed; pure: the text of config.txt comes in.

GPIO0 to 8 are high from power-on, 9 to 27 low: a relay on the wrong side opens the door with each power cut.
No line of config.txt mends that, for it is read seconds later; `gpio=17=op,dl` only keeps a good pin low
from the firmware on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from device.config import DoorConfig, LockConfig
from device.errors import ConfigError

HIGH_AT_BOOT = range(9)  # GPIO0-8 of a Raspberry Pi wake up with a pull-up, GPIO9-27 with a pull-down
CAMERA_PINS = (0, 1)  # the bus by which firmware asks cameras, displays and HATs who they are
UART_PINS = (14, 15)  # GPIO14 and 15 carry the serial log
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


def check_pins(lock: LockConfig, door: DoorConfig, serial_port: str, boot_text: str) -> None:
    """Refuse pins that open the door at boot, belong to something else, or are named twice.

    Args:
        serial_port: `status.serial_port`.
        boot_text: what stands in the board's config.txt; empty where there is none.
    """
    named = {key: pin for key, pin in door_pins(door).items() if pin >= 0}
    if lock.driver != "gpiozero":
        if named:
            raise ConfigError(
                f'{next(iter(named))}: expected lock.driver = "gpiozero", received "{lock.driver}": '
                "switches and alarm are read on a Raspberry Pi only: set it to -1"
            )
        return
    check_level_at_boot(lock)
    taken: dict[int, str] = {}
    for key, pin in {"lock.pin": lock.pin, **named}.items():
        if pin in taken:
            raise ConfigError(f"{key}: GPIO{pin} is {taken[pin]} already: choose another pin")
        taken[pin] = key
        _check_free(key, pin, serial_port, boot_text)


def door_pins(door: DoorConfig) -> dict[str, int]:
    """Map each key of a switch or the alarm to its pin; -1: none."""
    keys = ("contact_pin", "bolt_pin", "exit_pin", "tamper_pin", "alarm_pin")
    return {f"door.{key}": getattr(door, key) for key in keys}


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


def _check_free(key: str, pin: int, serial_port: str, boot_text: str) -> None:
    on_board = serial_port and not serial_port.startswith(("/dev/ttyUSB", "/dev/ttyACM"))
    if on_board and pin in UART_PINS:
        raise ConfigError(
            f"{key}: GPIO{pin} carries the serial log on {serial_port}: choose another pin, such as 17, "
            f'or set status.serial_port = "" and `enable_uart=0` in {BOOT_FILE}'
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
