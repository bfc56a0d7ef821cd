"""The checks of `face-unlock doctor`, each on a machine that a test makes up: what is said, and in which light."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device.access.selftest import SelfTest, SpeciesCount
from device.config import Config, LivenessConfig, LockConfig, StatusConfig
from device.doctor.checks import board, bolt, challenge, configuration, disk, eye, serial, services, visits
from device.doctor.examination import CHECKS, Setup, examine, run_apart
from device.doctor.finding import Finding, Light
from device.errors import ConfigError
from device.health import BoardState
from device.lock import drivers
from device.types import Frame
from tests.support.machines.doctors_host import RUNNING, STOPPED, MadeUpHost

GREEN, YELLOW, RED = Light.GREEN, Light.YELLOW, Light.RED


@pytest.fixture
def setup(machine: MadeUpHost, tmp_path: Path) -> Setup:
    return Setup(Config(gallery=str(tmp_path / "gallery.db")), "no file", machine.host)


def lights(findings: list[Finding]) -> list[Light]:
    return [each.light for each in findings]


def test_whatever_is_not_green_says_what_to_do(setup, machine):
    machine.answers("systemctl", STOPPED)
    for module in (configuration, services, bolt, serial, disk, visits):
        for finding in module.check(setup):
            assert bool(finding.advice) == (finding.light is not GREEN), finding


def test_the_configuration_names_what_it_changes_and_what_this_board_cannot_do(setup):
    assert [each.text for each in configuration.check(setup)] == ["no file: sets gallery"]
    wrong = replace(setup.config, lock=LockConfig(pin=5), liveness=LivenessConfig(mode="off"))
    found = list(configuration.check(replace(setup, config=wrong)))
    assert lights(found) == [GREEN, RED, RED]
    assert "GPIO5 is high at boot" in found[1].text
    assert "a photograph opens the door" in found[2].text


@pytest.mark.parametrize(
    ("state", "light", "said"),
    [
        (RUNNING, GREEN, "face-unlock runs"),
        (RUNNING.replace("enabled", "disabled"), YELLOW, "not after the next start"),
        (RUNNING.replace("NRestarts=0", "NRestarts=7"), YELLOW, "had to be started again 7 times"),
        (STOPPED, RED, "face-unlock does not run (failed, its last exit code was 5)"),
        (
            "LoadState=loaded\nActiveState=inactive\nConditionResult=no\n",
            RED,
            "waits until somebody is enrolled",
        ),
    ],
)
def test_a_service_is_said_to_run_or_why_not(setup, machine, state, light, said):
    machine.answers("systemctl", state)
    found = list(services.check(setup))
    assert lights(found) == [light, light]
    assert said in found[1].text


@pytest.mark.parametrize(
    ("load_state", "says", "cure"),
    [
        ("masked", "is masked", "systemctl unmask face-unlock"),
        ("bad-setting", "systemd does not take its unit (bad-setting)", "systemd-analyze verify"),
        ("error", "systemd does not take its unit (error)", "systemd-analyze verify"),
    ],
)
def test_a_unit_that_systemd_does_not_take_is_not_called_one_that_was_never_installed(
    setup, machine, load_state, says, cure
):
    """A typo in a drop-in, or a mask: to install again would change nothing."""
    machine.answers("systemctl", f"LoadState={load_state}\nActiveState=inactive\n")
    found = list(services.check(setup))
    assert lights(found) == [RED, RED]
    assert says in found[1].text
    assert cure in found[1].advice
    assert services.is_installed(machine.host)


@pytest.mark.parametrize("answer", ["", "LoadState=not-found\nActiveState=inactive\n"])
def test_a_unit_that_systemd_does_not_know_is_not_installed(setup, machine, answer):
    machine.answers("systemctl", answer)
    assert not services.is_installed(machine.host)
    assert "not installed as a service" in next(services.check(setup)).text


def test_without_services_a_door_that_runs_by_hand_is_found(setup, machine):
    assert "no door runs" in next(services.check(setup)).text
    machine.runs(812, "/usr/bin/python3", "unlock.py", "--config", "x")
    machine.runs(813, "/usr/bin/vim", "unlock.py")
    assert "a door runs by hand (process 812)" in next(services.check(setup)).text


@pytest.mark.parametrize("listens", [True, False])
def test_the_lock_process_is_looked_for_and_never_spoken_to(setup, tmp_path, listens, machine):
    address = tmp_path / "bolt.sock"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as listener:
        listener.bind(str(address))
        if listens:
            listener.listen(1)
        listener.setblocking(False)
        host = replace(machine.host, proc=Path("/proc"))
        there = replace(setup, host=host, config=replace(setup.config, lock=LockConfig(socket=str(address))))
        finding = next(bolt.check(there))
        if listens:
            assert (finding.light, finding.text) == (
                GREEN,
                "the lock process holds GPIO17; no door is connected",
            )
            with pytest.raises(BlockingIOError):
                listener.accept()
        else:
            assert finding.light is RED
            assert "nobody listens" in finding.text


def test_a_socket_that_is_not_there_is_a_lock_process_that_is_gone(setup, tmp_path):
    gone = replace(setup, config=replace(setup.config, lock=LockConfig(socket=str(tmp_path / "none"))))
    assert [each.light for each in bolt.check(gone)] == [RED]


def test_pins_are_looked_at_and_never_claimed(setup, machine, monkeypatch):
    def claim(*_: object, **__: object) -> None:
        raise AssertionError("a pin was claimed")

    monkeypatch.setattr(drivers, "open_factory", claim)
    monkeypatch.setattr(drivers, "open_lock", claim)
    assert lights(list(bolt.check(setup))) == [RED]
    (machine.folder / "dev/gpiochip0").touch()
    assert lights(list(bolt.check(setup))) == [GREEN]


def test_a_camera_that_the_door_has_is_left_to_it_and_said_to_be_in_use(setup, machine, monkeypatch):
    monkeypatch.setattr(eye, "build_camera", lambda config: pytest.fail("the camera was opened"))
    machine.runs(812, "python", "/opt/face-unlock/unlock.py")
    found = list(eye.check(setup))
    assert lights(found) == [GREEN]
    assert "in use by the door (process 812)" in found[0].text
    machine.journal("07:12:31 heartbeat: frames 9, fps 14.5, is locked true, camera lost false")
    assert "14.5 frames a second" in next(eye.check(setup)).text
    machine.journal("07:12:31 heartbeat: frames 9, fps 0.0, is locked true, camera lost true")
    assert next(eye.check(setup)).light is RED


def test_a_door_before_another_camera_does_not_have_this_one(setup, machine):
    config = replace(setup.config, camera=replace(setup.config.camera, source="/dev/video99"))
    machine.runs(812, "python", "unlock.py", "--demo", "--camera", "clip.mp4")
    machine.runs(813, "python", "unlock.py", "--camera=rtsp://192.0.2.7/x")
    assert "in use by the door" not in next(eye.check(replace(setup, config=config))).text
    machine.runs(814, "python", "unlock.py", "--camera", "/dev/video99")
    assert "in use by the door (process 814)" in next(eye.check(replace(setup, config=config))).text


def test_a_camera_that_another_program_has_names_that_program(setup, machine):
    device = machine.folder / "dev/video7"
    machine.runs(99, "/usr/bin/cheese", devices=(device,))
    config = replace(setup.config, camera=replace(setup.config.camera, source=7))
    finding = next(eye.check(replace(setup, config=config)))
    assert finding.light is RED
    assert "cheese (process 99) has it open" in finding.text


def frames(*images: np.ndarray, fps: float = 15.0) -> list[Frame]:
    return [Frame(image, i / fps, i) for i, image in enumerate(images)]


def test_pictures_are_judged_by_size_rate_and_light():
    noise = np.random.default_rng(0)
    lively = [noise.integers(0, 255, (480, 640, 3), np.uint8) for _ in range(10)]
    assert eye.judge_stream(frames(*lively), 640, 480, 0).text == "640x480, 15.0 frames a second"
    assert eye.judge_stream(frames(*lively, fps=4.0), 640, 480, 0).light is YELLOW
    assert "800x600 was asked for" in eye.judge_stream(frames(*lively), 800, 600, 0).text
    same = eye.judge_stream(frames(*[lively[0]] * 10), 640, 480, 0)
    assert (same.light, "same picture" in same.text) == (RED, True)
    assert eye.judge_light(frames(*lively), 15.0).light is GREEN
    assert eye.judge_light(frames(*[image // 20 for image in lively]), 0.0).light is YELLOW
    covered = eye.judge_light(frames(np.full((480, 640, 3), 90, np.uint8)), 15.0)
    assert (covered.light, "detail 0.0, needs 15" in covered.text) == (RED, True)


PASSED = SelfTest(
    "2026-11-01T10:00:00Z",
    "pad-1",
    "m",
    tuple(SpeciesCount(each, 36, 0) for each in ("print", "phone", "tablet", "live")),
)


def test_the_self_test_is_read_with_its_day_and_its_network():
    assert challenge.judge_verdict(PASSED, "pad-1").light is GREEN
    assert "another liveness network" in challenge.judge_verdict(PASSED, "pad-2").text
    assert challenge.judge_verdict(None, "pad-1").light is YELLOW
    failed = replace(PASSED, counts=PASSED.counts[1:])
    assert "not passed" in challenge.judge_verdict(failed, "pad-1").text


@pytest.mark.parametrize(
    ("mode", "pins", "installed", "light"),
    [
        ("passive", {}, True, GREEN),
        ("always", {"buzzer_pin": 22}, True, GREEN),
        ("always", {}, True, RED),
        ("challenge", {}, True, YELLOW),
        ("always", {}, False, YELLOW),
    ],
)
def test_a_challenge_that_nobody_can_hear_is_said(mode, pins, installed, light):
    ways = challenge.ways_to_tell(Config(liveness=LivenessConfig(**pins)))
    finding = challenge.judge_signs(mode, ways, installed=installed)
    assert finding.light is light
    if light is RED:
        assert "nobody at the door can hear or see what is asked" in finding.text
        assert "everybody is asked" in finding.text


def test_a_serial_port_is_there_or_it_is_said_that_it_is_not(setup, tmp_path):
    assert lights(list(serial.check(setup))) == [GREEN]
    main, port = os.openpty()
    try:
        with_port = replace(setup.config, status=StatusConfig(serial_port=os.ttyname(port)))
        assert lights(list(serial.check(replace(setup, config=with_port)))) == [GREEN]
    finally:
        os.close(main)
        os.close(port)
    for path in (tmp_path / "none", tmp_path):
        gone = replace(setup.config, status=StatusConfig(serial_port=str(path)))
        assert lights(list(serial.check(replace(setup, config=gone)))) == [YELLOW]


def test_a_pipe_in_the_place_of_a_serial_port_holds_nobody_up(setup, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    piped = replace(setup.config, status=StatusConfig(serial_port=str(tmp_path / "pipe")))
    assert lights(list(serial.check(replace(setup, config=piped)))) == [YELLOW]


def test_a_full_disk_keeps_people_out_where_each_entry_must_be_recorded(tmp_path):
    def state(free_mb: float, flags: int = 0) -> os.statvfs_result:
        blocks = int(free_mb * 1000)
        return os.statvfs_result((1000, 1000, blocks, blocks, blocks, 9, 9, 9, flags, 255))

    assert disk.judge(tmp_path, state(900), required=True).light is GREEN
    assert disk.judge(tmp_path, state(50), required=True).light is YELLOW
    assert disk.judge(tmp_path, state(1), required=True).light is RED
    assert disk.judge(tmp_path, state(1), required=False).light is YELLOW
    assert "read-only" in disk.judge(tmp_path, state(900, os.ST_RDONLY), required=False).text


def test_a_board_says_its_trouble():
    assert board.judge(BoardState(None, False, False), 80).light is GREEN
    assert "too weak" in board.judge(BoardState(50.0, True, True), 80).text
    assert "clock down" in board.judge(BoardState(50.0, True, False), 80).text
    assert "hot from 80 C on" in board.judge(BoardState(84.0, False, False), 80).text


def test_the_last_visits_are_the_lines_of_the_journal_green_where_the_door_opened(setup, machine):
    machine.answers("systemctl", RUNNING)
    machine.journal(
        "07:12:31 approach: alice, challenge, stage asked, took s 15.1",
        '{"event": "approach", "subject_id": "bob", "reason": "granted", "stage": "opened"}',
        "07:13:00 warning: nothing of an approach",
        at_s=1_764_300_000.0,
    )
    found = list(visits.check(setup))
    assert lights(found) == [YELLOW, GREEN]
    assert found[0].text == "alice, challenge, stage asked, took s 15.1"
    assert found[0].at == "2025-11-28T03:20:00Z"
    assert found[1].text.startswith("bob, granted")


def test_who_may_not_read_the_journal_is_told_so(setup, machine):
    machine.answers("systemctl", RUNNING)
    machine.has_no("journalctl")
    finding = next(visits.check(setup))
    assert (finding.light, finding.advice) == (YELLOW, "run it with sudo to see it")


def test_a_fault_that_nobody_thought_of_is_a_finding_and_ends_nothing(setup, monkeypatch):
    def broken() -> Config:
        raise RuntimeError("two\nlines")

    found = list(examine("disk", broken, "no file", setup.host))
    assert (found[0].light, "RuntimeError: two lines" in found[0].text) == (RED, True)
    monkeypatch.setattr(disk, "judge", lambda *_, **__: 1 / 0)
    found = list(examine("disk", lambda: setup.config, "no file", setup.host))
    assert "ZeroDivisionError" in found[0].text
    monkeypatch.setattr(disk, "check", lambda setup: (_ for _ in ()).throw(ModuleNotFoundError("No cv2")))
    found = list(examine("disk", lambda: setup.config, "no file", setup.host))
    assert (found[0].light, "No cv2" in found[0].text) == (RED, True)


def test_a_broken_configuration_is_one_finding_and_what_needs_none_goes_on(setup):
    def broken() -> Config:
        raise ConfigError("x.toml: lock.pin: expected 0 to 27, received 99: change it")

    found = {name: list(examine(name, broken, "x.toml", setup.host)) for name in CHECKS}
    assert [name for name, each in found.items() if each] == ["configuration", "services", "board"]
    assert found["configuration"][0].advice == "change it"
    alone = list(examine("disk", broken, "x.toml", setup.host, alone=True))
    assert [(each.name, each.light) for each in alone] == [("configuration", RED)]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("kill -ILL $$", "was ended by SIGILL"),
        ("echo nonsense", "the check cannot run"),
        ("echo '{}'", "the check cannot run"),
        ("echo oh no >&2; exit 4", "the check cannot run: oh no"),
        ("sleep 60", "gave no answer for 0.5 s"),
    ],
)
def test_a_check_that_dies_hangs_or_talks_nonsense_is_a_finding(command, said, monkeypatch):
    monkeypatch.setattr("device.doctor.examination.PATIENCE_S", 0.5)
    found = list(run_apart("networks", ["/bin/sh", "-c", command]))
    assert lights(found) == [RED]
    assert said in found[0].text
