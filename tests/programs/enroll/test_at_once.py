"""Two programs at once: what one of them asked and checked is not stored over what the other stored meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import enroll as enroll_program
from device.enroll import enrollment
from device.gallery import backup as backup_file
from scripts import backup
from tests.support.checkout import ASTRONAUT, enroll, people
from tests.support.photos import photo_path

pytestmark = pytest.mark.usefixtures("real_model")


def meanwhile(patch: pytest.MonkeyPatch, deed: Callable[[], object]) -> None:
    """Let something happen once, while a person stands before the camera."""
    look, left = enrollment.look_at, [deed]

    def look_at(*given: object) -> None:
        look(*given)
        if left:
            left.pop()()

    patch.setattr(enrollment, "look_at", look_at)


def of(name: str, photograph: object, options: list[str]) -> list[str]:
    return ["--name", name, "--images", str(photograph), "--no-sheet", *options]


def test_two_people_who_enroll_by_one_name_at_once_are_not_one_person(options, tmp_path, monkeypatch, capsys):
    other = of("alice", photo_path("hopper"), options)
    meanwhile(monkeypatch, lambda: enroll_program.main(other))
    assert enroll_program.main(of("alice", ASTRONAUT, options)) == 5
    line = capsys.readouterr().err.splitlines()[-1]
    assert "another program changed 'alice' meanwhile: nothing was stored" in line
    assert "show alice" in line
    assert people(tmp_path / "gallery.db") == {"alice": 1}


def test_whom_an_enrollment_looks_like_is_asked_of_those_who_came_meanwhile(
    options, tmp_path, monkeypatch, capsys
):
    meanwhile(monkeypatch, lambda: enroll_program.main(of("twin", ASTRONAUT, options)))
    assert enroll_program.main(of("alice", ASTRONAUT, options)) == 8
    assert "'alice' looks like 'twin', who is enrolled" in capsys.readouterr().err
    assert people(tmp_path / "gallery.db") == {"twin": 1}


def test_somebody_else_who_came_meanwhile_is_no_hindrance(options, tmp_path, monkeypatch):
    meanwhile(monkeypatch, lambda: enroll_program.main(of("grace", photo_path("hopper"), options)))
    assert enroll_program.main(of("alice", ASTRONAUT, options)) == 0
    assert people(tmp_path / "gallery.db") == {"alice": 1, "grace": 1}


def test_a_change_does_not_undo_another_one_that_was_made_while_it_asked(
    stored, options, monkeypatch, capsys
):
    def ask(_what: str) -> str:
        assert enroll("--change", "Eileen", "--access", "disabled", *options).returncode == 0
        return "482915"

    monkeypatch.setattr(enroll_program, "ask_pin", ask)
    assert enroll_program.main(["--change", "Eileen", "--pin", *options]) == 5
    assert "another program changed 'Eileen' meanwhile" in capsys.readouterr().err
    shown = enroll("--show", "Eileen", *options).stdout
    assert "access disabled" in shown
    assert "no pin" in shown or "pin" not in shown.replace("access", "")


def test_a_backup_is_without_whom_a_removal_took_while_it_was_written(
    stored: Path, options, tmp_path, monkeypatch
):
    create = backup_file.create

    def slow(*given: object) -> None:
        create(*given)
        assert enroll("--remove", "Eileen", "--yes", "--no-sheet", *options).returncode == 0

    monkeypatch.setattr(backup_file, "create", slow)
    file = tmp_path / "b"
    assert backup.main(["create", str(file), "--no-passphrase", *options]) == 0
    assert b"Eileen" not in file.read_bytes()
    assert backup.main(["restore", str(file), "--no-passphrase", "--yes", *options]) == 0
    assert people(stored) == {}
