"""The audit: whole after every cut of the power, and broken by every other hand."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import resource
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.errors import AuditError
from device.journal import audit as audit_module
from device.journal.audit import FIELDS, Audit, Limits, full_files
from device.journal.events import RECORDS
from device.journal.verify import read_lines, verify
from device.vault import files as private_files

KEYS = {1: bytes(range(32))}
fork = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def audit(path: Path) -> Audit:
    return Audit(path, KEYS)


def filled(audit: Audit, count: int = 6) -> None:
    for number in range(count):
        audit.append("granted", subject=f"{number:016x}")


def records(path: Path) -> list[dict]:
    return [line.record for line in read_lines(path) if not isinstance(line, tuple)]


def problems(path: Path) -> list[str]:
    return verify(path, KEYS).problems


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
    filled(audit, 2)
    filled(Audit(path, KEYS), 2)
    filled(audit, 1)
    assert verify(path, KEYS).records == 5
    assert problems(path) == []


def write_some(path: Path) -> None:
    filled(Audit(path, KEYS), 25)


def test_programs_that_write_at_the_same_time_make_one_chain(path):
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


def test_a_long_text_is_cut(audit, path):
    audit.append("fault", reason="x" * 5000 + '"}\n{"n":1')
    assert len(records(path)[0]["reason"]) == 200
    assert problems(path) == []


# Other hands


def change_record(lines: list[bytes], index: int) -> list[bytes]:
    return [line.replace(b"granted", b"refused") if i == index else line for i, line in enumerate(lines)]


HANDS = {
    "changed": (lambda lines: change_record(lines, 2), r"audit\.log:3: record 3 .* was changed"),
    "taken out": (lambda lines: lines[:2] + lines[3:], r"record 4 .*: (was changed|records 3 to 3)"),
    "two swapped": (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "record 4 "),
    "said twice": (lambda lines: [*lines[:3], lines[2], *lines[3:]], "record 3 .*follow"),
    "noise put in": (lambda lines: [*lines[:3], b"noise", *lines[3:]], "record 4 .*5 bytes before it"),
    "first taken out": (lambda lines: lines[1:], "records 1 to 1 are missing|record 2 "),
    "end cut off": (lambda lines: [*lines[:4], b""], "records 5 to 6 are missing at the end"),
    "emptied": (lambda lines: [b""], "records 1 to 6 are missing at the end"),
}


@pytest.mark.parametrize("hand", HANDS)
def test_another_hand_is_named_by_the_first_broken_record(audit, path, hand):
    filled(audit)
    change, said = HANDS[hand]
    path.write_bytes(b"\n".join(change(path.read_bytes().split(b"\n"))))
    assert re.search(said, problems(path)[0]), problems(path)
    audit.append("granted")  # the chain goes on, and does not heal it
    assert problems(path)


def test_a_record_of_another_key_is_named(audit, path):
    filled(audit, 2)
    Audit(path, {1: bytes(32)}).append("granted")
    assert "record 3" in problems(path)[0]
    assert "key 2, which is not here" in verify_with_new_key(path)


def verify_with_new_key(path: Path) -> str:
    Audit(path, {2: bytes(32)}).append("granted")
    return " ".join(problems(path))


def test_a_retired_key_still_checks_its_records(audit, path):
    filled(audit, 3)
    both = {**KEYS, 2: bytes(32)}
    filled(Audit(path, both), 3)
    assert verify(path, both).problems == []
    assert records(path)[-1]["k"] == 2


def test_a_head_that_is_missing_is_named(audit, path):
    filled(audit)
    audit.head.path.unlink()
    assert "nobody can tell" in problems(path)[0]
    audit.append("granted")
    assert "the head was missing" in problems(path)[0]


def test_a_log_put_back_with_an_older_end_is_named(audit, path, tmp_path):
    filled(audit, 3)
    shutil.copy(path, tmp_path / "old")
    filled(audit, 3)
    shutil.copy(tmp_path / "old", path)
    assert problems(path) == ["records 4 to 6 are missing at the end: they were cut off"]
    audit.append("granted")
    assert "records 4 to 6 are missing before it" in problems(path)[0]
    assert records(path)[-1]["n"] == 8


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of three records, for tests that change it again and again."""
    path = tmp_path_factory.mktemp("audit") / "audit.log"
    filled(Audit(path, KEYS), 3)
    return path


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_every_changed_byte_is_found(three, data):
    whole = three.read_bytes()
    content = bytearray(whole)
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= data.draw(st.integers(1, 255))
    three.write_bytes(content)
    verdict = verify(three, KEYS)
    three.write_bytes(whole)
    # the last line feed is no record's: without it the end is still whole
    assert verdict.problems or where == len(content) - 1


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=300, deadline=None)
def test_noise_is_no_log_and_no_crash(three, noise, after):
    whole = three.read_bytes()
    three.write_bytes(whole + noise if after else noise)
    verdict = verify(three, KEYS)
    three.write_bytes(whole)
    assert verdict.records == (3 if after else 0)
    assert not after or (verdict.problems, bool(verdict.notes)) == ([], bool(noise))
    assert after or "records 1 to 3 are missing" in verdict.problems[0]


@pytest.mark.parametrize("noise", [b"", b"\n", b"x", b"x\n", b"\0" * 300, b"\n\n\n"])
def test_a_log_that_begins_with_noise_goes_on(path, noise):
    path.write_bytes(noise)
    Audit(path, KEYS).append("granted")
    assert verify(path, KEYS).problems == []
    assert records(path)[-1]["event"] == "granted"


# Power cuts


def test_a_power_cut_at_any_byte_is_told_and_the_chain_goes_on(path):
    """Each byte at which the last record may end, with the head as it then was: not yet written."""
    audit = Audit(path, KEYS)
    filled(audit, 3)
    before, head = path.read_bytes(), audit.head.path.read_bytes()
    audit.append("granted", subject="ab")
    after = path.read_bytes()
    for size in range(len(before), len(after) + 1):
        path.write_bytes(after[:size])
        audit.head.path.write_bytes(head)
        whole = size >= len(after) - 1
        torn = size - len(before) if not whole else 0
        verdict = verify(path, KEYS)
        assert verdict.problems == []
        assert bool(verdict.notes) == bool(torn)
        audit.append("refused", reason="too_dark")
        verdict = verify(path, KEYS)
        assert verdict.problems == [], size
        assert verdict.notes == ([] if not torn else [n for n in verdict.notes if f"tore {torn} bytes" in n])
        assert [each["event"] for each in records(path)][3:] == (
            ["granted", "refused"] if whole else ["torn", "refused"] if torn else ["refused"]
        )
        assert path.read_bytes().startswith(after[:size])  # nothing that was there is taken away


def test_a_cut_anywhere_in_the_log_never_stops_it(path):
    audit = Audit(path, KEYS)
    filled(audit, 3)
    content, head = path.read_bytes(), audit.head.path.read_bytes()
    for size in range(0, len(content) - 1, 3):
        path.write_bytes(content[:size])
        audit.head.path.write_bytes(head)
        audit.append("granted")
        told = problems(path)
        assert len(told) == 1, (size, told)
        assert records(path)[-1]["event"] == "granted"


@pytest.mark.parametrize("size", [1, 4096, 10_000])
def test_zeros_that_a_file_system_leaves_are_torn(audit, path, size):
    filled(audit, 3)
    path.write_bytes(path.read_bytes() + bytes(size))
    audit.append("granted")
    verdict = verify(path, KEYS)
    assert verdict.problems == []
    assert f"tore {size} bytes" in verdict.notes[0]


def test_a_head_torn_in_one_slot_is_still_known(audit, path):
    filled(audit, 5)
    data = bytearray(audit.head.path.read_bytes())
    for start in (0, 160):  # the slot of record 4, then that of record 5
        cut = bytes(data[:start]) + b"\0" * 80 + bytes(data[start + 80 :])
        audit.head.path.write_bytes(cut)
        assert problems(path) == []


# Full disks and slow ones


def test_a_full_disk_is_one_line_and_leaves_nothing_half(audit, path):
    filled(audit, 3)
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
    filled(audit, 1)

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
    filled(audit, 1)
    monkeypatch.setattr(private_files, "HOLD_TIMEOUT_S", 0.05)
    with audit.head.locked(), pytest.raises(AuditError, match="another program holds"):
        audit.append("granted")
    audit.append("granted")
    assert problems(audit.path) == []


# Rotation


def test_full_files_are_kept_with_the_chain(path):
    audit = Audit(path, KEYS, limits=Limits(max_bytes=600, keep_files=100))
    filled(audit, 30)
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
    filled(audit, 60)
    full = full_files(path)
    assert len(full) == 3
    assert problems(path) == []
    full[0].unlink()  # by another hand
    assert "records 1 to" in problems(path)[0]


def test_a_power_cut_between_two_files(path):
    audit = Audit(path, KEYS)
    filled(audit, 3)
    path.rename(path.with_name("audit.log.000001"))
    audit.append("granted")
    assert problems(path) == []
    assert records(path)[-1]["n"] == 4


def test_every_event_is_described():
    text = (Path(__file__).parents[2] / "docs/owner/secrets.md").read_text(encoding="utf-8")
    assert [event for event in RECORDS if f"`{event}`" not in text] == []


@pytest.mark.parametrize(
    "at", ['"at":"soon"', '"at":7', '"at":' + 5000 * "[", '"at":"9999-12-31T23:59:59.999Z"', '"x":1']
)
def test_a_last_record_without_a_time_of_its_own_stops_nothing(audit, path, at):
    filled(audit, 2)
    with path.open("ab") as file:
        file.write(b'{"n":3,' + at.encode() + b',"event":"granted","k":1,"mac":"' + 64 * b"0" + b'"}\n')
    audit.append("granted")
    assert problems(path)


def test_a_line_is_plain_json(audit, path):
    audit.append("enrolled", subject="5f0c", templates=5)
    (line,) = path.read_text().splitlines()
    assert list(json.loads(line)) == ["n", "at", "event", "subject", "templates", "prev", "k", "mac"]


def test_a_power_cut_at_the_very_first_record_is_no_tampering(audit, path, monkeypatch):
    """The record is on the disk, its number is not yet in the head."""
    write = audit_module.Head.write

    def cut(head, link):
        if link.n:
            raise OSError(errno.EIO, "the power is gone")
        write(head, link)

    monkeypatch.setattr(audit_module.Head, "write", cut)
    with pytest.raises(AuditError):
        audit.append("enrolled", subject="a1", templates=1)
    monkeypatch.setattr(audit_module.Head, "write", write)
    assert problems(path) == []
    audit.append("started", version="1")
    assert [each["event"] for each in records(path)] == ["enrolled", "started"]
    assert problems(path) == []


def test_the_first_record_of_a_log_that_lost_its_head_still_says_so(audit, path):
    filled(audit)
    audit.head.path.unlink()
    audit.append("started", version="1")
    assert "the head was missing" in problems(path)[0]


def test_the_names_of_log_and_head_are_on_the_disk_before_the_first_record(audit, path, monkeypatch):
    synced, sync = [], os.fsync

    def note(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        names = sorted(each.name for each in path.parent.iterdir())
        synced.append(names if is_folder else path.stat().st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    audit.append("started", version="1")
    first = next(place for place, each in enumerate(synced) if isinstance(each, int) and each)
    assert [path.name, f"{path.name}.head"] in synced[:first]
