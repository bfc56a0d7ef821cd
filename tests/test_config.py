"""The configuration: every mistake is named with what was received, what is expected and the nearest key."""

from __future__ import annotations

import math
import re
from dataclasses import MISSING
from pathlib import Path

import pytest

from device import config as module
from device.config import Config, every_setting, load_config, parse_config
from device.errors import ConfigError


def error_of(text: str, tmp_path: Path) -> str:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    assert load_config(path) == Config() == parse_config({}, origin="test")


def test_values_arrive_where_they_belong(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        "false_accepts_per_approach = 1e-5\n[camera]\nsource = 2\n[camera.controls]\nAfMode = 2\n"
        "[lock]\npin = 27\npulse_s = 4\n"
    )
    config = load_config(path)
    assert config.false_accepts_per_approach == 1e-5
    assert config.camera.source == 2
    assert config.camera.controls == {"AfMode": 2}
    assert (config.lock.pin, config.lock.pulse_s) == (27, 4.0)
    assert isinstance(config.lock.pulse_s, float)


@pytest.mark.parametrize("name", [*module.MODELS, "mine/net.json"])
def test_a_model_is_a_shipped_name_or_a_manifest(name: str) -> None:
    assert parse_config({"model": name}, origin="test").model == name


MISTAKES = {
    "a typo at the top": ('modle = "x"', "unknown key 'modle': did you mean 'model'?"),
    "a typo in a section": (
        "[camera]\nwidht = 3",
        "unknown key 'camera.widht': did you mean 'camera.width'?",
    ),
    "a forgotten unit": ("[lock]\npulse = 3", "did you mean 'lock.pulse_s'?"),
    "a key without its section": ("pin = 17", "unknown key 'pin': did you mean 'lock.pin'?"),
    "a typo in a section's name": ("[lok]\npin = 3", "unknown section 'lok': did you mean 'lock'?"),
    "a value for a section": (
        "camera = 3",
        "camera: expected a section [camera] with keys below it, received 3",
    ),
    "true for a pin": ("[lock]\npin = true", "lock.pin: expected a whole number, received true"),
    "a number for a switch": (
        "[lock]\nactive_high = 1",
        "lock.active_high: expected true or false, received 1",
    ),
    "a fraction of a pin": ("[lock]\npin = 2.5", "expected a whole number, received 2.5"),
    "text for a number": ('[lock]\npulse_s = "5"', 'lock.pulse_s: expected a number, received "5"'),
    "no number": ("[decision]\ncooldown_s = nan", "decision.cooldown_s: expected 0 to 600 s, received nan"),
    "endless": ("[lock]\npulse_s = inf", "lock.pulse_s: expected 0.1 to 60 s, received inf"),
    "a long pulse": ("[lock]\npulse_s = 3600", "lock.pulse_s: expected 0.1 to 60 s, received 3600"),
    "a lenient rate": (
        "false_accepts_per_approach = 0.1",
        "false_accepts_per_approach: expected 1e-06 to 0.01, received 0.1",
    ),
    "the rate of an older release": (
        "false_match_rate = 1e-4",
        "false_match_rate: no longer a key: the threshold follows from false_accepts_per_approach now",
    ),
    "fewer frames than a grant needs": (
        "[decision]\nframes_per_approach = 2",
        "decision.frames_per_approach: expected at least decision.k = 3, received 2",
    ),
    "another detector": (
        '[detector]\nkind = "haar"',
        'expected one of "auto", "tasks", "litert", received "haar"',
    ),
    "a typo in a model": (
        'model = "mobilfacenet"',
        'model: expected one of "mobilefacenet", "mobilefacenet_relu6", "mobilenetv1", "mobilenetv2", "facenet", '
        '"vargfacenet", or the path of a manifest (.json), received "mobilfacenet": did you mean \'mobilefacenet\'?',
    ),
    "a network for a manifest": ('model = "my/mobilefacenet.tflite"', "or the path of a manifest (.json)"),
    "no model": ('model = ""', 'model: expected one of "mobilefacenet"'),
    "another alignment": (
        'alignment = "eyes"',
        'alignment: expected one of "mesh", "landmarks", received "eyes"',
    ),
    "a logit for a share": (
        'alignment = "landmarks"\n[quality]\nmin_presence = 5',
        "quality.min_presence: expected less than 1 with alignment",
    ),
    "a mock lock": (
        '[lock]\ndriver = "mock"',
        'expected one of "gpiozero", "gpiochip", "jetson", received "mock"',
    ),
    "k above n": ("[decision]\nk = 6", "decision.k: expected at most decision.n = 5, received 6"),
    "dark above bright": (
        "[quality]\nmin_brightness = 25",
        "quality.min_brightness: no longer a key: a face is judged by how far it stands out of the noise",
    ),
    "no name": ('gallery = ""', "gallery: expected a name, received empty text"),
    "no TOML": ("pin == 17", "not TOML"),
    "no GPIO": ('[keypad]\nrows = "5,6,13,99"', "keypad.rows: expected GPIO numbers"),
    "three rows": ('[keypad]\nrows = "5,6,13"\ncolumns = "16,20,21"', "expected 4 rows and 3 or 4 columns"),
    "rows alone": ('[keypad]\nrows = "5,6,13,19"', "expected 4 rows and 3 or 4 columns"),
    "a pin twice": ('[keypad]\nrows = "5,6,13,17"\ncolumns = "16,20,21"', "GPIO17 has two uses"),
    "alarm on the lock": ("[policy]\nalarm_pin = 17", "GPIO17 has two uses"),
    "keypad on the door contact": (
        '[keypad]\nrows = "5,6,13,19"\ncolumns = "16,20,21"\n[door]\ncontact_pin = 16',
        "door.contact_pin: GPIO16 has two uses, it is keypad.columns too",
    ),
    "prompt on the alarm": (
        "[policy]\nalarm_pin = 22\n[liveness]\nled_pin = 22",
        "policy.alarm_pin: GPIO22 has two uses, it is liveness.led_pin too",
    ),
    "a NUL": ('gallery = "a\\u0000b"', "without a NUL character"),
    "20,000 brackets": (f"gallery = {'[' * 20000}", "not TOML"),
    "5,000 digits": (f"threads = {'9' * 5000}", "not TOML"),
    "5,000 digits more": (
        f"threads = 0x{'9' * 5000}",
        "threads: expected 1 to 16, received a value too long",
    ),
    "a huge number of seconds": (f"[lock]\npulse_s = 0x{'9' * 500}", "lock.pulse_s: expected a number"),
    "5,000 tables": (f"gallery.{'a.' * 5000}b = 1", "gallery: expected text in quotes"),  # Python nests 1,000
    "a screenful": (f'[detector]\nkind = "{"x" * 5000}"', "..."),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named(case: str, tmp_path: Path) -> None:
    text, said = MISTAKES[case]
    message = error_of(text, tmp_path)
    assert said in message
    assert len(message) < 400


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "missing.toml", "no such configuration file"),
        (tmp_path, "cannot be read: Is a directory: check the path and the rights"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_config(path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as a configuration"):
        load_config(binary)


def test_without_a_path_the_services_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / "config.toml"
    monkeypatch.setattr(module, "SYSTEM_CONFIG", system)
    assert load_config(None) == Config()
    system.write_text('gallery = "/var/lib/face-unlock/gallery.db"\n')
    assert load_config(None).gallery_path == Path("/var/lib/face-unlock/gallery.db")


@pytest.mark.parametrize("name", [name for name, _ in every_setting()])
def test_every_setting_is_described_and_its_default_is_allowed(name: str) -> None:
    known = dict(every_setting())[name]
    rule = known.metadata
    assert rule["doc"]
    section, _, key = name.rpartition(".")
    value = known.default_factory() if known.default_factory is not MISSING else known.default
    parse_config({section: {key: value}} if section else {key: value}, origin="test")


@pytest.mark.parametrize(
    "name", [name for name, known in every_setting() if known.metadata["low"] is not None]
)
def test_every_bound_holds(name: str) -> None:
    rule = dict(every_setting())[name].metadata
    section, _, key = name.rpartition(".")
    step = 1 if rule["types"] == (int,) else rule["high"] * 1e-6
    for value in (rule["low"] - step, rule["high"] + step):
        with pytest.raises(ConfigError, match=re.escape(name)):
            parse_config({section: {key: value}} if section else {key: value}, origin="test")


def test_a_setting_in_seconds_pixels_or_degrees_says_so_in_its_name() -> None:
    for name, known in every_setting():
        unit = known.metadata["unit"]
        if unit in ("s", "deg"):
            assert name.endswith(f"_{unit}"), name


def test_the_home_folder_is_expanded() -> None:
    assert "~" not in str(Config().gallery_path)
    assert math.isfinite(Config().false_accepts_per_approach)
    with pytest.raises(ConfigError, match=r"~nosuch/gallery\.db: nobody"):
        Config(gallery="~nosuch/gallery.db").gallery_path  # noqa: B018


# What people's editors and folders do


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path, mark):
    path = tmp_path / "config.toml"
    path.write_text(f"{mark}threads = 3\n", encoding="utf-8")
    assert load_config(path).threads == 3


def test_another_encoding_is_one_line_that_says_which_is_expected(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("threads = 3\n", encoding="utf-16")
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        load_config(path)


def test_relative_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    folder = tmp_path / "door"
    folder.mkdir()
    (folder / "config.toml").write_text(
        'gallery = "faces/gallery.db"\ngallery_key = "the.key"\nmodel = "nets/mine.json"\n'
        '[audit]\nfile = "log/audit"\n[lock]\nsocket = "run/lock"\n'
    )
    for here, file in ((tmp_path, Path("door/config.toml")), (folder, Path("config.toml"))):
        monkeypatch.chdir(here)
        config = load_config(file)
        assert config.gallery_path == folder / "faces/gallery.db"
        assert config.gallery_key_path == folder / "the.key"
        assert config.model == str(folder / "nets/mine.json")
        assert config.audit_path == folder / "log/audit"
        assert config.lock.socket == str(folder / "run/lock")


def test_other_paths_stay_as_they_are(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('gallery = "~/gallery.db"\nmodel = "mobilenetv2"\n[lock]\nsocket = "/run/x"\n')
    config = load_config(path)
    assert (config.gallery, config.model, config.lock.socket) == ("~/gallery.db", "mobilenetv2", "/run/x")
    assert (config.gallery_key, config.audit.file) == ("", "")


def test_a_gallery_of_spaces_is_no_gallery():
    with pytest.raises(ConfigError, match="gallery: expected a name"):
        parse_config({"gallery": " "}, origin="test")


@pytest.mark.parametrize(
    "table",
    [
        {"camera": {"source": ["rtsp://admin:secret@cam.local/x"]}},
        {"camera": {"source": {"rtsp://cam.local/x;pwd=secret": 1}}},
        {"camera": "rtsp://admin:secret@cam.local/x"},
        {"camera": {"width": "rtsp://cam.local/user=a_password=secret"}},
        {"model": "rtsp://admin:secret@cam.local/x"},
        {"lock": {"driver": "rtsp://admin:secret@cam.local/x"}},
        {"camera": {"source": "rtsp://admin:secret@cam.local/x\0"}},
    ],
)
def test_a_password_in_a_wrong_place_is_not_printed(table):
    with pytest.raises(ConfigError) as caught:
        parse_config(table, origin="test")
    assert "secret" not in str(caught.value)
