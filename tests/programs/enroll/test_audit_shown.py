"""The audit and times as a person reads them."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.galleries import profile, two_people
from tests.support.owner import audit, enroll


def test_the_audit_is_verified_and_shown(path, capsys):
    for name in ("alice", "bob", "alice"):
        assert enroll(path, "--change", name, "--access", "face") == 0
    capsys.readouterr()
    assert audit(path, "verify") == 0
    assert "3 records, whole" in capsys.readouterr().out
    for filters, count in (
        ([], 3),
        (["--subject", "alice"], 2),
        (["--subject", profile(path).alias], 2),
        (["--event", "policy"], 3),
        (["--event", "granted"], 0),
        (["--since", "2026-01-01"], 3),
        (["--since", "2099-01-01"], 0),
        (["--until", "2026-01-01"], 0),
        (["--until", datetime.now().date().isoformat()], 3),
    ):
        assert audit(path, "show", *filters) == 0
        lines = capsys.readouterr().out.splitlines()
        if not count:
            assert lines.pop().startswith("no records")
        assert len(lines) == count, filters
        assert all(re.search(r" policy: (alice|bob)$", line) for line in lines)
    assert audit(path, "show", "--since", "yesterday") == 2
    log = path.with_name("gallery.db.audit")
    log.write_bytes(log.read_bytes().replace(b'"n":2,', b'"n":9,', 1))
    assert audit(path, "verify") == 1
    told = capsys.readouterr().out
    assert "broken: gallery.db.audit:2:" in told
    assert "NOT whole" in told


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return two_people(tmp_path)


@pytest.fixture
def kathmandu(monkeypatch):
    """A place 5:45 before UTC, so that no local time passes for one in UTC."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def local(at: str) -> str:
    moment = datetime.fromisoformat(at.replace("Z", "+00:00")) + timedelta(hours=5, minutes=45)
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def test_a_person_reads_local_times_and_a_program_utc(path, capsys, kathmandu):
    assert enroll(path, "--change", "alice", "--retain-days", "9") == 0
    told = {}
    for options in ([], ["--json"]):
        capsys.readouterr()
        assert enroll(path, "--show", "alice", *options) == 0
        assert enroll(path, "--list", *options) == 0
        assert audit(path, "show", *options) == 0
        told[bool(options)] = capsys.readouterr().out
    shown, listed, record = (json.loads(line) for line in told[True].splitlines())
    moments = [
        shown["enrolled_at"],
        shown["retain_until"],
        listed["subjects"][1]["enrolled_at"],
        record["at"],
    ]
    assert all(moment.endswith("Z") for moment in moments)
    assert all(local(moment) in told[False] for moment in moments)
    assert "Z" not in told[False]
    assert "+00:00" not in told[False] + told[True]


def test_the_audit_is_asked_in_local_time(path, capsys, kathmandu):
    assert enroll(path, "--change", "alice", "--access", "face") == 0
    now = datetime.now()
    for since, until, count in (
        (now - timedelta(minutes=2), now + timedelta(minutes=2), 1),
        (now + timedelta(minutes=2), now + timedelta(minutes=9), 0),
        (now - timedelta(minutes=9), now - timedelta(minutes=2), 0),
    ):
        capsys.readouterr()
        times = ["--since", f"{since:%Y-%m-%dT%H:%M}", "--until", f"{until:%Y-%m-%dT%H:%M}"]
        assert audit(path, "show", "--json", *times) == 0
        assert len(capsys.readouterr().out.splitlines()) == count


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ([], "no records"),
        (["--subject", "bob"], "no records for bob"),
        (["--event", "granted", "--since", "2026-01-01"], "no records event granted since 2026-01-01"),
        (["--json"], ""),
    ],
)
def test_an_answer_without_records_says_so(path, capsys, filters, said):
    assert audit(path, "show", *filters) == 0
    assert capsys.readouterr().out.strip() == said


def test_an_audit_without_its_gallery_is_still_checked_and_shown(path, capsys):
    assert enroll(path, "--change", "alice", "--access", "face") == 0
    alias = profile(path).alias
    path.unlink()
    capsys.readouterr()
    assert audit(path, "verify") == 0
    assert audit(path, "show") == 0
    told = capsys.readouterr()
    assert f"policy: {alias}" in told.out
    assert "aliases stay aliases" in told.err
