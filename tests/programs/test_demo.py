"""The demo as `make demo` runs it, and that it fails when it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.config import MODELS, Config
from device.types import Decision, FaceDetection, Reason
from tests.support.checkout import enroll, run_program

pytest.importorskip("matplotlib")

from scripts import demo
from scripts.stage.demo_picture import Act, Play, Step

PASSED = "passed: Eileen Collins was let in, Grace Hopper, print and screen were not; the door is locked"


@pytest.mark.usefixtures("real_model")
def test_the_demo_passes_and_draws(tmp_path: Path) -> None:
    picture = tmp_path / "demo.png"
    done = run_program("scripts/demo.py", "--picture", str(picture), "--seconds", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "granted: Eileen Collins" in done.stdout
    assert PASSED in done.stdout
    assert "challenge: " in done.stdout
    assert cv2.imread(str(picture)).shape == (1240, 1300, 3)
    assert done.stdout.count("passive look alone: ") == 4
    assert done.stdout.count(": refused (score") == 3


@pytest.mark.usefixtures("real_model")
@pytest.mark.parametrize("model", [name for name in MODELS if name != Config().model])
def test_every_network_opens_the_door_by_one_key(tmp_path: Path, model: str) -> None:
    """The whole play is run once, above; another network changes who is told from whom."""
    (tmp_path / "config.toml").write_text(f'model = "{model}"\n')
    config, photos = demo.configured(tmp_path, tmp_path / "config.toml", None), demo.photographs()
    options = ["--gallery", config.gallery, "--config", str(tmp_path / "config.toml"), "--no-sheet"]
    done = enroll("--name", demo.SUBJECT, "--images", str(photos[demo.SUBJECT]), *options)
    assert done.returncode == 0, done.stderr
    parts = [part for part in demo.cast(photos, 1.5) if part.who in (demo.STRANGER, demo.SUBJECT)]
    result = demo.play(replace(config, liveness=replace(config.liveness, mode="off")), parts)
    assert demo.faults(result) == []


FACE = FaceDetection(box=(0, 0, 100, 100), score=0.9, keypoints=np.zeros((6, 2), np.float32))
IMAGE = np.zeros((4, 4, 3), np.uint8)
ACTS = [
    *(Act("nobody", 0, 1), Act(demo.STRANGER, 1, 2), Act(demo.PRINT, 2, 3), Act(demo.SCREEN, 3, 4)),
    *(Act(demo.SUBJECT, 4, 5), Act("nobody", 5, 6)),
]


def step(
    at_s: float, granted: str | None, seen: bool = True, refused: Reason = Reason.BELOW_THRESHOLD
) -> Step:
    reason = Reason.GRANTED if granted else refused
    decision = Decision(
        granted is not None, reason, at_s, subject_id=granted, detection=FACE if seen else None
    )
    return Step(at_s, IMAGE, decision)


GOOD = Play(
    acts=ACTS,
    steps=[
        step(0.5, None, seen=False),
        step(1.5, None),
        step(2.5, None, refused=Reason.CHALLENGE_FAILED),
        step(3.5, None, refused=Reason.SPOOF_SUSPECTED),
        step(4.5, demo.SUBJECT),
        step(5.5, None, seen=False),
    ],
    pin=[(0, False), (4.5, True), (4.9, False), (6, False)],
    threshold=0.4,
)


def test_a_good_play_has_no_faults() -> None:
    assert demo.faults(GOOD) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"steps": [GOOD.steps[0], step(1.5, demo.SUBJECT), *GOOD.steps[2:]]},
            "Grace Hopper: expected no grant",
        ),
        (
            {"steps": [*GOOD.steps[:4], step(4.5, None), GOOD.steps[5]]},
            "Eileen Collins: expected Eileen Collins grant",
        ),
        ({"steps": [*GOOD.steps[:4], step(4.5, "Bob"), GOOD.steps[5]]}, "received {'Bob'}"),
        (
            {"steps": [*GOOD.steps[:2], step(2.5, demo.SUBJECT), *GOOD.steps[3:]]},
            "a print of her: expected no",
        ),
        ({"steps": [*GOOD.steps[:2], step(2.5, None), *GOOD.steps[3:]]}, "was not refused as an attack"),
        ({"steps": [step(0.5, None), *GOOD.steps[1:]]}, "nobody: the detector saw somebody"),
        ({"pin": [(0, False), (4.5, True), (6, True)]}, "expected one pulse that ends locked"),
        ({"pin": [(0, False), (6, False)]}, "expected one pulse that ends locked"),
        ({"pin": [(0, False), (4.4, True), (4.9, False), (6, False)]}, "unlocked 0.100 s before the grant"),
    ],
)
def test_a_bad_play_is_a_failure(change: dict[str, object], said: str) -> None:
    assert any(said in fault for fault in demo.faults(replace(GOOD, **change)))


def test_a_failure_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stranger_in = replace(GOOD, steps=[GOOD.steps[0], step(1.5, demo.SUBJECT), *GOOD.steps[2:]])
    monkeypatch.setattr(demo, "run", lambda *_: stranger_in)
    monkeypatch.setattr(demo.demo_picture, "draw", lambda *_: None)
    assert demo.main(["--picture", str(tmp_path / "demo.png")]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--picture", "/nonexistent/x.png"],
        ["--picture", "demo.mp4"],
        ["--picture", "tests"],
        ["--seconds", "nan"],
        ["--seconds", "-1"],
    ],
)
def test_a_bad_argument_is_named_before_the_demo_runs(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "run", lambda *_: pytest.fail("the demo ran"))
    assert demo.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_picture_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "run", lambda *_: GOOD)
    assert demo.main(["--picture", str(tmp_path / ("x" * 252 + ".png"))]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_demo_takes_model_and_settings_but_its_own_gallery_and_pin(tmp_path: Path) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text('model = "facenet"\ngallery = "mine.db"\nthreads = 2\n[lock]\npin = 27\n')
    config = demo.configured(tmp_path, settings, None)
    assert (config.model, config.threads, config.lock.pin) == ("facenet", 2, 17)
    assert config.gallery_path == tmp_path / "gallery.db"
    assert demo.configured(tmp_path, settings, "vargfacenet").model == "vargfacenet"
    assert demo.configured(tmp_path, Path("/dev/null"), None).model == "mobilefacenet"


def test_a_model_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--model", "facenett", "--picture", str(tmp_path / "demo.png")]) == 3
    assert "did you mean 'facenet'?" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["the clip", "the enrollment"])
def test_ctrl_c_is_one_line(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if where == "the clip":
        monkeypatch.setattr(demo, "run", interrupt)
    else:
        monkeypatch.setattr("enroll.studio_of", interrupt)
    assert demo.main([]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"{demo.MARK} demo: interrupted"
