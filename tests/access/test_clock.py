"""A clock that is set while the door runs: what is believed, told, and done at the door."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from gpiozero.pins.mock import MockFactory

from device import pipeline
from device.access.clock import JUMP_S, Clock, local_zone
from device.build import build_door
from device.config import Config, PolicyConfig
from device.decide.backoff_file import BackoffFile
from device.decide.refusals import Refusals
from device.journal.audit import Audit
from device.journal.verify import read_lines, verify
from device.types import Reason
from tests.support.doors.admitting import KEYS, NOW, Door
from tests.support.doors.staged import reasons
from tests.support.kept import kept_alone

HOUR_S, YEAR_S = 3600.0, 365 * 86400.0
JUMPS = [HOUR_S, -HOUR_S, 12 * HOUR_S, YEAR_S, -10 * YEAR_S, 30 * YEAR_S]


class Time:
    """A wall clock that can be set, a boot clock that cannot, and a time server's mark."""

    def __init__(self, folder: Path) -> None:
        self.wall_s, self.steady_s, self.mark = NOW.timestamp(), 500.0, folder / "synchronized"
        self.rtcs, self.zone = folder / "rtc", "Europe/Berlin"
        self.clock = self.start()

    def start(self, *, require_sync: bool = False) -> Clock:
        return Clock(
            require_sync,
            wall_s=lambda: self.wall_s,
            steady_s=lambda: self.steady_s,
            synchronized=self.mark,
            rtcs=self.rtcs,
            zone=lambda: self.zone,
        )

    def pass_s(self, seconds: float) -> None:
        self.wall_s += seconds
        self.steady_s += seconds

    def answer(self) -> None:
        """Let a time server set the clock right: then it touches its file."""
        self.wall_s = NOW.timestamp() + self.steady_s - 500.0
        self.mark.touch()
        os.utime(self.mark, (self.wall_s, self.wall_s))

    def show_rtc(self, at_s: float | str) -> None:
        """Let the kernel show what a battery-backed clock says."""
        (self.rtcs / "rtc0").mkdir(parents=True, exist_ok=True)
        (self.rtcs / "rtc0" / "since_epoch").write_text(f"{at_s if isinstance(at_s, str) else int(at_s)}\n")

    def told(self) -> list[tuple[str, float | None]]:
        return [(name, fields.get("jump_s")) for name, fields in self.clock.news()]


@pytest.fixture
def at(tmp_path: Path) -> Time:
    return Time(tmp_path)


def test_a_clock_that_goes_on_is_believed_and_tells_nothing(at: Time) -> None:
    for _ in range(100):
        at.pass_s(HOUR_S)  # asleep, too: the boot clock goes on
        assert at.told() == []
        assert at.clock.now() == datetime.fromtimestamp(at.wall_s, timezone.utc)


@pytest.mark.parametrize("jump_s", JUMPS)
def test_a_jump_is_told_once_and_not_believed_until_a_time_server_answers(at: Time, jump_s: float) -> None:
    at.wall_s += jump_s
    assert at.clock.now() is None  # before anybody asked for news
    assert at.told() == [("clock_jumped", pytest.approx(jump_s))]
    at.pass_s(3 * HOUR_S)
    assert at.told() == []
    assert at.clock.now() is None
    at.answer()
    assert at.told() == [("clock_jumped", pytest.approx(-jump_s)), ("clock_ok", None)]
    assert at.clock.now() == datetime.fromtimestamp(at.wall_s, timezone.utc)


def test_the_answer_of_before_the_jump_confirms_nothing(at: Time) -> None:
    at.answer()
    assert at.told() == []
    at.wall_s -= HOUR_S
    assert at.told() == [("clock_jumped", -HOUR_S)]
    assert at.clock.now() is None


def test_a_clock_that_is_set_back_right_by_hand_is_believed_again(at: Time) -> None:
    at.wall_s += YEAR_S
    at.told()
    at.wall_s -= YEAR_S
    assert at.told() == [("clock_jumped", pytest.approx(-YEAR_S)), ("clock_ok", None)]
    assert at.clock.now() is not None


def test_a_time_server_that_sets_the_clock_is_told_and_believed_at_once(at: Time) -> None:
    """A board without a battery that begins with the time of its last end."""
    at.wall_s -= 3 * HOUR_S
    at.clock = at.start()
    assert at.clock.now() is not None
    at.answer()
    assert at.told() == [("clock_jumped", pytest.approx(3 * HOUR_S)), ("clock_ok", None)]
    assert at.clock.now() is not None


def test_small_steps_add_up(at: Time) -> None:
    for _ in range(3):
        at.wall_s += 0.4 * JUMP_S
        told = at.told()
    assert told == [("clock_jumped", pytest.approx(1.2 * JUMP_S))]
    assert at.clock.now() is None


def test_steps_of_a_server_and_of_a_hand_do_not_hide_each_other(at: Time) -> None:
    at.wall_s += 40
    at.mark.touch()
    assert at.told() == []
    at.wall_s -= 70  # 30 s from the start, 70 from what the server said
    assert at.told() == [("clock_jumped", pytest.approx(-30))]
    assert at.clock.now() is None


def test_a_clock_of_before_the_release_stays_not_set(at: Time) -> None:
    at.wall_s = 1000.0
    at.clock = at.start()
    assert at.clock.now() is None
    assert at.start(require_sync=True).now() is None
    at.answer()
    assert at.clock.now() is not None
    assert at.start(require_sync=True).now() is not None


# Without a battery


FRIDAY_S = datetime(2026, 11, 20, 17, 50, tzinfo=timezone.utc).timestamp()  # of the last shutdown
RELEASE_S = datetime(2026, 11, 1, tzinfo=timezone.utc).timestamp()


def test_the_last_shutdowns_time_is_not_believed_until_a_time_server_answers(at: Time) -> None:
    at.wall_s = FRIDAY_S
    clock = at.start(require_sync=True)
    assert clock.now() is None
    at.pass_s(HOUR_S)
    assert clock.now() is None
    at.answer()
    assert clock.now() == datetime.fromtimestamp(at.wall_s, timezone.utc)
    assert at.start(require_sync=True).now() is not None  # another start of the program, the same boot


def test_an_rtc_that_shows_the_same_time_is_enough(at: Time) -> None:
    at.show_rtc(at.wall_s + 20)
    clock = at.start(require_sync=True)
    assert clock.now() is not None
    for _ in range(48):  # it may go wrong slowly
        at.pass_s(HOUR_S)
        assert clock.now() is not None


@pytest.mark.parametrize(
    "shows", ["0", "946684800", str(int(RELEASE_S - 1)), "soon", "", str(int(NOW.timestamp()) + 90)]
)
def test_an_rtc_that_lost_its_power_or_shows_another_time_proves_nothing(at: Time, shows: str) -> None:
    at.show_rtc(shows)
    if shows == str(int(RELEASE_S - 1)):
        at.wall_s = RELEASE_S - 1
    assert at.start(require_sync=True).now() is None


def test_an_rtc_whose_driver_comes_late_and_sets_the_clock_is_believed(at: Time) -> None:
    real_s, at.wall_s = at.wall_s, FRIDAY_S
    at.clock = at.start(require_sync=True)
    assert at.clock.now() is None
    at.show_rtc(real_s)
    assert at.clock.now() is None  # the clock itself is still that of Friday
    at.wall_s = real_s
    assert at.told() == [("clock_jumped", pytest.approx(real_s - FRIDAY_S)), ("clock_ok", None)]
    assert at.clock.now() is not None


@pytest.mark.parametrize("jump_s", JUMPS)
def test_a_clock_that_is_set_away_from_its_rtc_is_a_jump(at: Time, jump_s: float) -> None:
    at.show_rtc(at.wall_s)
    at.clock = at.start(require_sync=True)
    assert at.clock.now() is not None
    at.wall_s += jump_s
    assert at.clock.now() is None


def test_the_default_configuration_protects() -> None:
    assert Config().policy.require_time_sync is True


def test_friday_evening_on_a_sunday_night_asks_for_the_pin(door: Door, at: Time) -> None:
    """17:50 of Friday was restored at the boot, and "Mon-Fri" opened."""
    at.wall_s = FRIDAY_S
    door.enroll(hours="Mon-Fri 08:00-18:00", time_zone="UTC")
    door.enroll("bob")
    door.admission._clock = at.start(require_sync=Config().policy.require_time_sync).now
    assert door.face().reason is Reason.PIN_NEEDED
    assert door.face("bob").granted
    door.admission._clock = at.start(require_sync=False).now  # the switch
    assert door.face().granted


def test_the_doors_own_clock_asks_the_time_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_model: None, enrolled_gallery: Path
) -> None:
    """The switch of the configuration reaches the clock, and the clock looks at the server's mark."""
    defaults = Clock.__init__.__kwdefaults__
    assert defaults["synchronized"] == Path("/run/systemd/timesync/synchronized")
    monkeypatch.setitem(defaults, "synchronized", tmp_path / "synchronized")
    monkeypatch.setitem(defaults, "rtcs", tmp_path / "rtc")
    told = []
    for policy in (PolicyConfig(), PolicyConfig(require_time_sync=False)):
        door = build_door(Config(gallery=str(enrolled_gallery), policy=policy), pin_factory=MockFactory())
        told.append(door.clock.now() is not None)
        (tmp_path / "synchronized").touch()
        told.append(door.clock.now() is not None)
        (tmp_path / "synchronized").unlink()
        door.close()
    assert told == [False, True, True, True]


# The time zone


def test_another_time_zone_is_told_once(at: Time) -> None:
    assert list(at.clock.news()) == []
    at.zone = "Asia/Tokyo"
    assert list(at.clock.news()) == [("time_zone", {"reason": "Asia/Tokyo"})]
    assert list(at.clock.news()) == []


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Argentina/Buenos_Aires", "UTC"])
def test_the_boards_time_zone_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.delenv("TZ", raising=False)
    file = tmp_path / "zoneinfo" / zone
    file.parent.mkdir(parents=True)
    file.touch()
    (tmp_path / "localtime").symlink_to(file)
    assert local_zone(tmp_path / "localtime") == zone
    assert re.fullmatch(r"UTC[+-][0-9]{4}", local_zone(tmp_path / "missing"))
    monkeypatch.setenv("TZ", ":Asia/Tokyo")
    assert local_zone(tmp_path / "localtime") == "Asia/Tokyo"


def test_rules_follow_a_change_of_the_time_zone(
    door: Door, at: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12:00 UTC is 21:00 in Tokyo."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        door.enroll(hours="08:00-18:00")
        assert door.face().granted
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        assert door.face().reason is Reason.OUTSIDE_HOURS
    finally:
        monkeypatch.undo()
        time.tzset()


# At the door


@pytest.fixture
def door(tmp_path: Path, at: Time) -> Iterator[Door]:
    made = Door(tmp_path)
    made.admission._clock = at.clock.now
    yield made
    made.gallery.close()


RULES = {
    "hours": {"hours": "Mon-Fri 08:00-18:00", "time_zone": "UTC"},
    "last day": {"valid_until": date(2026, 11, 23)},
    "first day": {"valid_from": date(2026, 11, 23)},
    "PIN at night": {"pin_hours": "22:00-06:00", "time_zone": "UTC"},
}


@pytest.mark.parametrize("jump_s", JUMPS)
@pytest.mark.parametrize("rule", RULES)
def test_no_jump_opens_a_door_that_has_a_rule_of_time(door: Door, at: Time, rule: str, jump_s: float) -> None:
    """Not even one that would bring the right hour: until it is confirmed the PIN is asked for."""
    door.enroll(**RULES[rule])
    assert door.face().granted
    at.wall_s += jump_s
    told = door.face()
    assert (told.granted, told.reason) == (False, Reason.PIN_NEEDED)
    at.answer()
    assert door.face().granted


def test_a_jump_concerns_nobody_without_a_rule_of_time(door: Door, at: Time) -> None:
    door.enroll()
    at.wall_s += YEAR_S
    assert door.face().granted


@pytest.mark.parametrize("jump_s", JUMPS)
def test_a_pause_after_wrong_pins_is_neither_skipped_nor_prolonged(
    door: Door, at: Time, jump_s: float
) -> None:
    door.enroll(access="face+pin")
    door.face()
    for _ in range(3):
        door.type("7391")
    at.wall_s += jump_s
    assert door.type("2580").reason is Reason.PIN_LOCKED
    door.seconds += 61
    door.face()
    assert door.type("2580").granted


@pytest.mark.parametrize("jump_s", JUMPS)
def test_a_wait_after_refusals_outlives_a_restart_as_long_as_without_a_jump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    file = tmp_path / "refusals"
    before = Refusals.kept_in(BackoffFile(kept_alone(file)))
    for _ in range(5):
        before.refuse(100.0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump_s)
    after = Refusals.kept_in(BackoffFile(kept_alone(file)))
    assert (before.left_s(110.0), after.left_s(110.0)) == (20.0, 20.0)


@pytest.mark.parametrize("jump_s", [-HOUR_S, -10 * YEAR_S, HOUR_S])
def test_a_record_never_goes_back_in_time_without_saying_so(tmp_path: Path, jump_s: float) -> None:
    """Over a restart, too, in which nobody saw the clock being set."""
    path, now_s = tmp_path / "audit", NOW.timestamp()
    Audit(path, KEYS, now=lambda: now_s).append("started")
    for _ in range(2):
        Audit(path, KEYS, now=lambda: now_s + jump_s).append("granted", subject="5f0c2a91d3b8e674")
    records = [line.record for line in read_lines(path) if not isinstance(line, tuple)]
    jumps = [each["jump_s"] for each in records if each["event"] == "clock_jumped"]
    assert jumps == ([jump_s] if jump_s < 0 else [])
    assert [each["event"] for each in records if each["event"] != "clock_jumped"] == [
        "started",
        "granted",
        "granted",
    ]
    assert verify(path, KEYS).problems == []


def test_who_was_to_be_forgotten_by_a_wrong_clock_only_is_matched_again(
    device: pipeline.Door,
    at: Time,
) -> None:
    from dataclasses import replace

    device.clock, gallery = at.clock, device.gallery
    gallery._now = lambda: at.wall_s
    until = datetime.fromtimestamp(at.wall_s + HOUR_S, timezone.utc)
    gallery.set_profile("alice", replace(gallery.profile("alice"), retain_until=until))
    assert reasons(device, [0.0]) == [Reason.CONFIRMING]
    at.wall_s += YEAR_S
    assert [name for name, _ in device.news(None, 0.0)] == ["clock_jumped"]
    assert reasons(device, [0.1]) == [Reason.EMPTY_GALLERY]
    at.answer()
    assert [name for name, _ in device.news(None, 0.0)] == ["clock_jumped", "clock_ok"]
    assert reasons(device, [0.2]) == [Reason.CONFIRMING]
