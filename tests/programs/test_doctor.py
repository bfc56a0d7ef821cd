"""`face-unlock doctor`: whatever is broken, it ends with lines and an exit code; `--watch` opens nothing."""

from __future__ import annotations

import io
import json
import re
import sys
from datetime import datetime
from pathlib import Path

import pytest

from device import build
from device.doctor import examination
from device.errors import CameraError
from device.moment import in_local_time
from scripts import doctor
from tests.support.checkout import run_program
from tests.support.clips import make_clip
from tests.support.galleries import copy_gallery
from tests.support.machines.doctors_host import MadeUpHost
from tests.support.photos import photo_path

LINE = re.compile(r"(green |yellow|red   )  [a-z-]+ +\S.*|  +-> \S.*")


@pytest.fixture
def gallery(tmp_path: Path, enrolled_gallery: Path) -> Path:
    return copy_gallery(enrolled_gallery, tmp_path)


@pytest.fixture
def options(gallery: Path, empty_config: Path, person_clip: Path) -> list[str]:
    return ["--gallery", str(gallery), "--config", str(empty_config), "--camera", str(person_clip)]


def examined(
    capsys: pytest.CaptureFixture[str], machine: MadeUpHost, *arguments: str
) -> dict[str, list[str]]:
    """Run parts in this process, so that nothing of this machine has a say, and return the lights of each."""
    found: dict[str, list[str]] = {}
    for part in examination.CHECKS:
        doctor.main([*arguments, "--only", part, "--json"], host=machine.host)
        for each in json.loads(capsys.readouterr().out)["findings"]:
            found.setdefault(each["name"], []).append(each["light"])
            assert ("advice" in each) == (each["light"] != "green"), each
    return found


@pytest.mark.usefixtures("real_model")
def test_the_whole_examination_says_a_line_for_each_part_and_what_to_do(options):
    done = run_program("scripts/doctor.py", *options)
    assert done.returncode == 1  # a machine without pins, and a clip for a camera
    assert done.stderr == ""
    assert "\033" not in done.stdout
    *lines, verdict = done.stdout.splitlines()
    assert all(LINE.fullmatch(line) for line in lines), done.stdout
    assert verdict.startswith("red     the door cannot open")
    for said in (
        "green   camera         640x480, 15.0 frames a second",
        "green   rotation       0 degrees: a face stands upright",
        "green   gallery        1 person, 1 template of mobilefacenet-",
        "checksums right, all run",
        "yellow  self-test      this door has none",
    ):
        assert said in done.stdout


@pytest.mark.usefixtures("real_model")
def test_json_has_the_verdict_every_finding_and_times_in_utc(options, machine, capsys):
    machine.answers("systemctl", "LoadState=loaded\nActiveState=active\n")
    machine.journal("07:12:31 approach: alice, challenge, stage asked, took s 15.1")
    assert doctor.main([*options, "--only", "approaches", "--json"], host=machine.host) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "yellow"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["at"])
    assert told["findings"][0]["at"].endswith("Z")


def test_a_person_reads_the_time_of_this_place(monkeypatch):
    at = datetime.fromisoformat("2026-07-01T12:00:00+00:00")
    assert in_local_time("2026-07-01T12:00:00Z") == f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize(
    "what", ["no key", "rubbish", "a folder", "a truncated file", "no gallery", "no rights"]
)
@pytest.mark.usefixtures("real_model")
def test_a_broken_gallery_is_red_and_ends_nothing(gallery, options, machine, capsys, what):
    key = Path(f"{gallery}.key")
    if what == "no key":
        key.unlink()
    elif what == "rubbish":
        gallery.write_bytes(b"rubbish" * 999)
    elif what == "a folder":
        gallery.unlink()
        gallery.mkdir()
    elif what == "a truncated file":
        gallery.write_bytes(gallery.read_bytes()[:5000])
    elif what == "no gallery":
        gallery.unlink()
    else:
        key.chmod(0o644)
    found = examined(capsys, machine, *options)
    assert "red" in found.get("gallery", []) + found.get("key", [])
    assert found["camera"] == ["green"]
    assert found["disk"][0] in ("green", "yellow")


def test_a_broken_configuration_is_red_and_ends_nothing(tmp_path, machine, capsys):
    file = tmp_path / "config.toml"
    for text in ("[lock]\npin = 99\n", "not toml", "", None):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        if text != "":  # an empty one is whole
            found = examined(capsys, machine, "--config", str(file))
            assert set(found["configuration"]) == {"red"}
            assert "board" in found


@pytest.mark.usefixtures("real_model")
def test_networks_that_are_missing_or_changed_are_red(options, machine, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FACE_UNLOCK_CACHE", str(tmp_path / "nothing"))
    monkeypatch.setattr(build, "WEIGHTS", tmp_path)
    found = examined(capsys, machine, *options)
    assert found["networks"] == ["red"]
    assert found["gallery"] == ["red"]
    assert found["challenge"] == ["red"]


@pytest.mark.parametrize(
    "source", ["99", "/dev/video99", "rtsp://127.0.0.1:1/x", "no_such.mp4", "picamera2:9"]
)
def test_a_camera_that_cannot_be_opened_is_red(machine, capsys, tmp_path, source):
    file = tmp_path / "config.toml"
    file.write_text("[camera]\nstall_timeout_s = 0.5\n")
    code = doctor.main(["--camera", source, "--config", str(file), "--only", "camera"], host=machine.host)
    assert (code, capsys.readouterr().out[:6]) == (1, "red   ")


def test_lights_are_colored_on_a_terminal_and_words_everywhere(machine, capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for no_color, expected in ((False, "\033[32mgreen \033[0m"), (True, "green ")):
        monkeypatch.setenv("NO_COLOR", "1") if no_color else monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setattr(sys, "stdout", Terminal())
        doctor.main(["--config", "/dev/null", "--only", "serial"], host=machine.host)
        assert sys.stdout.getvalue().startswith(f"{expected}  serial")


@pytest.mark.parametrize(
    "arguments", [["--only", "nothing"], ["--watch", "--json"], ["--watch", "--only", "disk"]]
)
def test_what_makes_no_sense_is_exit_code_2(arguments):
    with pytest.raises(SystemExit) as ended:
        doctor.main(arguments)
    assert ended.value.code == 2


@pytest.fixture
def watched(tmp_path: Path, gallery: Path, person_clip: Path) -> list[str]:
    file = tmp_path / "watch.toml"
    file.write_text('[liveness]\nmode = "passive"\nunproven = "allow"\n')
    return ["--watch", "--gallery", str(gallery), "--config", str(file), "--camera", str(person_clip)]


class CertainlyLive:
    model_id, unsure, attack = "pad-1", 0.6, 0.3

    def score(self, image, box):
        return 0.9


@pytest.mark.usefixtures("real_model")
def test_watch_shows_each_stage_with_value_and_limit_and_opens_nothing(watched, machine, capsys, monkeypatch):
    monkeypatch.setattr(build, "build_liveness", lambda config: CertainlyLive())
    assert doctor.main(watched, host=machine.host) == 0
    out = capsys.readouterr().out
    for said in (
        r"green   face       \d+ px wide, needs 77",
        r"green   points     [\d.]+, needs 0",
        r"green   light      signal [\d.]+, needs 2; white \d+ %, at most 60 %",
        r"green   turned     \d+ degrees to your (left|right), at most 20",
        r"green   sharp      \d+, needs 20",
        r"green   person     like Eileen",
        r"green   alive      yes",
        r"yellow  verdict    confirming",
        r"approach: Eileen, granted, stage opened",
    ):
        assert re.search(said, out), said
    assert not re.search(r"similarity|0\.\d{3,}", out.partition("approach: ")[0])


@pytest.mark.usefixtures("real_model")
def test_watch_says_of_a_stranger_only_how_far_and_of_a_move_what_is_asked(
    watched, machine, capsys, tmp_path, empty_config
):
    stranger = make_clip(tmp_path / "stranger.mp4", f"{photo_path('hopper')}:2")
    assert doctor.main([*watched, "--camera", str(stranger)], host=machine.host) == 1
    out = capsys.readouterr().out
    assert re.search(r"yellow  person     like nobody enrolled: (far|just) below what it needs", out)
    assert doctor.main([*watched, "--config", str(empty_config)], host=machine.host) == 1
    out = capsys.readouterr().out
    assert "yellow  asked      look at the camera and hold still" in out


@pytest.mark.usefixtures("real_model")
def test_watch_leaves_the_camera_of_a_running_door_alone(watched, machine, capsys, monkeypatch):
    from device.doctor import stages

    class Camera:
        live, name = True, "0"

    machine.runs(812, "python", "unlock.py")
    config = doctor.configured(doctor.parse(watched))
    with pytest.raises(CameraError, match=r"in use by the door .process 812.*systemctl stop face-unlock"):
        stages.watch(config, machine.host, open_camera=lambda config: Camera())
