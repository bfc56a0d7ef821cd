"""Which pins may hold a door."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from device.config import (
    Config,
    DoorConfig,
    KeypadConfig,
    LivenessConfig,
    LockConfig,
    PolicyConfig,
    StatusConfig,
)
from device.errors import ConfigError
from device.lock.wiring import BOOT_FILE, check_wiring

BOOT = """
# dtparam=spi=on
dtparam=audio=on
[all]
enable_uart=1
"""


def check(lock: LockConfig, door: DoorConfig, serial_port: str, boot_text: str) -> None:
    check_wiring(Config(lock=lock, door=door, status=StatusConfig(serial_port=serial_port)), boot_text)


@pytest.mark.parametrize(
    ("settings", "serial_port", "said"),
    [
        (LockConfig(), "/dev/ttyAMA0", None),
        (LockConfig(pin=14), "", None),
        (LockConfig(pin=15), "/dev/ttyUSB0", None),  # an adapter on USB leaves the header alone
        (LockConfig(pin=4, active_high=False), "", None),
        (LockConfig(pin=4, driver="jetson"), "/dev/ttyTHS1", None),  # the Jetson's lock has a line, no pin
        (LockConfig(pin=14), "/dev/ttyAMA0", "serial log"),
        (LockConfig(pin=15), "/dev/serial0", "serial log"),
        (LockConfig(pin=4), "", "GPIO4 is high at boot"),
        (LockConfig(pin=17, active_high=False), "", "GPIO17 is low at boot"),
        (LockConfig(pin=0, active_high=False), "", "finds cameras"),
    ],
)
def test_a_pin_that_opens_at_boot_or_carries_the_log_is_refused(settings, serial_port, said):
    if said is None:
        check(settings, DoorConfig(), serial_port, BOOT)
    else:
        with pytest.raises(ConfigError, match=said) as caught:
            check(settings, DoorConfig(), serial_port, BOOT)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("boot", "pin", "off"),
    [
        ("dtparam=spi=on\n", 10, "dtparam=spi=off"),
        ("dtparam=audio=on,spi=on\n", 10, "dtparam=spi=off"),
        ("dtparam=spi\n", 10, "dtparam=spi=off"),
        ("dtparam=i2s=on # amplifier\n", 21, "dtparam=i2s=off"),
        ("dtparam=spi=on\n", 17, None),
        ("dtparam=spi=on\ndtparam=spi=off\n", 10, None),
        ("#dtparam=spi=on\n", 10, None),
    ],
)
def test_a_pin_in_use_names_the_line_that_frees_it(boot, pin, off):
    if off is None:
        check(LockConfig(pin=pin), DoorConfig(), "", boot)
    else:
        with pytest.raises(ConfigError, match=re.escape(f"`{off}` in {BOOT_FILE}")):
            check(LockConfig(pin=pin), DoorConfig(), "", boot)
        check(LockConfig(pin=pin), DoorConfig(), "", f"{boot}{off}\n")  # and that line mends it


@pytest.mark.parametrize(
    ("boot", "pin"),
    [("dtparam=i2c_arm=on\n", 3), ("dtoverlay=w1-gpio\n", 4), ("dtoverlay=w1-gpio,pullup=1\n", 4)],
)
def test_a_switch_in_use(boot, pin):
    with pytest.raises(ConfigError, match=rf"door\.exit_pin: GPIO{pin} is in use"):
        check(LockConfig(), DoorConfig(exit_pin=pin), "", boot)
    check(LockConfig(), DoorConfig(exit_pin=pin), "", "")  # an input may be high at boot


@pytest.mark.parametrize("boots_high", [True, False])
def test_the_advice_of_a_refusal_is_taken(boots_high):
    wrong = LockConfig(pin=4 if boots_high else 17, active_high=boots_high)
    with pytest.raises(ConfigError) as caught:
        check(wrong, DoorConfig(), "", "")
    pin, level = re.search(r"`gpio=(\d+)=op,d([lh])`", str(caught.value)).groups()
    assert (level == "l") == boots_high
    check(LockConfig(pin=int(pin), active_high=boots_high), DoorConfig(), "", "")


def test_two_names_for_one_pin():
    with pytest.raises(ConfigError, match=r"door\.contact_pin: GPIO17 has two uses, it is lock\.pin too"):
        check(LockConfig(), DoorConfig(contact_pin=17), "", "")
    with pytest.raises(ConfigError, match=r"door\.alarm_pin: GPIO22 has two uses, it is door\.exit_pin too"):
        check(LockConfig(), DoorConfig(exit_pin=22, alarm_pin=22), "", "")
    with pytest.raises(ConfigError, match=r"door\.tamper_pin: GPIO15 carries the serial log"):
        check(LockConfig(), DoorConfig(tamper_pin=15), "/dev/serial0", "")


def test_switches_on_a_jetson_are_refused():
    with pytest.raises(ConfigError, match=r"door\.exit_pin"):
        check(LockConfig(driver="jetson"), DoorConfig(exit_pin=22), "", "")


KINDS = {
    "lock.pin": lambda pin: Config(lock=LockConfig(pin=pin)),
    "door.tamper_pin": lambda pin: Config(door=DoorConfig(tamper_pin=pin)),
    "door.alarm_pin": lambda pin: Config(door=DoorConfig(alarm_pin=pin)),
    "liveness.buzzer_pin": lambda pin: Config(liveness=LivenessConfig(buzzer_pin=pin)),
    "liveness.led_pin": lambda pin: Config(liveness=LivenessConfig(led_pin=pin)),
    "policy.alarm_pin": lambda pin: Config(policy=PolicyConfig(alarm_pin=pin)),
    "keypad.rows": lambda pin: Config(keypad=KeypadConfig(rows=f"{pin},22,23,24", columns="25,26,27")),
    "keypad.columns": lambda pin: Config(keypad=KeypadConfig(rows="22,23,24,25", columns=f"26,27,{pin}")),
}


@pytest.mark.parametrize("key", KINDS)
def test_every_pin_of_every_kind_is_checked(key):
    boot = "dtparam=spi=on,i2c_arm=on\n"
    for pin, said in ((10, "in use by SPI"), (1, "finds cameras|is high at boot"), (14, "serial log")):
        config = replace(KINDS[key](pin), status=StatusConfig(serial_port="/dev/serial0"))
        with pytest.raises(ConfigError, match=rf"{key}: GPIO{pin} .*{said}"):
            check_wiring(config, boot)
    check_wiring(KINDS[key](18), boot)
    if key != "lock.pin":
        with pytest.raises(ConfigError, match=rf"{key}: GPIO2 is in use by I2C"):
            check_wiring(KINDS[key](2), boot)
        with pytest.raises(ConfigError, match="GPIO17 has two uses"):
            check_wiring(KINDS[key](17), "")
        for driver in ("gpiochip", "jetson"):
            with pytest.raises(ConfigError, match=r'expected lock\.driver = "gpiozero"'):
                check_wiring(replace(KINDS[key](18), lock=LockConfig(driver=driver)), "")


def test_the_serial_keypads_port_has_its_pins_too():
    keypad = KeypadConfig(serial_port="/dev/serial0")
    with pytest.raises(ConfigError, match=r"lock\.pin: GPIO15 carries the serial keypad on /dev/serial0"):
        check_wiring(Config(lock=LockConfig(pin=15), keypad=keypad), "")


@pytest.mark.parametrize("pin", range(2, 28))
def test_each_pin_of_a_bus_that_is_on_is_refused_and_no_other(pin):
    boot = "dtparam=spi=on,i2c_arm=on,i2s=on\ndtoverlay=w1-gpio\n"
    config = Config(
        lock=LockConfig(pin=5, active_high=False), door=DoorConfig(exit_pin=pin if pin != 5 else 6)
    )
    if pin in {2, 3, 4, 7, 8, 9, 10, 11, 18, 19, 20, 21}:
        with pytest.raises(ConfigError, match=rf"door\.exit_pin: GPIO{pin} is in use by"):
            check_wiring(config, boot)
    else:
        check_wiring(config, boot)


@pytest.mark.parametrize("pin", range(28))
def test_a_relay_is_on_the_side_that_its_pin_has_at_boot(pin):
    """GPIO0 to 8 wake up high, 9 to 27 low."""
    for active_high in (True, False):
        opens = (pin <= 8) == active_high
        said = "at boot, which unlocks" if opens else "finds cameras"
        if opens or pin <= 1:
            with pytest.raises(ConfigError, match=said):
                check_wiring(Config(lock=LockConfig(pin=pin, active_high=active_high)), "")
        else:
            check_wiring(Config(lock=LockConfig(pin=pin, active_high=active_high)), "")
