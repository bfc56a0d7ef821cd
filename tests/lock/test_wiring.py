"""Which pins may hold a door."""

from __future__ import annotations

import re

import pytest

from device.config import DoorConfig, LockConfig
from device.errors import ConfigError
from device.lock.wiring import BOOT_FILE, check_pins

NO_SWITCH = DoorConfig()
BOOT = """
# dtparam=spi=on
dtparam=audio=on
[all]
enable_uart=1
"""


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
        check_pins(settings, NO_SWITCH, serial_port, BOOT)
    else:
        with pytest.raises(ConfigError, match=said) as caught:
            check_pins(settings, NO_SWITCH, serial_port, BOOT)
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
        check_pins(LockConfig(pin=pin), NO_SWITCH, "", boot)
    else:
        with pytest.raises(ConfigError, match=re.escape(f"`{off}` in {BOOT_FILE}")):
            check_pins(LockConfig(pin=pin), NO_SWITCH, "", boot)
        check_pins(LockConfig(pin=pin), NO_SWITCH, "", f"{boot}{off}\n")  # and that line mends it


@pytest.mark.parametrize(
    ("boot", "pin"),
    [("dtparam=i2c_arm=on\n", 3), ("dtoverlay=w1-gpio\n", 4), ("dtoverlay=w1-gpio,pullup=1\n", 4)],
)
def test_a_switch_in_use(boot, pin):
    with pytest.raises(ConfigError, match=rf"door\.exit_pin: GPIO{pin} is in use"):
        check_pins(LockConfig(), DoorConfig(exit_pin=pin), "", boot)
    check_pins(LockConfig(), DoorConfig(exit_pin=pin), "", "")  # an input may be high at boot


@pytest.mark.parametrize("boots_high", [True, False])
def test_the_advice_of_a_refusal_is_taken(boots_high):
    wrong = LockConfig(pin=4 if boots_high else 17, active_high=boots_high)
    with pytest.raises(ConfigError) as caught:
        check_pins(wrong, NO_SWITCH, "", "")
    pin, level = re.search(r"`gpio=(\d+)=op,d([lh])`", str(caught.value)).groups()
    assert (level == "l") == boots_high
    check_pins(LockConfig(pin=int(pin), active_high=boots_high), NO_SWITCH, "", "")


def test_two_names_for_one_pin():
    with pytest.raises(ConfigError, match=r"door\.contact_pin: GPIO17 is lock\.pin already"):
        check_pins(LockConfig(), DoorConfig(contact_pin=17), "", "")
    with pytest.raises(ConfigError, match=r"door\.alarm_pin: GPIO22 is door\.exit_pin already"):
        check_pins(LockConfig(), DoorConfig(exit_pin=22, alarm_pin=22), "", "")
    with pytest.raises(ConfigError, match=r"door\.tamper_pin: GPIO15 carries the serial log"):
        check_pins(LockConfig(), DoorConfig(tamper_pin=15), "/dev/serial0", "")


def test_switches_on_a_jetson_are_refused():
    with pytest.raises(ConfigError, match=r"door\.exit_pin"):
        check_pins(LockConfig(driver="jetson"), DoorConfig(exit_pin=22), "", "")
