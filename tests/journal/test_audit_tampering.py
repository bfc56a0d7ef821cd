"""Records that another hand changed, cut off or put back: each is named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.journal.audit import SLOT, Audit
from device.journal.verify import verify
from tests.support.audits import KEYS, fill_audit, problems, records

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
    fill_audit(audit)
    change, said = HANDS[hand]
    path.write_bytes(b"\n".join(change(path.read_bytes().split(b"\n"))))
    assert re.search(said, problems(path)[0]), problems(path)
    audit.append("granted")  # the chain goes on, and does not heal it
    assert problems(path)


def test_a_record_of_another_key_is_named(audit, path):
    fill_audit(audit, 2)
    Audit(path, {1: bytes(32)}).append("granted")
    assert "record 3" in problems(path)[0]
    assert "key 2, which is not here" in verify_with_new_key(path)


def verify_with_new_key(path: Path) -> str:
    Audit(path, {2: bytes(32)}).append("granted")
    return " ".join(problems(path))


def test_a_retired_key_still_checks_its_records(audit, path):
    fill_audit(audit, 3)
    both = {**KEYS, 2: bytes(32)}
    fill_audit(Audit(path, both), 3)
    assert verify(path, both).problems == []
    assert records(path)[-1]["k"] == 2


def test_a_head_that_is_missing_is_named(audit, path):
    fill_audit(audit)
    audit.head.path.unlink()
    assert "nobody can tell" in problems(path)[0]
    audit.append("granted")
    assert "the head was missing" in problems(path)[0]


def test_a_log_put_back_with_an_older_end_is_named(audit, path, tmp_path):
    fill_audit(audit, 3)
    shutil.copy(path, tmp_path / "old")
    fill_audit(audit, 3)
    shutil.copy(tmp_path / "old", path)
    assert problems(path) == ["records 4 to 6 are missing at the end: they were cut off"]
    audit.append("granted")
    assert "records 4 to 6 are missing before it" in problems(path)[0]
    assert records(path)[-1]["n"] == 8


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of three records, for tests that change it again and again."""
    path = tmp_path_factory.mktemp("audit") / "audit.log"
    fill_audit(Audit(path, KEYS), 3)
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


# The end of the log, without the key


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
    fill_audit(audit, 4)
    audit.append(event, reason="face")
    cut_newest(audit)
    assert len(verify(path, KEYS, None, audit.anchored()).problems) == 1
    audit.append("started", version="1")  # the door goes on, and the mark stays
    assert "cut" in [each["event"] for each in records(path)]
    assert verify(path, KEYS, None, audit.anchored()).problems
    told = len([each for each in records(path) if each["event"] == "cut"])
    fill_audit(audit, 3)
    assert len([each for each in records(path) if each["event"] == "cut"]) == told  # once


def test_the_newest_record_again_and_again_is_noticed_each_time(path, anchor):
    audit = Audit(path, KEYS, anchor=anchor)
    fill_audit(audit, 3)
    for _ in range(4):
        audit.append("granted", subject="mallory")
        cut_newest(audit)
        audit.append("started", version="1")
    assert [each["event"] for each in records(path)].count("cut") == 4


def test_log_and_head_deleted_together_are_noticed(path, anchor):
    audit = Audit(path, KEYS, anchor=anchor)
    fill_audit(audit, 5)
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
    fill_audit(audit, 3)
    before = {file: file.read_bytes() for file in (path, audit.head.path)}
    fill_audit(audit, 2)
    for file, content in before.items():
        file.write_bytes(content)
    assert verify(path, KEYS, None, audit.anchored()).problems == [
        "records 4 to 5 are missing at the end: they were cut off"
    ]


def test_an_older_anchor_put_back_is_noticed_by_the_log(path, anchor):
    audit = Audit(path, KEYS, anchor=anchor)
    fill_audit(audit, 3)
    before = anchor.path.read_bytes()
    fill_audit(audit, 2)
    anchor.path.write_bytes(before)
    assert "the anchor is 2 records behind" in verify(path, KEYS, None, audit.anchored()).problems[0]


def test_refusals_do_not_wear_the_anchor(path, anchor):
    audit = Audit(path, KEYS, anchor=anchor)
    fill_audit(audit, 1)
    before = anchor.path.read_bytes()
    for _ in range(5):
        audit.append("refused", reason="too_dark")
    assert anchor.path.read_bytes() == before
    assert verify(path, KEYS, None, audit.anchored()).problems == []


def test_an_anchor_that_is_lost_or_cannot_be_written_stops_no_record(path, anchor):
    audit = Audit(path, KEYS, anchor=anchor)
    fill_audit(audit, 2)
    anchor.path.write_bytes(b"noise")
    fill_audit(audit, 2)
    anchor.path.unlink()
    fill_audit(audit, 1)
    assert verify(path, KEYS).problems == []
    assert verify(path, KEYS).records == 5
