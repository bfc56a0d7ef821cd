from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import benchmark
from scripts.measure import timed

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "data" / "tiny.json"
ALWAYS = {"network_int8", "embed", "match_small", "match_large", "read_large"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), *arguments]
    return subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    models = tmp_path_factory.mktemp("models")
    done = run("--quick", "--json", "--manifest", str(TINY), "--models", str(models))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_quick_run_prints_one_json_object_with_the_documented_keys(report):
    assert list(report) == ["machine", "settings", "times_ms", "ratios", "process", "absent"]
    assert set(report["machine"]) == {"platform", "processor", "cores", "python", "litert"}
    assert set(report["times_ms"]) >= ALWAYS
    for row in report["times_ms"].values():
        assert 0 < row["low"] <= row["median"] <= row["high"]
    for row in report["ratios"].values():
        assert set(row) == {"median", "low", "high", "target", "met"}
        assert row["met"] is None  # a quick run judges nothing


def test_every_row_is_measured_or_says_why_not(report):
    processes = {"cold_start_s", "rss_mib", "cpu_share_10fps"}
    assert set(report["times_ms"]) | set(report["absent"]) >= set(benchmark.PURPOSE)
    assert set(report["process"]) | set(report["absent"]) >= processes
    assert "--make-models" in report["absent"]["network_prelu_int8"]


def test_every_key_is_documented():
    for word in ("machine", "settings", "times_ms", "ratios", "process", "absent", "cold_start_s", "rss_mib"):
        assert word in benchmark.__doc__


def test_the_table_names_each_row_and_what_is_absent(report):
    text = benchmark.table(report)
    for name in (*benchmark.PURPOSE, "cold_start_s", "rss_mib", "cpu_share_10fps"):
        assert name in text


def test_a_missing_model_is_one_line_and_the_exit_code_of_a_model_fault(tmp_path):
    done = run("--quick", "--manifest", str(tmp_path / "none.json"))
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "none.json" in done.stderr


def test_rounds_out_of_range_are_refused():
    assert run("--rounds", "0").returncode == 2


def test_interleaving_gives_every_call_its_turn_in_each_round():
    order: list[str] = []
    seconds = benchmark.interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    burst = timed.BURST + 1
    assert order == (["a"] * burst + ["b"] * burst) * 2
    assert all(len(values) == 2 and (values > 0).all() for values in seconds.values())


def test_the_interval_holds_the_median_and_narrows_with_rounds():
    random = np.random.default_rng(0)
    few, many = (benchmark.median_interval(random.normal(10, 1, n)) for n in (20, 2000))
    assert few["low"] < few["median"] < few["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]
    assert benchmark.median_interval(np.array([3.0])) == {"median": 3.0, "low": 3.0, "high": 3.0}


def test_ratios_are_taken_round_by_round_and_judged_on_the_right_side():
    seconds = {
        "network_int8": np.array([1.0, 2.0, 4.0]),
        "network_fp32": np.array([3.0, 6.0, 12.0]),  # three times as long in each round
        "embed": np.array([1.0, 1.0, 1.0]),
        "frame_to_decision": np.array([6.0, 6.0, 6.0]),
    }
    found = benchmark.ratios(seconds, judged=True)
    assert set(found) == {"fp32_to_int8", "decision_to_embed"}
    assert found["fp32_to_int8"] == {"median": 3.0, "low": 3.0, "high": 3.0, "target": ">= 1.8", "met": True}
    assert found["decision_to_embed"]["met"] is False


def test_pinning_is_undone():
    if not hasattr(timed.os, "sched_getaffinity"):
        pytest.skip("this system has no affinity to set")
    before = timed.os.sched_getaffinity(0)
    with benchmark.pinned():
        assert len(timed.os.sched_getaffinity(0)) == 1
    assert timed.os.sched_getaffinity(0) == before


def test_the_photograph_fills_a_640x480_frame():
    pytest.importorskip("matplotlib")
    assert benchmark.photograph(None).shape == (480, 640, 3)


def test_a_photograph_that_is_none_says_so(tmp_path):
    wrong = tmp_path / "text.jpg"
    wrong.write_text("no picture")
    with pytest.raises(benchmark.AbsentError, match="no picture"):
        benchmark.photograph(wrong)


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark.Benchmark, "run", interrupt)
    assert benchmark.main(["--quick", "--manifest", str(TINY)]) == 130
    assert capsys.readouterr().err == "benchmark.py: interrupted\n"
