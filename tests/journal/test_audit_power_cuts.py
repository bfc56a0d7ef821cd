"""Power that is cut at any step of a record, and what a disk holds then."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from device.errors import AuditError
from device.journal import audit as audit_module
from device.journal.audit import SLOT, Audit
from device.journal.verify import verify
from tests.support.audits import KEYS, fill_audit, problems, records


def test_a_power_cut_at_any_byte_is_told_and_the_chain_goes_on(path):
    """Each byte at which the last record may end, with the head as it then was: not yet written."""
    audit = Audit(path, KEYS)
    fill_audit(audit, 3)
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
    fill_audit(audit, 3)
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
    fill_audit(audit, 3)
    path.write_bytes(path.read_bytes() + bytes(size))
    audit.append("granted")
    verdict = verify(path, KEYS)
    assert verdict.problems == []
    assert f"tore {size} bytes" in verdict.notes[0]


def test_a_head_torn_in_the_slot_of_the_last_record_is_still_known(audit, path):
    fill_audit(audit, 5)
    data = bytearray(audit.head.path.read_bytes())
    audit.head.path.write_bytes(data[:SLOT] + b"\0" * 80 + data[SLOT + 80 :])
    assert problems(path) == []


def test_a_head_spoiled_in_the_other_slot_may_have_been_of_a_record_that_is_gone(audit, path):
    """No power cut leaves that: the slot of record 6 is written when record 6 is on the disk."""
    fill_audit(audit, 5)
    data = bytearray(audit.head.path.read_bytes())
    audit.head.path.write_bytes(b"\0" * 80 + data[80:])
    assert "a newest record may have been cut off" in problems(path)[0]
    fill_audit(audit, 1)
    assert "a slot of the head was spoiled" in problems(path)[0]


def test_a_power_cut_between_two_files(path):
    audit = Audit(path, KEYS)
    fill_audit(audit, 3)
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
    fill_audit(audit)
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


def test_a_power_cut_at_any_step_of_a_record_is_no_tampering(path, anchor, monkeypatch):
    """The log, its head and the anchor are written in this order; each may be the last that was."""
    for written in range(3):
        audit = Audit(path, KEYS, anchor=anchor)
        fill_audit(audit, 2)
        head, mark = audit.head.path.read_bytes(), anchor.path.read_bytes()
        audit.append("granted", subject="ab")
        if written < 2:
            anchor.path.write_bytes(mark)
        if written < 1:
            audit.head.path.write_bytes(head)
        assert verify(path, KEYS, None, audit.anchored()).problems == []
        fill_audit(audit, 2)
        assert verify(path, KEYS, None, audit.anchored()).problems == []
    assert {each["event"] for each in records(path)} == {"granted"}


def test_a_head_that_a_power_cut_spoiled_is_no_tampering(path):
    """Its record is the log's last one."""
    for lost in (b"\0" * SLOT, b"7 abc".ljust(SLOT), b"x" * SLOT):
        audit = Audit(path, KEYS)
        fill_audit(audit, 3)
        newest = records(path)[-1]["n"]
        head = bytearray(audit.head.path.read_bytes())
        head[newest % 2 * SLOT : (newest % 2 + 1) * SLOT] = lost
        audit.head.path.write_bytes(head)
        assert problems(path) == []
        fill_audit(audit, 1)
        assert problems(path) == []
    assert {each["event"] for each in records(path)} == {"granted"}
