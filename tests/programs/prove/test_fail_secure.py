"""The proof in short: faults and cuts without a violation; and that it would see one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.build import build_audit
from device.journal.verify import Verdict
from scripts.prove import fail_secure as module
from scripts.prove.cuts import Cuts, Promise, look
from scripts.prove.faults import FAULTS, Fault, Outcome
from scripts.prove.report import BEGIN, END, table, write_report
from scripts.prove.stores import Stored, config_of, lost, stored, unaudited
from tests.support.checkout import ROOT, run_program
from tests.support.galleries import copy_gallery
from tests.support.waiting import wait_until

PULSE_S = 0.8
NOTHING = Fault("nothing", lambda scene: None)


def test_one_fault_of_each_kind():
    """With some seconds more than the bounds, for a busy machine: `make prove` holds these."""
    kinds = [fault for fault in FAULTS if not fault.is_rare]
    options = ["--faults", str(len(kinds)), "--pulse", str(PULSE_S), "--seed", "7", "--quiet", "--slack", "3"]
    done = run_program("scripts/prove/fail_secure.py", *options, timeout_s=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"{len(kinds)} faults, 0 violations\n")
    for fault in kinds:
        assert f"| {fault.name} |" in done.stdout


def test_a_proof_that_is_stopped_leaves_nobody_behind(tmp_path):
    command = [sys.executable, "scripts/prove/fail_secure.py", "--faults", "20", "--pulse", str(PULSE_S)]
    proof = subprocess.Popen(
        [*command, "--quiet"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: list(tmp_path.glob("fail-secure-*/bolt.sock")), 240)
    proof.terminate()
    assert proof.wait(240) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
    # A recognizer that was being started has nobody to end it: it does so itself, where its pipe is closed.
    wait_until(lambda: not [each for each in running() if str(tmp_path).encode() in each], 240)


def running() -> Iterator[bytes]:
    """Yield the command of every process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            yield path.read_bytes()


@pytest.fixture
def stage(tmp_path):
    made = module.Stage(tmp_path, pulse_s=PULSE_S, rng=random.Random(3), clip=None, state=None)
    yield made
    made.close()


def test_a_pin_that_stays_open_is_a_violation(stage):
    stuck = Fault("stuck", lambda scene: (stage.folder / "stuck_open").touch())
    outcomes = [stage.run(stuck) for _ in range(1)]
    assert outcomes[0].wrong
    assert any("unlocked" in text for text in outcomes[0].wrong)
    (stage.folder / "stuck_open").unlink()


def test_an_opening_that_nobody_asked_for_is_a_violation(stage):
    def open_by_hand(scene):
        stage.trace.append(True)
        stage.trace.append(False)
        stage.trace.append(True)
        stage.trace.append(False)

    outcome = stage.run(Fault("by hand", open_by_hand))
    assert any("openings, 1 requests" in text for text in outcome.wrong)


def test_a_door_that_does_not_open_is_a_violation(stage, monkeypatch):
    monkeypatch.setattr(stage.rng, "uniform", lambda low, high: high)
    (stage.folder / "stuck_locked").touch()
    with monkeypatch.context() as patch:
        patch.setattr(stage.waits, "between", lambda start_s, end_s: 0.0)  # a busy machine would be excused
        outcome = stage.run(NOTHING)
    assert outcome.wrong == ["did not open"]
    (stage.folder / "stuck_locked").unlink()
    assert stage.run(NOTHING).wrong == []


def test_a_door_whose_budget_is_spent_gets_a_new_one(stage):
    """Pulses that ran into each other were one opening, and ten of the budget: the next fault was a violation."""

    def ask_on(scene):
        for _ in range(12):
            scene.recognizer.ask()
            time.sleep(0.05)

    stage.run(Fault("asks on", ask_on, longest_s=5))
    assert stage.run(Fault("asked at once", lambda scene: (scene.recognizer.ask(), time.sleep(1)))).openings


def outcome(wrong=(), lost=(), unaudited=()):
    return Outcome(NOTHING, True, 1, 9.0, None, 2.7, list(wrong), list(lost), list(unaudited))


@pytest.mark.parametrize(
    ("found", "tries"),
    [
        ([outcome(["unlocked for 9.00 s"]), outcome()], 2),
        ([outcome(["unlocked for 9.00 s"]), outcome(["unlocked for 9.00 s"])], 2),
        ([outcome(["2 openings, 1 requests"])], 1),
        ([outcome(lost=["an entry"])], 1),
        ([outcome(["unlocked for 9.00 s"], unaudited=["a grant"])], 1),
        ([outcome()], 1),
    ],
)
def test_a_bound_that_is_missed_is_tried_once_more_and_nothing_else_is(monkeypatch, found, tries):
    left = list(found)
    monkeypatch.setattr(module.Stage, "run", lambda self, fault: left.pop(0))
    ended = module.prove([NOTHING], pulse_s=2.2, rng=random.Random(1), quiet=True, slack_s=0, again=True)
    assert ended == [found[tries - 1]]
    assert left == []


def test_table_and_page_say_what_was_found(tmp_path):
    fault = FAULTS[0]
    outcomes = [
        Outcome(fault, True, 1, 1.25, 0.1, 2.7),
        Outcome(fault, False, 1, 2.0, None, 2.7),
        Outcome(fault, True, 1, 3.0, 0.3, 2.7, ["unlocked for 3.00 s"], ["an entry"], ["a record"]),
    ]
    row = f"| {fault.name} | 3 | 2 | 3.00 | 2.7 | 0.00 | 0.20, 0.30 | 0.5 | 1 | 1 | 1 |"
    assert outcomes[2].violations == ["unlocked for 3.00 s", "lost: an entry", "not in the audit: a record"]
    assert row in table(outcomes)
    page = tmp_path / "fail_secure.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_report(tmp_path, outcomes, [Cuts("a program", 9, 36, 20, 15, ["gone"])], "the command", 2.2)
    text = page.read_text()
    assert row in text
    assert "| a program | 9 | 36 | 20 | 15 | 1 | 0 |" in text
    assert "36 cuts of the power at the system calls of 1 programs: 1 violations" in text
    assert "3 faults, 2 of them while unlocked: 1 violations" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert (tmp_path / "fail_secure.png").stat().st_size > 5000


def test_the_page_in_docs_has_a_run_without_violations():
    text = (ROOT / "docs/how/fail_secure.md").read_text()
    faults, violations = map(int, re.search(r"\*\*(\d+) faults, .*: (\d+) violations\.\*\*", text).groups())
    assert faults >= 500
    assert violations == 0


# --- what is stored


@pytest.fixture
def door(tmp_path, enrolled_gallery):
    """The files of a door that let its guest in once."""
    (tmp_path / "state").mkdir()
    copy_gallery(enrolled_gallery, tmp_path / "state")
    grant(tmp_path / "state")
    return tmp_path / "state"


def grant(folder):
    build_audit(config_of(folder), demo=False).record("granted", subject="a1", reason="face")
    return time.monotonic()


def told(*events):
    return [json.dumps({"event": event}).encode() for event in events]


def test_an_opening_with_its_record_and_its_entry_is_none_missed(door):
    before = stored(door)
    at_s = grant(door)
    now = stored(door)
    assert (before.subjects, len(before.granted), len(now.granted), now.fault) == (("Eileen",), 1, 2, "")
    assert unaudited(before, now, [at_s + 0.01], told("ready", "granted"), may_tear=False) == []
    assert lost(before, now, 0) == []
    assert lost(before, now, 1) == ["1 openings, 0 entries counted"]


def test_an_opening_before_its_record_is_a_violation(door):
    before, early_s = stored(door), time.monotonic()
    time.sleep(0.05)
    grant(door)
    assert unaudited(before, stored(door), [early_s], [], may_tear=False) == [
        "opening 1 has no record before it"
    ]
    assert unaudited(before, before, [], told("granted"), may_tear=False) == ["1 granted told, 0 recorded"]
    assert unaudited(before, before, [], told("audit_lost", "refused"), may_tear=False) == []


def test_a_torn_end_is_forgiven_to_a_power_cut_only(door):
    before = stored(door)
    with (door / "gallery.db.audit").open("ab") as log:
        log.write(b'{"n":2,"at"')
    now = stored(door)
    assert unaudited(before, now, [], [], may_tear=True) == []
    assert unaudited(before, now, [], [], may_tear=False) == ["its end is torn"]


def test_records_and_galleries_that_are_gone_are_violations(door, monkeypatch):
    before = stored(door)
    (door / "gallery.db.audit").write_bytes(b"")
    assert any("cut off" in text for text in unaudited(before, stored(door), [], [], may_tear=True))
    (door / "gallery.db.generation").unlink()
    assert "generation is missing" in lost(before, stored(door), 0)[0]
    assert lost(before, Stored("another", before.subjects, verdict=Verdict()), 0) == [
        "the gallery is not what it was"
    ]


def test_a_cut_that_leaves_neither_before_nor_after_is_a_violation(door):
    now, cuts = stored(door), Cuts("a program")
    other = Stored("another", ("Grace",))
    look(cuts, door, now, now, Promise())
    assert (cuts.as_before, cuts.violations) == (1, 0)
    look(cuts, door, other, other, Promise())
    assert cuts.lost == ["the gallery is neither the one before nor the one after"]
    look(cuts, door, now, now, Promise(pulses=1))
    assert cuts.lost[1:] == ["1 openings, 0 entries counted"]
    assert cuts.unaudited[-1] == "1 openings, 0 recorded"
