"""Relock: the pin that was claimed is locked after any death, whatever the configuration says by then."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import types

import pytest
from gpiozero.pins.mock import MockFactory

from device.config import Config, LockConfig
from device.errors import LockError
from device.lock import claim as claim_module
from device.lock.claim import Claim, ClaimFile, claim_of, recorded_claims
from device.lock.drivers import open_lock
from device.lock.front import LocalFront
from device.lock.relock import main
from device.lock.relock import relock as relock_claim
from scripts.stage.mock_pins import Trace
from tests.support.checkout import ROOT
from tests.support.lock_bench import Process

GPIO17 = Claim("gpiozero", "", 17, True)


@pytest.fixture
def pins():
    factory = MockFactory()
    yield factory
    factory.close()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(claim_module, "SERVICE_FOLDER", str(tmp_path / "service"))
    return tmp_path


# --- the command, after a claim


EDITS = {
    "a typo": "[lock]\npin = 'seventeen'\n",
    "no TOML": "[lock\n",
    "another pin": "[lock]\npin = 22\n",
    "the other level": "[lock]\npin = 17\nactive_high = false\n",
    "another driver": "[lock]\ndriver = 'gpiochip'\nline = 3\n",
    "no file": None,
}


@pytest.mark.parametrize("edit", EDITS)
def test_after_sigkill_the_claimed_pin_is_locked_whatever_the_configuration_says(tmp_path, edit):
    process = Process(tmp_path, "[lock]\npulse_s = 30\n")
    _recognizer = process.pulse()  # while it lives, nobody locks
    process.end(signal.SIGKILL)
    assert process.trace.level  # as a Raspberry Pi keeps it
    config = tmp_path / "config.toml"
    config.unlink() if EDITS[edit] is None else config.write_text(EDITS[edit])
    command = [sys.executable, str(ROOT / "scripts/stage/mock_pins.py"), str(tmp_path), "relock"]
    command += ["--relock", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "locked: GPIO17\n", "")
    assert process.levels() == [True, False]
    assert not len(Trace(tmp_path / "gpio22.trace"))


def test_the_next_start_locks_the_pin_of_an_earlier_configuration_first(tmp_path):
    process = Process(tmp_path, "[lock]\npulse_s = 30\n")
    _recognizer = process.pulse()  # while it lives, nobody locks
    process.end(signal.SIGKILL)
    again = Process(tmp_path, "[lock]\npin = 22\n")
    again.connect()[0].close()
    assert process.levels() == [True, False]
    assert json.loads((tmp_path / "claimed_pin.json").read_text())["line"] == 22
    again.end()
    assert json.loads((tmp_path / "claimed_pin.json").read_text())["held"] is False
    third = Process(tmp_path, "[lock]\npin = 17\n")
    third.connect()[0].close()
    third.end()
    assert not len(Trace(tmp_path / "gpio22.trace"))  # it was given back, and may be a switch's by now


@pytest.mark.parametrize("active_high", [True, False])
def test_the_next_start_with_the_same_pin_has_nothing_to_lock_first(tmp_path, pins, active_high):
    """Another level of the same pin, too: the claim itself drives it to locked."""
    ClaimFile(tmp_path).hold(GPIO17)
    settings = LockConfig(active_high=active_high)
    with open_lock(settings, pin_factory=pins, record=ClaimFile(tmp_path), warn=pytest.fail) as lock:
        assert lock.is_locked


def test_a_lock_process_that_cannot_claim_its_pin_leaves_the_record_alone(tmp_path, pins):
    record = ClaimFile(tmp_path)
    with open_lock(LockConfig(), pin_factory=pins, record=record):
        before = record.path.read_bytes()
        with pytest.raises(LockError, match="cannot be claimed"):
            open_lock(LockConfig(), pin_factory=pins, record=ClaimFile(tmp_path))
        assert record.path.read_bytes() == before


def test_the_program_without_a_lock_process_writes_its_pin_down_and_a_demo_does_not(tmp_path, pins):
    for is_door in (False, True):
        front = LocalFront(Config(), pin_factory=pins, is_door=is_door)
        assert (ClaimFile(tmp_path).read() == (GPIO17, True)) is is_door
        front.close()
    assert ClaimFile(tmp_path).read() == (GPIO17, False)


def test_relock_imports_little(tmp_path):
    """It was killed after 5 s on a slow board: no configuration, no TOML, no numpy."""
    ClaimFile(tmp_path).hold(GPIO17)
    code = "import sys; from gpiozero.pins.mock import MockFactory; import device.lock.relock as r; "
    code += "assert r.main(['--relock'], pin_factory=MockFactory()) == 0; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {
        "device.config",
        "tomllib",
        "numpy",
        "cv2",
        "sqlite3",
        "serial",
        "device.lock.server",
    }


def test_the_boards_own_pin_is_locked_by_lgpio_alone(monkeypatch):
    calls = []
    lgpio = types.SimpleNamespace(
        gpiochip_open=lambda chip: calls.append(("open", chip)) or 7,
        gpio_claim_output=lambda handle, line, level: calls.append(("claim", handle, line, level)),
        gpiochip_close=lambda handle: calls.append(("close", handle)),
    )
    monkeypatch.setitem(sys.modules, "lgpio", lgpio)
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    for active_high, level in ((True, 0), (False, 1)):
        calls.clear()
        relock_claim(Claim("gpiozero", "4", 17, active_high))
        assert calls == [("open", 4), ("claim", 7, 17, level), ("close", 7)]
    lgpio.gpio_claim_output = lambda *_: 1 / 0
    with pytest.raises(LockError, match=r"GPIO17: cannot be locked: .*gpioinfo"):
        relock_claim(Claim("gpiozero", "4", 17, True))
    assert calls[-1] == ("close", 7)


# --- the record


def test_a_record_counts_until_the_board_starts_anew(tmp_path, monkeypatch):
    ClaimFile(tmp_path).hold(GPIO17)
    assert ClaimFile(tmp_path).read() == (GPIO17, True)
    assert recorded_claims() == [GPIO17]
    monkeypatch.setattr(claim_module, "boot", lambda: "another")
    assert ClaimFile(tmp_path).read() is None
    assert recorded_claims() == []


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_record_that_others_can_write_does_not_count(tmp_path, what):
    """With a false record a relock would drive a pin to the level that opens."""
    record = ClaimFile(tmp_path)
    record.hold(GPIO17)
    assert stat.S_IMODE(record.path.stat().st_mode) == 0o600
    (record.path if what == "file" else tmp_path).chmod(0o777)
    assert record.read() is None
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "\ud800",
        '{"driver": "gpiozero"}',
        json.dumps({**GPIO17._asdict(), "line": "17", "held": True}),
        json.dumps({**GPIO17._asdict(), "active_high": 1, "held": True}),
    ],
)
def test_a_damaged_record_is_none(tmp_path, text):
    record = ClaimFile(tmp_path)
    if text.startswith("{") and "line" in text:
        text = json.dumps({**json.loads(text), "boot": claim_module.boot()})
    record.path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert record.read() is None


def test_a_record_that_cannot_be_written_is_told_and_keeps_no_door_shut(tmp_path, pins):
    (tmp_path / "file").write_text("")
    told = []
    record = ClaimFile(tmp_path / "file")
    with open_lock(LockConfig(), pin_factory=pins, record=record, warn=told.append) as lock:
        lock.unlock()
        assert pins.pin(17).state
    [text] = told
    assert "cannot be written down" in text


def test_both_drivers_write_what_relock_reads():
    assert claim_of(LockConfig(pin=22, active_high=False)) == Claim("gpiozero", "", 22, False)
    for driver in ("gpiochip", "jetson"):
        made = claim_of(LockConfig(driver=driver, chip="/dev/gpiochip1", line=3))
        assert made == Claim("gpiochip", "/dev/gpiochip1", 3, True)
        assert str(made) == "/dev/gpiochip1 line 3"


# --- the command, where nothing was claimed


def relock(tmp_path, toml, *, modules="pass", pins="None", **environment):
    """Run the command in a process where numpy and cv2 cannot be imported."""
    config = tmp_path / "config.toml"
    config.write_text(toml)
    absent = f"import sys; sys.modules.update(numpy=None, cv2=None); {modules}"
    code = f"{absent}; from gpiozero.pins.mock import MockFactory; from device.lock.relock import main; "
    code += f"sys.exit(main(pin_factory={pins}))"
    return subprocess.run(
        [sys.executable, "-c", code, "--relock", "--config", config],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_relock_needs_neither_numpy_nor_opencv(tmp_path):
    done = relock(tmp_path, "[lock]\npin = 22\n", pins="MockFactory()")
    assert (done.returncode, done.stdout, done.stderr) == (0, "locked: GPIO22\n", "")


def test_relock_that_drives_no_pin_says_so(tmp_path):
    done = relock(tmp_path, "[lock]\npin = 22\n", GPIOZERO_PIN_FACTORY="mock")
    assert (done.returncode, done.stdout) == (7, "")
    assert "drives no pin" in done.stderr


def test_relock_says_what_is_wrong(tmp_path):
    done = relock(tmp_path, "[lock]\npin = 'x'\n")
    assert done.returncode == 3
    assert "lock.pin" in done.stderr
    assert done.stderr.count("\n") == 1
    done = relock(
        tmp_path, "[lock]\n", modules="sys.modules['gpiozero.pins.lgpio'] = None", GPIOZERO_PIN_FACTORY=""
    )
    assert done.returncode == 7
    assert "python3-lgpio" in done.stderr
    assert done.stderr.count("\n") == 1


def test_relock_drives_the_pin_to_locked(tmp_path, pins, capsys):
    pin = pins.pin(17)
    pin.function, pin.state = "output", True  # as a killed process leaves it
    pin.clear_states()
    config = tmp_path / "config.toml"
    config.write_text("[lock]\npin = 17\n")
    assert main(["--relock", "--config", str(config)], pin_factory=pins) == 0
    assert "locked" in capsys.readouterr().out
    assert [state.state for state in pin.states] == [True, False]


def test_module_wants_to_be_told_what_to_do():
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
