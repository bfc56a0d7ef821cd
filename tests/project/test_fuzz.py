"""Whatever bytes stand in a configuration, a manifest, a photograph or a frame: one line, and nobody is let in.

    FUZZ_EXAMPLES=4000 python -m pytest -s --timeout=0 tests/project/test_fuzz.py   # docs/how/fail_secure.md

Socket, gallery, keys, audit and backups are fuzzed where they are tested.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from gpiozero.pins.mock import MockFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unlock as unlock_program
from device.build import WEIGHTS, build_audit, build_collector, build_door, build_embedder, decision_rule
from device.config import Config, every_setting, load_config, parse_config
from device.errors import ConfigError, ModelError, UsageError
from device.pipeline import handle_frame
from device.types import FaceDetection, Frame
from device.vision.align import LandmarkAligner
from device.vision.embed import LiteRTEmbedder
from device.vision.liveness import PadScorer
from device.vision.picture import MAX_SIDE_PX, read_picture
from scripts import audit as audit_program
from tests.support.galleries import copy_gallery
from tests.support.photos import photo, photo_path

FUZZ_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
fuzz = settings(max_examples=FUZZ_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
tried: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def told():
    yield
    print("\nfuzzed: " + ", ".join(f"{count} {name}" for name, count in tried.items()))


def one_line(fault: Exception) -> str:
    text = str(fault)
    assert text.isprintable(), text
    assert 20 < len(text) < 700, text
    return text


# Configurations

TEXTS = st.one_of(
    st.text(max_size=12), st.sampled_from(["off", "auto", "../x", "1,2,3,4", "17", "a.json", "\0"])
)
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, -1, 1e400, 10**400, True, 17, 0.5]))
VALUES = st.recursive(NUMBERS | TEXTS | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=4)


def sound(rule) -> st.SearchStrategy:
    """Give values that a setting may have, and some just outside."""
    low, high, kind = rule["low"], rule["high"], rule["types"][0]
    if rule["choices"]:
        return st.sampled_from(rule["choices"])
    if low is not None and kind is float:
        return st.floats(low, high) | st.sampled_from([low, high, np.nextafter(high, np.inf), -low])
    if low is not None:
        return st.integers(int(low), int(high)) | st.sampled_from([int(low) - 1, int(high) + 1])
    return st.booleans() if kind is bool else TEXTS


@st.composite
def tables(draw) -> dict:
    """Give a table as TOML gives it: some settings, some mistakes."""
    table: dict = {}
    for name, field in draw(st.lists(st.sampled_from(every_setting()), max_size=6)):
        section, _, key = name.rpartition(".")
        value = draw(st.one_of(*[sound(field.metadata)] * 4, VALUES))
        (table.setdefault(section, {}) if section else table)[key] = value
    if draw(st.integers(0, 5)) == 0:
        table[draw(TEXTS)] = draw(VALUES | st.dictionaries(TEXTS, VALUES, max_size=3))
    return table


def within_bounds(config: Config) -> None:
    for name, field in every_setting():
        section, _, key = name.rpartition(".")
        value, rule = getattr(getattr(config, section) if section else config, key), field.metadata
        assert rule["low"] is None or rule["low"] <= value <= rule["high"], (name, value)
        assert not rule["choices"] or value in rule["choices"], (name, value)
        assert type(value) in rule["types"], (name, value)
    assert 0 < config.lock.pulse_s <= 60
    assert 1 <= config.decision.k <= config.decision.n


@fuzz
@given(tables())
def test_a_table_is_a_config_within_its_bounds_or_one_line(table):
    tried["tables of settings"] += 1
    try:
        config = parse_config(table, origin="test")
    except ConfigError as fault:
        one_line(fault)
        return
    tried["of them good"] += 1
    within_bounds(config)
    named = table.get("liveness", {})
    assert config.liveness.mode != "off" or named.get("mode") == "off"


@pytest.fixture(scope="module")
def example() -> bytes:
    return (Path(__file__).parents[2] / "systemd/config.example.toml").read_bytes()


def changed(draw, whole: bytes) -> bytes:
    """Return some bytes, or those of a good file with some changed, put in, cut off or sent twice."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        piece = draw(st.binary(max_size=6))
        match draw(st.integers(0, 3)):
            case 0:
                data[place : place + len(piece)] = piece
            case 1:
                data[place:place] = piece
            case 2:
                del data[place : place + draw(st.integers(1, 1 + len(data) // 4))]
            case _:
                data[place:place] = data[: draw(st.integers(0, 200))]
    return bytes(data)


def test_the_bytes_of_a_config_end_the_program_in_one_line_or_are_good(tmp_path, example, capsys):
    path = tmp_path / "config.toml"

    @fuzz
    @given(st.data())
    def start(data):
        tried["bytes of a config"] += 1
        path.write_bytes(
            changed(data.draw, b"[lock]\npulse_s = 2\n" * data.draw(st.integers(0, 1)) or example)
        )
        code = unlock_program.main(["--config", str(path), "--demo", "--camera", "none.mp4"])
        told = capsys.readouterr()
        assert told.out == ""
        lines = told.err.splitlines()
        assert len(lines) == 1, told.err
        assert code in (2, 3, 6), told.err  # 6: a good config, and no such clip
        if code == 6:
            tried["of these good"] += 1
            within_bounds(load_config(path))

    start()


# Manifests

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NETWORKS = {
    "mobilefacenet": LiteRTEmbedder,
    "pad": PadScorer,
    "landmarks": LandmarkAligner,
}


def spoiled(draw, values: dict) -> dict:
    """Return a manifest with one to three of its values changed or taken out, however deep."""
    values = json.loads(json.dumps(values))
    for _ in range(draw(st.integers(1, 3))):
        place = values
        key = draw(st.sampled_from(sorted(place)))
        while isinstance(place[key], dict) and place[key] and draw(st.integers(0, 3)):
            place = place[key]
            key = draw(st.sampled_from(sorted(place)))
        if draw(st.integers(0, 4)) == 0:
            del place[key]
            if not values:
                return values
        else:
            old = place[key]
            near = (
                [st.just(old * 2), st.just(-old), st.just(old + 1)] if isinstance(old, (int, float)) else []
            )
            place[key] = draw(st.one_of(JSON_VALUES, *near))
    return values


@pytest.mark.parametrize("name", NETWORKS)
def test_a_manifest_is_refused_in_one_line_or_its_network_answers(name, tmp_path, real_model):
    whole = (WEIGHTS / f"{name}.json").read_bytes()
    path = tmp_path / f"{name}.json"
    for file in WEIGHTS.glob(f"{name}*.tflite"):
        shutil.copy(file, tmp_path)

    @fuzz
    @given(st.data())
    def load(data):
        tried["manifests"] += 1
        if data.draw(st.booleans()):
            path.write_bytes(changed(data.draw, whole))
        else:
            path.write_text(json.dumps(spoiled(data.draw, json.loads(whole))))
        try:
            network = NETWORKS[name](manifest=path, threads=1)
            answers(network)
        except ModelError as fault:
            one_line(fault)
        else:
            tried["of them good enough"] += 1

    load()


def answers(network) -> None:
    """Run a network that was accepted, and hold its answer to what the door expects of one."""
    face = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    if isinstance(network, LiteRTEmbedder):
        probe = network.embed(face)
        assert np.linalg.norm(probe) == pytest.approx(1, abs=1e-3)
        assert 0 < decision_rule(Config(), network).threshold <= 1
    elif isinstance(network, PadScorer):
        assert 0 <= network.attack <= network.unsure <= 1
    else:
        box = FaceDetection((20.0, 20.0, 60.0, 60.0), 0.9, np.full((6, 2), 50.0, np.float32))
        network.align(face, box)


# Photographs

ENDS = (".jpg", ".png", ".webp")


@pytest.fixture(scope="module")
def encoded() -> dict[str, bytes]:
    small = cv2.resize(cv2.imread(str(photo_path("astronaut"))), (96, 96))
    return {end: cv2.imencode(end, small)[1].tobytes() for end in ENDS}


@pytest.fixture(scope="module")
def collector(real_model):
    config = Config()
    made = build_collector(config, build_embedder(config), samples=5, guided=False)
    yield made
    made.close()


def test_the_bytes_of_a_photograph_are_a_picture_or_one_line(tmp_path, encoded, collector):
    @fuzz
    @given(st.data())
    def read(data):
        end = data.draw(st.sampled_from(sorted(encoded)))
        path = tmp_path / f"photo{end}"
        path.write_bytes(changed(data.draw, encoded[end]))
        tried["photographs"] += 1
        try:
            image = read_picture(path)
        except UsageError as fault:
            one_line(fault)
            return
        tried["of them pictures"] += 1
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.dtype == np.uint8
        assert max(image.shape) <= MAX_SIDE_PX
        collector.offer(image)

    read()


# The audit


def test_the_bytes_of_an_audit_are_shown_or_named(tmp_path, enrolled_gallery, capsys):
    gallery = copy_gallery(enrolled_gallery, tmp_path)
    options = ["--gallery", str(gallery), "--config", "/dev/null"]
    log = build_audit(parse_config({"gallery": str(gallery)}, origin="test"), demo=False)
    for event in ("started", "granted", "stopped"):
        log.record(event, subject="5f0c2a91d3b8e674", reason="face")
    path = tmp_path / "gallery.db.audit"
    whole = path.read_bytes()

    @fuzz
    @given(st.data())
    def read(data):
        tried["audits"] += 1
        path.write_bytes(changed(data.draw, whole))
        for command in ("show", "verify"):
            assert audit_program.main([command, *options]) in (0, 1)
        told = capsys.readouterr()
        if path.read_bytes().split() != whole.split():  # empty lines are no change
            assert "NOT whole" in told.out or "its end is torn" in told.out
            tried["of them broken or torn"] += 1

    read()


# Frames


@st.composite
def frames(draw) -> np.ndarray:
    """Give noise, flat color, stripes, and pictures of odd sizes: nobody is in them."""
    sides = st.one_of(st.integers(1, 40), st.sampled_from([240, 480, 640]), st.integers(1, 2000))
    height, width = draw(sides), draw(sides)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["noise", "flat", "stripes", "coarse"]))
    if kind == "flat":
        return np.full((height, width, 3), draw(st.integers(0, 255)), np.uint8)
    if kind == "noise":
        return random.integers(0, 256, (height, width, 3), np.uint8)
    if kind == "stripes":
        row = random.integers(0, 256, (1, width, 3), np.uint8)
        return np.repeat(row, height, axis=0)
    coarse = random.integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def door(enrolled_gallery):
    pins = MockFactory()
    config = parse_config(
        {"gallery": str(enrolled_gallery), "liveness": {"mode": "off"}, "decision": {"k": 1, "n": 1}},
        origin="test",
    )
    made = build_door(config, pin_factory=pins)
    yield made, pins.pin(config.lock.pin)
    made.close()


def test_frames_without_anybody_open_nothing(door):
    device, pin = door
    clock = [0.0]

    @fuzz
    @given(frames())
    def show(image):
        tried["frames"] += 1
        clock[0] += 0.1
        decision = handle_frame(Frame(image, clock[0], 0), device, clock[0])
        assert not decision.granted
        assert not pin.state
        tried["in which a face was seen"] += decision.detection is not None

    show()


def test_a_torn_face_ends_no_stage(door):
    """A face blotted out, cut off or stretched may still be its owner's: what counts is that nothing breaks."""
    device, _ = door
    whole = photo("astronaut")
    clock = [1e6]

    @fuzz
    @given(st.data())
    def show(data):
        image = whole.copy()
        for _ in range(data.draw(st.integers(0, 5))):
            y, x = (data.draw(st.integers(0, side - 1)) for side in image.shape[:2])
            image[y : y + data.draw(st.integers(1, 200)), x : x + data.draw(st.integers(1, 200))] = data.draw(
                st.integers(0, 255)
            )
        top, left = (data.draw(st.integers(0, side // 2)) for side in image.shape[:2])
        image = image[top:, left:]
        size = (data.draw(st.integers(1, 900)), data.draw(st.integers(1, 900)))
        clock[0] += 1
        tried["torn faces"] += 1
        decision = handle_frame(Frame(cv2.resize(image, size), clock[0], 0), device, clock[0])
        tried["of which a face was seen"] += decision.detection is not None
        device.lock.lock()

    show()
