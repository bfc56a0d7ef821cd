"""The proof proves something: no limit is wider than its pulse, and a mutant is what it says."""

from __future__ import annotations

import ast
import random

import pytest

from scripts.prove import mutants
from scripts.prove.faults import FAULTS, LONG_PULSE_S, WHOLE, choose
from scripts.prove.mutants import ROOT, WINGS, mutants_of, mutated, reasons

PULSE_S = 2.2  # the default of fail_secure.py


@pytest.mark.parametrize("fault", [*FAULTS, *WHOLE], ids=lambda fault: fault.name)
def test_a_limit_of_the_proof_is_shorter_than_the_pulse_that_it_cuts(fault):
    """With a wider one the rule may be switched off, and nobody notices: the pulse ends by itself."""
    pulse_s = LONG_PULSE_S if fault.long else PULSE_S
    assert fault.cut_s is None or fault.cut_s <= pulse_s - 0.2


def test_every_fault_is_run_and_the_long_ones_a_few_times():
    chosen = choose(500, random.Random(1), 80)
    counts = {fault.name: chosen.count(fault) for fault in (*FAULTS, *WHOLE)}
    assert sum(counts.values()) == 500
    assert min(counts.values()) >= 3
    assert all(counts[fault.name] <= fault.most for fault in FAULTS)


SOURCE = """
def allows(now_s: float = 1.5) -> bool:
    if not known and now_s < 3:
        forget(now_s)
    return now_s + 1 >= 2 or False
"""


def test_each_comparison_number_sum_condition_and_call_is_changed_once():
    found = [(each.was, each.becomes) for each in mutants_of("x.py", SOURCE)]
    assert sorted(found) == sorted(
        [
            ("1.5", "3.1"),
            ("if not known and now_s < 3:", "if not (not known and now_s < 3):"),
            ("not known and now_s < 3", "not known or now_s < 3"),
            ("not known", "not not known"),
            ("now_s < 3", "now_s <= 3"),
            ("3", "4"),
            ("forget(now_s)", "..."),
            ("now_s + 1 >= 2 or False", "now_s + 1 >= 2 and False"),
            ("now_s + 1 >= 2", "now_s + 1 > 2"),
            ("now_s + 1", "now_s - 1"),
            ("1", "2"),
            ("2", "3"),
            ("False", "True"),
        ]
    )


def test_a_mutant_differs_in_one_place_and_is_a_program():
    whole = ast.unparse(ast.parse(SOURCE))
    for mutant in mutants_of("x.py", SOURCE):
        text = mutated(SOURCE, mutant)
        changed = [
            pair for pair in zip(whole.splitlines(), text.splitlines(), strict=True) if pair[0] != pair[1]
        ]
        assert len(changed) == 1, mutant


def test_every_wing_has_mutants_and_tests_that_are_there():
    for wing in WINGS:
        for path in (ROOT / "device" / wing).rglob("*.py"):
            file = str(path.relative_to(ROOT))
            assert all((ROOT / test).exists() for test in mutants.tests_of(file))
            for mutant in mutants_of(file, path.read_text()):
                assert mutant.was != mutant.becomes


def test_every_reason_is_of_a_mutant_that_exists():
    keys = set()
    for file in {key[0] for key in reasons()}:
        keys |= {mutant.key for mutant in mutants_of(file, (ROOT / file).read_text())}
    assert [key for key in reasons() if key not in keys] == []


def test_a_survivor_without_a_reason_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(mutants, "fault_of", lambda tree, tests, limit_s, **_: "")
    assert mutants.main(["--file", "device/lock/budget.py", "--sample", "2"]) == 1
    assert "2 survivors without a reason" in capsys.readouterr().out
