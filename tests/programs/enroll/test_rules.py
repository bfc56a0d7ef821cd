"""Rules, PINs, consent and the audit as a person meets them: enroll.py and scripts/audit.py in this process."""

from __future__ import annotations

import contextlib
import json
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from device.access.pin import is_pin
from device.access.policy import Usage
from device.access.profile import Profile
from device.build import build_usage
from device.config import Config
from device.errors import GalleryError
from device.gallery.gallery import Gallery
from device.vault.keys import KeyStore
from tests.support.galleries import MODEL, D, profile, two_people
from tests.support.owner import audit, enroll, typed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return two_people(tmp_path)


def test_rules_are_set_shown_and_taken_back(path, monkeypatch, capsys):
    typed(monkeypatch, "2580\n8521\n")
    rules = [
        "--hours",
        "Mon-Fri 08:00-18:00",
        "--until",
        "2027-01-31",
        "--entries",
        "5",
        "--time-zone",
        "Europe/Berlin",
    ]
    assert enroll(path, "--change", "alice", *rules, "--pin", "--duress-pin", "--retain-days", "365") == 0
    stored = profile(path)
    assert stored.policy.access == "face+pin"
    assert is_pin(stored.pin_hash, "2580")
    assert is_pin(stored.duress_hash, "8521")
    capsys.readouterr()
    assert enroll(path, "--show", "alice", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["hours"] == "Mon-Fri 08:00-18:00"
    assert told["until"] == "2027-01-31"
    assert told["entries"] == 5
    assert told["pin"] is told["duress_pin"] is True
    assert "argon2" not in json.dumps(told)
    assert enroll(path, "--show", "alice") == 0
    assert "access face+pin, hours Mon-Fri 08:00-18:00" in capsys.readouterr().out
    cleared = ["--hours", "none", "--until", "none", "--entries", "none", "--retain-days", "none"]
    assert enroll(path, "--change", "alice", *cleared, "--access", "face") == 0
    again = profile(path)
    assert (again.policy.hours, again.policy.valid_until, again.policy.entries) == ("", None, None)
    assert again.retain_until is None
    assert again.alias == stored.alias
    assert profile(path, "bob").policy.access == "face"


def test_a_pin_for_some_hours_does_not_ask_always(path, monkeypatch):
    typed(monkeypatch, "2580\n")
    assert enroll(path, "--change", "alice", "--pin", "--pin-hours", "20:00-07:00") == 0
    assert profile(path).policy.access == "face"
    assert profile(path).policy.pin_hours == "20:00-07:00"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hours", "always"], "expected such as"),
        (["--until", "tomorrow"], "--until 'tomorrow': cannot be read"),
        (["--entries", "many"], "--entries 'many': cannot be read"),
        (["--entries", "-1"], "entries -1"),
        (["--retain-days", "0"], "--retain-days '0': expected 1"),
        (["--access", "face+pin"], "there is none: add --pin"),
        (["--pin-every-h", "72"], "there is none: add --pin"),
        (["--duress-pin"], "expected another PIN"),
        (["--time-zone", "Mars"], "time zone 'Mars'"),
        (["--pin"], "PIN: expected 4 to 12 digits"),
    ],
)
def test_rules_that_make_no_sense_change_nothing(path, monkeypatch, capsys, arguments, said):
    before = profile(path)
    typed(monkeypatch, "\n")
    assert enroll(path, "--change", "alice", *arguments) == 2
    assert said in capsys.readouterr().err
    assert profile(path) == before


@pytest.mark.parametrize("what", ["--change", "--show"])
def test_who_is_not_enrolled_has_no_rules(path, what, tmp_path, capsys):
    rule = ["--access", "face"] if what == "--change" else []
    assert enroll(path, what, "carol", *rule) == 2
    assert "'carol' is not enrolled: enrolled are alice, bob" in capsys.readouterr().err
    assert enroll(tmp_path / "none.db", what, "carol", *rule) in (2, 5)
    assert not (tmp_path / "none.db").exists()


def test_a_removal_prints_a_receipt_and_is_recorded(path, capsys):
    alias = profile(path).alias
    assert enroll(path, "--remove", "alice", "--yes") == 0
    told = capsys.readouterr().out
    assert told.startswith("removed alice: 3 templates\n")
    assert "read again: nothing of them is left" in told
    assert audit(path, "show", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["event"], record["subject"], record["templates"]) == ("removed", alias, 3)
    raw = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"alice" not in raw  # in no file: gallery, log, key, audit


CHANGES = {
    "removed": (["--remove", "alice", "--yes"], "remove"),
    "policy": (["--change", "alice", "--access", "disabled"], "set_profile"),
}


@pytest.mark.parametrize("event", CHANGES)
def test_a_change_is_recorded_before_it_happens(path, event, monkeypatch, capsys):
    """A power cut in between leaves a record too many, never a change without one."""
    arguments, change = CHANGES[event]

    def fail(*_given, **_named):
        assert audit(path, "show", "--json") == 0
        raise GalleryError("the card is full")

    monkeypatch.setattr(Gallery, change, fail)
    assert enroll(path, *arguments) == 5
    assert json.loads(capsys.readouterr().out)["event"] == event
    audit(path, "show", "--json")
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["event"], each.get("reason")) for each in records] == [
        (event, None),
        ("fault", f"{event}_failed"),
    ]
    assert records[0]["subject"] == records[1]["subject"] == profile(path).alias


def test_whose_consent_has_ended_is_forgotten_at_the_next_start(path, capsys):
    ended = datetime.now(timezone.utc) - timedelta(seconds=1)
    with Gallery(path, model_id=MODEL, dimension=D, read_only=False) as gallery:
        gallery.set_profile("alice", Profile(retain_until=ended))
    assert enroll(path, "--change", "bob", "--access", "face") == 0
    assert "forgot alice, whose consent expired" in capsys.readouterr().err
    with Gallery(path, model_id=MODEL, dimension=D, read_only=True) as gallery:
        assert [subject.subject_id for subject in gallery.subjects()] == ["bob"]
    assert audit(path, "show", "--event", "expired") == 0
    assert " expired: " in capsys.readouterr().out


def test_an_audit_that_cannot_be_written_does_not_stop_a_removal(path, capsys):
    (path.parent / "gallery.db.audit").mkdir()
    assert enroll(path, "--remove", "alice", "--yes") == 0
    told = capsys.readouterr()
    assert "warning: not in the audit log" in told.err
    assert "removed alice" in told.out


def test_a_change_says_what_is_different(path, capsys, monkeypatch):
    def said(*arguments: str) -> str:
        capsys.readouterr()
        typed(monkeypatch, "2580\n")
        assert enroll(path, "--change", "alice", *arguments) == 0
        return capsys.readouterr().out.splitlines()[0]

    assert said("--hours", "Mon-Fri 08:00-18:00") == "changed alice: hours: Mon-Fri 08:00-18:00, was none"
    assert (
        said("--hours", "Mon 08:00-18:00") == "changed alice: hours: Mon 08:00-18:00, was Mon-Fri 08:00-18:00"
    )
    assert said("--hours", "Mon 08:00-18:00") == "changed alice: nothing is different"
    assert said("--hours", "none", "--entries", "3") == (
        "changed alice: hours: none, was Mon 08:00-18:00; entries: 3, was none"
    )
    assert said("--pin") == "changed alice: access: face+pin, was face; pin: set, was none"
    assert said("--pin") == "changed alice: pin: a new one, was set"
    assert enroll(path, "--change", "alice", "--entries", "4", "--json") == 0
    assert json.loads(capsys.readouterr().out)["different"] == ["entries"]


def test_an_audit_without_a_key_or_records_is_one_line(path, tmp_path, capsys):
    assert audit(path, "verify") == 1
    assert "there is none yet" in capsys.readouterr().err
    shutil.move(KeyStore.of(path, environ={}).path, tmp_path / "elsewhere")
    assert audit(path, "verify") == 5
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("text", [b'"at":"2026', b'"event":"removed"'])
def test_a_record_that_cannot_be_read_is_named_and_the_others_shown(path, text, capsys):
    assert enroll(path, "--change", "bob", "--access", "disabled") == 0
    assert enroll(path, "--remove", "alice", "--yes") == 0
    log = path.with_name("gallery.db.audit")
    log.write_bytes(log.read_bytes().replace(text, text.replace(b'":"', b'":\x01"')))
    capsys.readouterr()
    assert audit(path, "show") == 0
    told = capsys.readouterr()
    assert "audit: gallery.db.audit:2: record 2 cannot be read: see verify" in told.err
    assert ("policy" in told.out) == (text == b'"event":"removed"')
    assert audit(path, "verify") == 1


# What never or always holds


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (["--until", "2020-01-31"], "over since 2020-01-31: the door refuses"),
        (["--from", "2099-01-01"], "not before 2099-01-01"),
        (["--entries", "0"], "0 of 0 entries left: the door refuses"),
        (["--entries", "5"], "5 of 5 entries left"),
        (["--hours", "00:00-24:00"], "the hours are the whole week"),
        (["--hours", "Mon-Thu 08:00-20:00, Thu-Sun 00:00-24:00"], None),
        (["--hours", "Sun 08:00-18:00", "--from", "2098-01-06", "--until", "2098-01-11"], "the hours fall on no day"),
        (["--hours", "Sun 08:00-18:00", "--from", "2098-01-06", "--until", "2098-01-12"], None),
        (["--pin", "--pin-hours", "00:00-24:00"], "the PIN is asked for at every hour"),
        (["--pin", "--pin-hours", "20:00-07:00", "--hours", "08:00-18:00"], "the PIN is never asked for"),
        (["--pin", "--pin-hours", "17:00-07:00", "--hours", "08:00-18:00"], None),
        (["--pin", "--access", "face+pin", "--pin-every-h", "72"], "other PIN rules do nothing"),
        (["--access", "disabled"], "the access is disabled: the door refuses"),
        (["--time-zone", "Europe/Berlin"], "the time zone does nothing"),
        (["--retain-days", "5", "--until", "2098-01-01"], "this person is forgotten on"),
    ],
)  # fmt: skip
def test_a_rule_that_never_or_always_holds_is_said_wherever_rules_are(path, rules, said, monkeypatch, capsys):
    typed(monkeypatch, "2580\n")
    assert enroll(path, "--change", "alice", *rules) == 0
    told = [capsys.readouterr().out]
    for verb in (["--show", "alice"], ["--list"]):
        assert enroll(path, *verb) == 0
        told.append(capsys.readouterr().out)
    if said is None:
        assert not any("hours fall" in text or "never" in text or "whole week" in text for text in told)
    else:
        assert all(said in text for text in told), told


def test_the_list_says_who_may_come_when_and_what_is_left(path, capsys):
    rules = ["--hours", "Mon-Fri 08:00-18:00", "--entries", "3"]
    assert enroll(path, "--change", "alice", *rules) == 0
    with Gallery(path, model_id=MODEL, dimension=D, read_only=True) as gallery:
        usage = build_usage(Config(gallery=str(path)), read_only=False)
        usage.keep(gallery.profile("alice"), Usage(entries=2))
    capsys.readouterr()
    assert enroll(path, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("alice: 3 templates, enrolled 2")
    assert lines[1:3] == ["  access face, hours Mon-Fri 08:00-18:00, entries 3", "  1 of 3 entries left"]
    assert lines[3].startswith("  times are those of the board's zone, ")
    assert lines[4].startswith("bob: 3 templates")
    assert len(lines) == 5
    assert enroll(path, "--list", "--json") == 0
    (alice, bob) = json.loads(capsys.readouterr().out)["subjects"]
    assert (alice["hours"], alice["notes"][0]) == ("Mon-Fri 08:00-18:00", "1 of 3 entries left")
    assert alice["notes"][1].startswith("times are those of the board's zone, ")
    assert bob["notes"] == []


def test_a_removal_asks_first(path, monkeypatch, capsys):
    for answer in ("n\n", "\n", ""):
        typed(monkeypatch, answer)
        assert enroll(path, "--remove", "alice") == 2
        assert "remove alice, 3 templates, for good?" in capsys.readouterr().err
        assert profile(path).alias
    typed(monkeypatch, "y\n")
    assert enroll(path, "--remove", "alice") == 0
    assert "removed alice" in capsys.readouterr().out


@pytest.mark.parametrize(
    "verb", [["--remove", "alice", "--yes"], ["--change", "alice", "--access", "disabled"]]
)
def test_what_was_changed_stays_changed_where_the_output_is_lost(path, verb):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    with full.open("w") as stream, contextlib.redirect_stdout(stream):
        assert enroll(path, *verb) == 0
    with Gallery(path, model_id=MODEL, dimension=D, read_only=True) as gallery:
        known = {name: each.policy.access for name, each in gallery.profiles().items()}
    assert known == ({"bob": "face"} if verb[0] == "--remove" else {"alice": "disabled", "bob": "face"})
