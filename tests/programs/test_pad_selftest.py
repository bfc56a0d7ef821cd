"""scripts/pad_selftest.py: guided at a camera or from photographs, counted, printed and stored."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from device import build
from device.gallery.gallery import Gallery
from device.types import Image
from scripts import pad_selftest
from tests.support.checkout import ROOT
from tests.support.galleries import copy_gallery
from tests.support.photos import photo

pytestmark = pytest.mark.usefixtures("real_model")
ASTRONAUT = ROOT / "tests/data/astronaut.jpg"


@dataclass
class BrightIsLive:
    """A liveness network that a test can foresee: dark faces are attacks."""

    model_id: str = "pad-0123456789ab"
    unsure: float = 0.6
    attack: float = 0.3

    def score(self, image: Image, box: tuple[float, float, float, float]) -> float:
        left, top, width, height = map(round, box)
        return 0.9 if image[top : top + height, left : left + width].mean() > 110 else 0.1


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> BrightIsLive:
    made = BrightIsLive()
    monkeypatch.setattr(build, "build_liveness", lambda config: made, raising=False)
    return made


@pytest.fixture
def stored(tmp_path: Path, enrolled_gallery: Path) -> Path:
    return copy_gallery(enrolled_gallery, tmp_path)


@pytest.fixture
def options(stored: Path, empty_config: Path) -> list[str]:
    return ["--gallery", str(stored), "--config", str(empty_config)]


def shown(folder: Path, species: str, bright: int, dark: int) -> None:
    """Write so many photographs of a species."""
    (folder / species).mkdir(parents=True)
    for i in range(bright + dark):
        share = 1.0 if i < bright else 0.5
        view = (photo("astronaut").astype(float) * share).astype(np.uint8)
        cv2.imwrite(str(folder / species / f"{i:03d}.jpg"), view[..., ::-1])


def verdict_of(gallery: Path):
    with Gallery(gallery, model_id=None, dimension=1, read_only=True) as opened:
        return opened.selftest()


def test_photographs_are_counted_printed_and_stored(tmp_path, stored, options, scorer, capsys):
    for species, bright, dark in (("print", 0, 3), ("phone", 1, 2), ("live", 3, 1)):
        shown(tmp_path / "shown", species, bright, dark)
    cv2.imwrite(str(tmp_path / "shown/print/empty.png"), np.full((300, 300, 3), 90, np.uint8))
    assert pad_selftest.main(["--images", str(tmp_path / "shown"), *options]) == 1
    out = capsys.readouterr().out
    assert "print: 0 of 3 taken for a living face: after so many looks up to 70.8 % is possible" in out
    assert (
        "phone: 1 of 3 taken for a living face: 33.3 %, and after so many looks 0.8 to 90.6 % is possible"
        in out
    )
    assert "tablet: nothing seen, proves nothing" in out
    assert "live: 1 of 4 not taken for alive: 25.0 %" in out
    assert "PCER" not in out  # words of the field are for the docs
    assert "empty.png: not counted: no face" in out
    assert (
        "not proven (print, phone, tablet: above 10 % is possible): this door asks everybody for a move"
        in out
    )
    verdict = verdict_of(stored)
    assert (verdict.liveness_id, verdict.passed) == (scorer.model_id, False)
    assert verdict.model_id.startswith("mobilefacenet-")
    assert [(each.species, each.shown, each.wrong) for each in verdict.counts] == [
        ("print", 3, 0),
        ("phone", 3, 1),
        ("tablet", 0, 0),
        ("live", 4, 1),
    ]


def test_an_unsure_network_lets_nobody_in(tmp_path, stored, options, scorer):
    scorer.unsure = 0.95
    shown(tmp_path / "shown", "live", 1, 0)
    pad_selftest.main(["--images", str(tmp_path / "shown"), *options])
    assert verdict_of(stored).counts[-1].wrong == 1


def test_at_a_camera_the_owner_is_guided(stored, options, scorer, person_clip, capsys, monkeypatch):
    monkeypatch.setattr(pad_selftest, "SPACING_S", 0.1)
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return ""

    code = pad_selftest.main(["--camera", str(person_clip), "--looks", "3", *options], ask=ask)
    out = capsys.readouterr().out
    assert code == 1
    assert [text.split(":")[0] for text in asked] == [f"{n} of 4" for n in (1, 1, 2, 2, 3, 3, 4)]
    assert (
        "printed on paper, so near that it fills the view and no edge is seen, then press Enter " in asked[0]
    )
    assert "printed on paper, at arm's length, then press Enter " in asked[1]
    assert "no face" in out
    assert "2 of 2: tilt" in out
    assert "1 of 1: tilt" in out
    assert [each.shown for each in verdict_of(stored).counts] == [3, 3, 3, 3]


class Passes:
    """A judge who sees a face in every n-th image."""

    def __init__(self, every: int) -> None:
        self.every, self.seen = every, 0

    def score(self, image: Image) -> tuple[float | None, str]:
        self.seen += 1
        return (0.9, "") if self.every and self.seen % self.every == 0 else (None, "no face")

    def passes(self, scores: list[float]) -> bool:
        return len(scores) == pad_selftest.FRAMES and min(scores) == 0.9


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """Let each look at the clock take 0.1 s."""
    times = iter(np.arange(0, 10_000, 0.1))
    monkeypatch.setattr(pad_selftest.time, "monotonic", lambda: float(next(times)))


def endless():
    while True:
        yield np.zeros((2, 2, 3), np.uint8)


def test_looks_are_a_second_apart(clock):
    judge = Passes(1)
    assert list(pad_selftest.watch(endless(), judge, 5)) == [True] * 5
    assert judge.seen == 5 * pad_selftest.FRAMES


def test_a_species_nobody_shows_is_given_up(clock, capsys):
    assert list(pad_selftest.watch(endless(), Passes(0), 5)) == []
    out = capsys.readouterr().out
    assert "no usable face for 30 s: going on with 0 of 5 looks" in out
    assert out.count("no face") == 1


def test_thirty_six_looks_each_prove_the_door(stored, options, scorer, monkeypatch, capsys):
    counts = [pad_selftest.counted(name, [name == "live"] * 36) for name in pad_selftest.GUIDE]
    monkeypatch.setattr(pad_selftest, "at_camera", lambda *_: counts)
    assert pad_selftest.main(options) == 0
    out = capsys.readouterr().out
    assert out.count("after so many looks up to 9.7 % is possible") == 4
    assert "proven with pad-0123456789ab: this door opens without a challenge to an enrolled face" in out
    assert verdict_of(stored).passed


def ask_nobody(text: str) -> str:
    return pad_selftest.ask_owner(text)


def interrupt(text: str) -> str:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("ask", "code", "said"),
    [(ask_nobody, 2, "run it in a terminal"), (interrupt, 130, "nothing was")],
)
def test_an_interrupted_test_stores_nothing(stored, options, scorer, capsys, ask, code, said, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert pad_selftest.main(options, ask=ask) == code
    assert said in capsys.readouterr().err
    assert verdict_of(stored) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "/nonexistent"], "expected folders print, phone, tablet, live in it"),
        (["--looks", "0"], "expected 1 to 1000, received 0"),
        (["--gallery", "/nonexistent/gallery.db"], "does not exist: enroll somebody first"),
    ],
)
def test_mistakes_are_one_line(options, scorer, capsys, arguments, said):
    assert pad_selftest.main([*options, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_without_a_liveness_network_there_is_nothing_to_test(stored, options, monkeypatch, capsys):
    monkeypatch.delattr(build, "build_liveness", raising=False)
    assert pad_selftest.main(options) == 2
    assert "this release has no liveness network" in capsys.readouterr().err
    monkeypatch.setattr(build, "build_liveness", lambda config: None, raising=False)
    assert pad_selftest.main(options) == 2
    assert "liveness is off" in capsys.readouterr().err
    assert verdict_of(stored) is None
