"""Public text is tested: flags, keys, exit codes, links and the README's commands."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from device import errors
from device.config import every_setting, parse_config
from device.journal.events import TOLD
from device.lock.door import Alarm, DoorState
from device.lock.wire import Refusal
from device.types import Is, Reason
from scripts.face_unlock import COMMANDS
from tests.support.checkout import ROOT, run_program

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/**/*.md"))
}
PAGES = {Path("README.md"): README, **DOCS}


@pytest.mark.parametrize("program", ["enroll.py", "unlock.py"])
def test_every_flag_stands_in_the_documents(program: str) -> None:
    flags = set(re.findall(r"--[a-z][a-z-]+", run_program(program, "--help").stdout)) - {"--help"}
    page = DOCS[Path("docs/owner/enroll.md" if program == "enroll.py" else "docs/owner/tune.md")]
    missing = {flag for flag in flags if f"`{flag}" not in page}
    assert flags
    assert not missing


def test_every_flag_of_the_documents_exists() -> None:
    helps = "".join(run_program(program, "--help").stdout for program in ("enroll.py", "unlock.py"))
    for page in ("docs/owner/enroll.md", "docs/owner/tune.md"):
        for flag in re.findall(r"^\| `(--[a-z-]+)", DOCS[Path(page)], re.MULTILINE):
            assert flag in helps, f"{page} names {flag}"


def test_the_table_of_keys_and_the_example_are_up_to_date() -> None:
    done = run_program("scripts/repo/write_config_docs.py", "--check")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [name for name, _ in every_setting()])
def test_every_key_stands_in_tune(name: str) -> None:
    assert f"| `{name}` |" in DOCS[Path("docs/owner/tune.md")]


def test_the_example_configuration_is_valid() -> None:
    from device.config import tomllib

    text = (ROOT / "systemd/config.example.toml").read_text(encoding="utf-8")
    everything = re.sub(r"(?m)^# (\w+ = )", r"\1", text)
    for each in (text, everything):
        config = parse_config(tomllib.loads(each), origin="example")
        assert config.gallery == "/var/lib/face-unlock/gallery.db"
    assert len(re.findall(r"(?m)^\w+ = ", everything)) == len(every_setting())


def test_toml_in_the_documents_is_valid() -> None:
    from device.config import tomllib

    blocks = [block for text in PAGES.values() for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    assert blocks
    for block in blocks:
        parse_config(tomllib.loads(block), origin="a document")


def test_every_exit_code_stands_in_pipeline() -> None:
    page = DOCS[Path("docs/how/pipeline.md")]
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass)]
    codes = {each.exit_code for each in classes if issubclass(each, errors.FaceUnlockError)}
    for code in codes | {0, 130, 143}:
        assert re.search(rf"^\| (\d+, )?{code} \|", page, re.MULTILINE), code


def test_the_owners_page_of_trouble_has_the_line_of_every_refusal() -> None:
    page = DOCS[Path("docs/owner/trouble.md")]
    told = {str(reason).replace("_", " ") for reason in Reason if reason.has(Is.REFUSAL)}
    assert set(re.findall(r"`refused: ([a-z ]+)`", page)) == told


def test_every_command_that_a_page_tells_an_owner_to_type_exists() -> None:
    typed = {
        (name, option)
        for text in PAGES.values()
        for name, rest in re.findall(r"(?m)(?:^    |`)face-unlock ([a-z]+)([^`#\n]*)", text)
        for option in re.findall(r" (--[a-z-]+)", rest) or [""]
    }
    assert len({name for name, _ in typed}) >= 8
    helps = {name: COMMANDS[name].line().format_help() for name, _ in typed}
    assert [(name, option) for name, option in sorted(typed) if option not in helps[name]] == []


def test_every_word_of_door_and_lock_process_stands_in_the_page_of_the_log() -> None:
    page = DOCS[Path("docs/owner/log.md")]
    for word in [*DoorState, *Alarm, *Refusal]:
        assert f"`{word}`" in page, word
    for event in TOLD:
        assert f"`{event}`" in page, event


def test_every_flag_of_the_lock_process_stands_in_tune() -> None:
    flags = re.findall(r"--[a-z][a-z-]+", run_program("-m", "device.lockd", "--help").stdout)
    assert {flag for flag in flags if f"`{flag}" not in DOCS[Path("docs/owner/tune.md")]} <= {"--help"}


@pytest.mark.parametrize("page", list(PAGES), ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGES[page]):
        if not target.startswith("http"):
            assert (ROOT / page.parent / target).exists(), f"{page} links to {target}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"(?ms)^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"))
    headings = (heading.lower() for heading in re.findall(r"(?m)^#+ (.+)$", text))
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", list(PAGES), ids=str)
def test_links_into_a_page_lead_to_one_of_its_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", PAGES[page]):
        file = (ROOT / page.parent / target).resolve() if target else ROOT / page
        assert anchor in anchors(file), f"{page} links to {target}#{anchor}"


def test_make_help_lists_at_most_twelve_targets_and_the_named_ones() -> None:
    if shutil.which("make") is None:
        pytest.skip("needs make")
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^  make ([a-z-]+)", listed, re.MULTILINE)
    assert len(targets) <= 12
    assert {"demo", "test", "test-train", "check", "help"} <= set(targets)
    named = {name for text in PAGES.values() for name in re.findall(r"(?m)^    make ([a-z-]+)", text)}
    assert named <= set(targets)


def test_the_readme_is_two_screens_and_leads_to_every_page() -> None:
    assert README.count("\n") <= 110
    linked = set(re.findall(r"\]\(([^)#]+)", README))
    assert {str(page) for page in DOCS if page.parent.name != "adr"} <= linked


@pytest.mark.usefixtures("real_model")
def test_the_readmes_commands_run_and_show_what_it_says(tmp_path: Path) -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    commands = [line for line in block.splitlines() if line]
    assert len(commands) == 3
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": cache_home()}
    told = ""
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == ".venv/bin/python"
        script, *rest = arguments
        rest = [re.sub(r"^tests/", f"{ROOT}/tests/", word) for word in rest]
        done = subprocess.run(
            [sys.executable, str(ROOT / script), *rest],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        told += done.stdout
    # The move is drawn anew each time, and a very slow machine misses so many frames that none is asked for.
    sure = [line for line in shown.splitlines() if not line.startswith(("challenge: ", "approach: "))]
    assert len(sure) == 3
    assert [line for line in sure if not re.search(re.escape(line).replace(r"\.\.\.", ".*"), told)] == []
    assert "granted" not in done.stdout  # a portrait in a clip is no person


def cache_home() -> str:
    """Return where the two MediaPipe files lie, whatever HOME is."""
    return os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())


def test_no_package_index_and_no_machine_path_is_committed() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs a git checkout")
    done = run_program("scripts/repo/check_tree.py")
    assert done.returncode == 0, done.stdout


def test_requirements_hold_no_address_and_exact_versions_only() -> None:
    lines = (ROOT / "requirements/constraints.txt").read_text().splitlines()
    versions = [line for line in lines if line and not line.startswith("#")]
    assert versions
    for line in versions:
        assert re.match(r"^[a-z0-9._-]+==[^ =]+( ; .+)?$", line), line
    for path in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in path.read_text()
        assert "index-url" not in path.read_text()


def test_every_requirement_is_locked() -> None:
    locked = {
        line.split("==")[0] for line in (ROOT / "requirements/constraints.txt").read_text().splitlines()
    }
    for path in (ROOT / "requirements").glob("*.txt"):
        for line in path.read_text().splitlines():
            if line and not line.startswith("#"):
                name = re.split(r"[<>=;\[ ]", line)[0].lower().replace("_", "-").replace(".", "-")
                assert name in locked, f"{path.name}: {name}"


def test_every_test_that_a_document_names_is_there() -> None:
    named = {pair for text in PAGES.values() for pair in re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)}
    assert len(named) >= 30
    for file, name in sorted(named):
        texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob(file)]
        assert any(f"def {name}(" in text for text in texts), f"{file}::{name}"


def test_whatever_degrades_the_door_stands_in_degraded() -> None:
    page = DOCS[Path("docs/how/degraded.md")]
    everyday = {
        "started",
        "ready",
        "granted",
        "challenge",
        "approach",
        "kept_out",
        "unlocked",
        "door",
        "heartbeat",
        "alarm",
        "alarm_over",
        "outside_opened",
    }
    assert [event for event in TOLD if f"`{event}" not in page and event not in everyday] == []
