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
from device.journal.audit import FIELDS, SLOT, Audit, Limits, full_files
from device.journal.events import RECORDS
from device.journal.verify import read_lines, verify
from device.vault import files as private_files
from device.vault.anchor import Anchor, AnchorFile
from device.vault.generation import GenerationFile
from device.vault.sealing import Sealer

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


def test_a_head_torn_in_the_slot_of_the_last_record_is_still_known(audit, path):
    filled(audit, 5)
    data = bytearray(audit.head.path.read_bytes())
    audit.head.path.write_bytes(data[:SLOT] + b"\0" * 80 + data[SLOT + 80 :])
    assert problems(path) == []


def test_a_head_spoiled_in_the_other_slot_may_have_been_of_a_record_that_is_gone(audit, path):
    """No power cut leaves that: the slot of record 6 is written when record 6 is on the disk."""
    filled(audit, 5)
    data = bytearray(audit.head.path.read_bytes())
    audit.head.path.write_bytes(b"\0" * 80 + data[80:])
    assert "a newest record may have been cut off" in problems(path)[0]
    filled(audit, 1)
    assert "a slot of the head was spoiled" in problems(path)[0]


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


def test_each_record_and_its_head_are_on_the_disk_before_it_counts_as_written(audit, path, monkeypatch):
    audit.append("started")
    synced, sync = [], os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    audit.append("granted", subject="a")
    assert synced.index(path.name) < synced.index(audit.head.path.name)


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


# The end of the log, without the key


@pytest.fixture
def anchor(tmp_path: Path) -> AnchorFile:
    """The anchor of a door that has a gallery."""
    sealer = Sealer(KEYS, "gallery")
    generation = GenerationFile(tmp_path / "gallery.db.generation", sealer)
    made = AnchorFile(generation, sealer)
    made.write(Anchor(generation=1))
    generation.write(1)
    return made


def cut_newest(audit: Audit) -> None:
    """Take the newest record away as one who has no key can: the last line, and its slot of the head."""
    lines = audit.path.read_bytes().splitlines(keepends=True)
    newest = int(json.loads(lines[-1])["n"])
    audit.path.write_bytes(b"".join(lines[:-1]))
    head = bytearray(audit.head.path.read_bytes())
    head[newest % 2 * SLOT : (newest % 2 + 1) * SLOT] = bytes(SLOT)
    audit.head.path.write_bytes(head)


@pytest.mark.parametrize("event", ["granted", "refused"])
@pytest.mark.parametrize("has_anchor", [False, True])
def test_the_newest_record_does_not_go_unnoticed(path, anchor, event, has_anchor):
    audit = Audit(path, KEYS, anchor=anchor if has_anchor else None)
    filled(audit, 4)
    audit.append(event, reason="face")
    cut_newest(audit)
    assert len(verify(path, KEYS, None, audit.anchored()).problems) == 1
    audit.append("started", version="1")  # the door goes on, and the mark stays
    assert "cut" in [each["event"] for each in records(path)]
    assert verify(path, KEYS, None, audit.anchored()).problems
    told = len([each for each in records(path) if each["event"] == "cut"])
    filled(audit, 3)
    assert len([each for each in records(path) if each["event"] == "cut"]) == told  # once


def test_the_newest_record_again_and_again_is_noticed_each_time(path, anchor):
    audit = Audit(path, KEYS, anchor=anchor)
    filled(audit, 3)
    for _ in range(4):
        audit.append("granted", subject="mallory")
        cut_newest(audit)
        audit.append("started", version="1")
    assert [each["event"] for each in records(path)].count("cut") == 4


def test_log_and_head_deleted_together_are_noticed(path, anchor):
    audit = Audit(path, KEYS, anchor=anchor)
    filled(audit, 5)
    path.unlink()
    audit.head.path.unlink()
    assert verify(path, KEYS, None, audit.anchored()).problems == [
        "records 1 to 5 are missing at the end: log and head were deleted"
    ]
    audit.append("started", version="1")
    assert [(each["n"], each["event"], each.get("count")) for each in records(path)] == [
        (6, "cut", 5),
        (7, "started", None),
    ]
    assert "records 1 to 5 are missing" in verify(path, KEYS, None, audit.anchored()).problems[0]


def test_an_older_log_with_its_head_put_back_is_noticed(path, anchor, tmp_path):
    audit = Audit(path, KEYS, anchor=anchor)
    filled(audit, 3)
    before = {file: file.read_bytes() for file in (path, audit.head.path)}
    filled(audit, 2)
    for file, content in before.items():
        file.write_bytes(content)
    assert verify(path, KEYS, None, audit.anchored()).problems == [
        "records 4 to 5 are missing at the end: they were cut off"
    ]


def test_an_older_anchor_put_back_is_noticed_by_the_log(path, anchor):
    audit = Audit(path, KEYS, anchor=anchor)
    filled(audit, 3)
    before = anchor.path.read_bytes()
    filled(audit, 2)
    anchor.path.write_bytes(before)
    assert "the anchor is 2 records behind" in verify(path, KEYS, None, audit.anchored()).problems[0]


def test_refusals_do_not_wear_the_anchor(path, anchor):
    audit = Audit(path, KEYS, anchor=anchor)
    filled(audit, 1)
    before = anchor.path.read_bytes()
    for _ in range(5):
        audit.append("refused", reason="too_dark")
    assert anchor.path.read_bytes() == before
    assert verify(path, KEYS, None, audit.anchored()).problems == []


def test_a_power_cut_at_any_step_of_a_record_is_no_tampering(path, anchor, monkeypatch):
    """The log, its head and the anchor are written in this order; each may be the last that was."""
    for written in range(3):
        audit = Audit(path, KEYS, anchor=anchor)
        filled(audit, 2)
        head, mark = audit.head.path.read_bytes(), anchor.path.read_bytes()
        audit.append("granted", subject="ab")
        if written < 2:
            anchor.path.write_bytes(mark)
        if written < 1:
            audit.head.path.write_bytes(head)
        assert verify(path, KEYS, None, audit.anchored()).problems == []
        filled(audit, 2)
        assert verify(path, KEYS, None, audit.anchored()).problems == []
    assert {each["event"] for each in records(path)} == {"granted"}


def test_a_head_that_a_power_cut_spoiled_is_no_tampering(path):
    """Its record is the log's last one."""
    for lost in (b"\0" * SLOT, b"7 abc".ljust(SLOT), b"x" * SLOT):
        audit = Audit(path, KEYS)
        filled(audit, 3)
        newest = records(path)[-1]["n"]
        head = bytearray(audit.head.path.read_bytes())
        head[newest % 2 * SLOT : (newest % 2 + 1) * SLOT] = lost
        audit.head.path.write_bytes(head)
        assert problems(path) == []
        filled(audit, 1)
        assert problems(path) == []
    assert {each["event"] for each in records(path)} == {"granted"}


def test_an_anchor_that_is_lost_or_cannot_be_written_stops_no_record(path, anchor):
    audit = Audit(path, KEYS, anchor=anchor)
    filled(audit, 2)
    anchor.path.write_bytes(b"noise")
    filled(audit, 2)
    anchor.path.unlink()
    filled(audit, 1)
    assert verify(path, KEYS).problems == []
    assert verify(path, KEYS).records == 5


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
    filled(audit, 2)
    with path.open("ab") as file:
        file.write(b'{"n":3,' + ODD[odd] + b',"event":"pruned","k":1,"mac":"' + 64 * b"0" + b'"}\n')
    told = problems(path)
    assert any("record 3 cannot be read" in each for each in told)
    assert all("\n" not in each and len(each) < 200 for each in told)
    audit.append("granted")
    assert "record 3 cannot be read" in " ".join(problems(path))


@pytest.mark.parametrize("place", ["n", "k"])
def test_a_number_of_5000_digits_is_no_record(audit, path, place):
    filled(audit, 2)
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

    filled(audit, 1)
    monkeypatch.setattr(os, "fsync", note)
    for _ in range(3):
        synced.clear()
        audit.append("granted", subject="ab")
        assert synced == [(path.name, path.stat().st_size), (f"{path.name}.head", 2 * SLOT)]
