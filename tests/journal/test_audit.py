"""The audit: a chain of records, full disks, other writers, files that are full."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import resource
import stat
from pathlib import Path

import pytest

from device.errors import AuditError
from device.journal.audit import FIELDS, SLOT, Audit, Limits, full_files
from device.journal.events import RECORDS
from device.journal.verify import verify
from device.vault import files as private_files
from tests.support.audits import KEYS, fill_audit, problems, records

fork = multiprocessing.get_context("fork")


def test_records_follow_each_other(audit, path):
    audit.append("started", version="1.2.3", demo=True)
    audit.append("refused", reason="below_threshold")
    audit.append("removed", subject="a1", templates=5)
    assert [(each["n"], each["event"]) for each in records(path)] == [
        (1, "started"),
        (2, "refused"),
        (3, "removed"),
    ]
    verdict = verify(path, KEYS)
    assert (verdict.records, verdict.problems, verdict.notes) == (3, [], [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(audit.head.path.stat().st_mode) == 0o600


def test_another_writer_goes_on(audit, path):
    fill_audit(audit, 2)
    fill_audit(Audit(path, KEYS), 2)
    fill_audit(audit, 1)
    assert verify(path, KEYS).records == 5
    assert problems(path) == []


def write_some(path: Path) -> None:
    fill_audit(Audit(path, KEYS), 25)


def test_programs_that_write_at_the_same_time_make_one_chain(path, monkeypatch):
    monkeypatch.setattr(private_files, "HOLD_TIMEOUT_S", 60)  # however busy the machine is
    processes = [fork.Process(target=write_some, args=(path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    verdict = verify(path, KEYS)
    assert (verdict.records, verdict.problems) == (100, [])


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("opened", {}),
        ("unlocked", {}),  # told, not recorded
        ("held_back", {}),  # recorded under another name
        ("granted", {"similarity": 0.5}),
        ("granted", {"subject": 0.5}),
        ("granted", {"image": b""}),
        ("removed", {"templates": True}),
    ],
)
def test_only_listed_events_and_fields_exist(audit, path, event, fields):
    with pytest.raises(ValueError, match="expected one of"):
        audit.append(event, **fields)
    assert not path.exists()
    assert not {"similarity", "score", "threshold", "image", "embedding"} & set(FIELDS)


def test_the_end_is_the_last_record_that_is_there(audit, path):
    assert audit.end() is None
    fill_audit(audit, 3)
    assert audit.end().n == records(path)[-1]["n"] == 3


def test_a_long_text_is_cut(audit, path):
    audit.append("fault", reason="x" * 5000 + '"}\n{"n":1')
    assert len(records(path)[0]["reason"]) == 200
    assert problems(path) == []


# Full disks and slow ones


def test_a_full_disk_is_one_line_and_leaves_nothing_half(audit, path):
    fill_audit(audit, 3)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, hard))
    try:
        with pytest.raises(AuditError) as caught:
            audit.append("granted", subject="ab")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be written: File too large" in str(caught.value)
    assert path.read_bytes() == before
    audit.append("granted")
    assert problems(path) == []


def test_no_space_at_all(audit, path, monkeypatch):
    fill_audit(audit, 1)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(AuditError, match="No space left"):
        audit.append("granted")
    monkeypatch.undo()
    audit.append("granted")
    assert verify(path, KEYS).records == 2
    assert problems(path) == []


def test_a_program_that_holds_the_log_is_not_waited_for_long(audit, monkeypatch):
    fill_audit(audit, 1)
    monkeypatch.setattr(private_files, "HOLD_TIMEOUT_S", 0.05)
    with audit.head.locked(), pytest.raises(AuditError, match="another program holds"):
        audit.append("granted")
    audit.append("granted")
    assert problems(audit.path) == []


# Rotation


def test_full_files_are_kept_with_the_chain(path):
    audit = Audit(path, KEYS, limits=Limits(max_bytes=600, keep_files=100))
    fill_audit(audit, 30)
    full = full_files(path)
    assert len(full) >= 5
    assert all(each.stat().st_size < 1200 for each in full)
    verdict = verify(path, KEYS)
    assert verdict.problems == []
    assert verdict.records == 30 + len(full)
    full[2].unlink()
    assert re.search("records [0-9]+ to [0-9]+ are missing before it", problems(path)[0])


def test_the_oldest_files_go_and_that_is_recorded(path):
    audit = Audit(path, KEYS, limits=Limits(max_bytes=600, keep_files=3))
    fill_audit(audit, 60)
    full = full_files(path)
    assert len(full) == 3
    assert problems(path) == []
    full[0].unlink()  # by another hand
    assert "records 1 to" in problems(path)[0]


def test_every_event_is_described():
    text = (Path(__file__).parents[2] / "docs/owner/secrets.md").read_text(encoding="utf-8")
    assert [event for event in RECORDS if f"`{event}`" not in text] == []


@pytest.mark.parametrize(
    "at", ['"at":"soon"', '"at":7', '"at":' + 5000 * "[", '"at":"9999-12-31T23:59:59.999Z"', '"x":1']
)
def test_a_last_record_without_a_time_of_its_own_stops_nothing(audit, path, at):
    fill_audit(audit, 2)
    with path.open("ab") as file:
        file.write(b'{"n":3,' + at.encode() + b',"event":"granted","k":1,"mac":"' + 64 * b"0" + b'"}\n')
    audit.append("granted")
    assert problems(path)


def test_a_line_is_plain_json(audit, path):
    audit.append("enrolled", subject="5f0c", templates=5)
    (line,) = path.read_text().splitlines()
    assert list(json.loads(line)) == ["n", "at", "event", "subject", "templates", "prev", "k", "mac"]


ODD = {
    "a number of 5,000 digits": b'"at":"2026-03-01T07:30:02.480Z","count":' + b"9" * 5000,
    "brackets": b'"at":"2026-03-01T07:30:02.480Z","x":' + b"[" * 5000,
    "a list": b'"at":"2026-03-01T07:30:02.480Z","last":[1]',
    "an escape": b'"at":"2026-03-01T07:30:02.480Z","reason":"\\u001b[2J"',
    "a line feed": b'"at":"2026-03-01T07:30:02.480Z","reason":"a\\nb"',
    "half a pair": b'"at":"2026-03-01T07:30:02.480Z","reason":"\\ud800"',
    "no text": b'"at":"2026-03-01T07:30:02.480Z","reason":"\xff"',
    "infinity": b'"at":"2026-03-01T07:30:02.480Z","jump_s":1e999',
}


@pytest.mark.parametrize("odd", ODD)
def test_a_record_that_no_program_writes_is_one_clear_line(audit, path, odd):
    fill_audit(audit, 2)
    with path.open("ab") as file:
        file.write(b'{"n":3,' + ODD[odd] + b',"event":"pruned","k":1,"mac":"' + 64 * b"0" + b'"}\n')
    told = problems(path)
    assert any("record 3 cannot be read" in each for each in told)
    assert all("\n" not in each and len(each) < 200 for each in told)
    audit.append("granted")
    assert "record 3 cannot be read" in " ".join(problems(path))


@pytest.mark.parametrize("place", ["n", "k"])
def test_a_number_of_5000_digits_is_no_record(audit, path, place):
    fill_audit(audit, 2)
    numbers = {"n": b"3", "k": b"1"} | {place: b"9" * 5000}
    line = (
        b'{"n":'
        + numbers["n"]
        + b',"event":"granted","k":'
        + numbers["k"]
        + b',"mac":"'
        + 64 * b"0"
        + b'"}\n'
    )
    with path.open("ab") as file:
        file.write(line)
    assert verify(path, KEYS).records == 2
    audit.append("granted")
    assert [each["event"] for each in records(path)] == ["granted", "granted", "torn", "granted"]


def test_a_text_that_breaks_a_line_is_written_as_one(audit, path):
    audit.append("fault", reason="a\nb\x1b[2J\ud800")
    assert records(path)[0]["reason"] == "a?b?[2J?"
    assert problems(path) == []


def test_each_record_is_on_the_disk_before_the_call_returns(audit, path, monkeypatch):
    """Its file first, then the head; a system that was not told to write may forget both."""
    synced, sync = [], os.fsync

    def note(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        synced.append((name, os.fstat(descriptor).st_size))
        sync(descriptor)

    fill_audit(audit, 1)
    monkeypatch.setattr(os, "fsync", note)
    for _ in range(3):
        synced.clear()
        audit.append("granted", subject="ab")
        assert synced == [(path.name, path.stat().st_size), (f"{path.name}.head", 2 * SLOT)]
