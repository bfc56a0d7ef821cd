"""The proof in short: twenty faults without a violation; and that it would see one."""

from __future__ import annotations

import random
import sys

import pytest

from tests.conftest import ROOT, run_program

sys.path.insert(0, str(ROOT / "scripts"))

import prove_fail_secure as module
from fail_secure_faults import FAULTS, Fault, Outcome
from fail_secure_report import BEGIN, END, table, write_report

PULSE_S = 0.8
NOTHING = Fault("nothing", lambda scene: None)


def test_twenty_faults():
    options = ["--faults", str(len(FAULTS) + 1), "--pulse", str(PULSE_S), "--seed", "7", "--quiet"]
    done = run_program("scripts/prove_fail_secure.py", *options, timeout_s=170)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("20 faults, 0 violations\n")
    for fault in FAULTS:
        assert f"| {fault.name} |" in done.stdout


@pytest.fixture
def stage(tmp_path):
    made = module.Stage(tmp_path, pulse_s=PULSE_S, rng=random.Random(3), clip=None, gallery=None)
    yield made
    made.supervisor.close()


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
    assert any("openings, one request" in text for text in outcome.wrong)


def test_a_door_that_does_not_open_is_a_violation(stage, monkeypatch):
    monkeypatch.setattr(stage.rng, "uniform", lambda low, high: high)
    (stage.folder / "stuck_locked").touch()
    outcome = stage.run(NOTHING)
    assert outcome.wrong == ["did not open"]
    (stage.folder / "stuck_locked").unlink()
    assert stage.run(NOTHING).wrong == []


def test_table_and_page_say_what_was_found(tmp_path):
    fault = FAULTS[0]
    outcomes = [
        Outcome(fault, True, 1, 1.25, 0.1, 2.7),
        Outcome(fault, False, 1, 2.0, None, 2.7),
        Outcome(fault, True, 1, 3.0, 0.3, 2.7, ["unlocked for 3.00 s"]),
    ]
    row = f"| {fault.name} | 3 | 2 | 3.00 | 2.7 | 0.20, 0.30 | 0.5 | 1 |"
    assert row in table(outcomes)
    page = tmp_path / "fail_secure.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_report(tmp_path, outcomes, "the command", 2.2)
    text = page.read_text()
    assert row in text
    assert "3 faults, 2 of them while unlocked: 1 violations" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert (tmp_path / "fail_secure.png").stat().st_size > 5000


def test_the_page_in_docs_has_a_run_without_violations():
    text = (ROOT / "docs/fail_secure.md").read_text()
    assert "**500 faults" in text
    assert ": 0 violations.**" in text
