"""Every setting of the product: default, bounds, unit and meaning stand here and nowhere else.

A configuration is one TOML file: top-level keys first, then sections. Each key may be left out; a relative path is
relative to the file. A key that is not known, has the wrong type or lies out of range is a `ConfigError` that names
the file, what was received, what is expected, and the nearest key.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from device.address import mask_address
from device.errors import ConfigError, UsageError
from device.paths import expand

# Of models/weights/; mobilefacenet_relu6 is the default's table with a cheaper activation.
MODELS = ("mobilefacenet", "mobilefacenet_relu6", "mobilenetv1", "mobilenetv2", "facenet", "vargfacenet")
DOOR_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")  # a level of an MQTT topic, and the user of a certificate
SYSTEM_CONFIG = Path("/etc/face-unlock/config.toml")  # what the service runs on


def setting(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    types: tuple[type, ...] = (),
) -> Any:
    """Return a dataclass field that knows its bounds, its unit and its one line of text."""
    metadata = {
        "doc": doc,
        "unit": unit,
        "low": low,
        "high": high,
        "choices": choices,
        "types": types or (type(default),),
    }
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """Where frames come from."""

    source: int | str = setting(
        "auto",
        "`auto` (picamera2 where it is installed, else the first camera), `picamera2`, an index, a device, an "
        "RTSP address, or a file (`--demo` and enrollment)",
        types=(int, str),
    )
    width: int = setting(640, "width that is asked of the camera", unit="px", low=160, high=4096)
    height: int = setting(480, "height that is asked of the camera", unit="px", low=120, high=4096)
    stall_timeout_s: float = setting(
        5.0,
        "a camera without a new frame for this long is lost: lock and reconnect",
        unit="s",
        low=0.5,
        high=8,
    )
    frozen_s: float = setting(
        5.0,
        "frames that repeat earlier ones byte for byte for this long: frozen; three times as long: lost. A network "
        "camera that sends nothing new of an empty scene may need more",
        unit="s",
        low=1,
        high=600,
    )
    min_detail: float = setting(
        15.0,
        "a frame with less detail decides nothing, for some seconds it is a covered lens: variance of the Laplacian "
        "of the frame at 16x12; 0: never",
        low=0,
        high=1000,
    )
    rotation: int = setting(
        0, "the picture is turned clockwise by so many degrees", choices=(0, 90, 180, 270)
    )
    mirror: bool = setting(
        False,
        "true: the picture is mirrored left to right after turning; for a camera that hands out mirrored pictures, "
        "else a challenge asks for the wrong side",
    )
    meter: bool = setting(
        True, "true: expose for the face, where the camera's driver takes a wish (picamera2, V4L2)"
    )
    controls: dict[str, Any] = setting(
        {}, "libcamera controls, handed to picamera2 as they are (`AeExposureMode`, `AfMode` ...)"
    )


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """How faces are found."""

    kind: str = setting(
        "auto",
        "`tasks` (MediaPipe), `litert` (the same network on LiteRT) or `auto`: `tasks` where it can run",
        choices=("auto", "tasks", "litert"),
    )
    min_score: float = setting(0.5, "detections below this score are not faces", low=0.1, high=0.99)


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """Which faces are good enough to be compared."""

    min_face_px: float = setting(60.0, "narrowest face, ear to ear", unit="px", low=20, high=1000)
    min_sharpness: float = setting(
        20.0, "least sharpness: variance of the Laplacian at a typical contrast", low=0, high=10000
    )
    min_signal: float = setting(
        2.0,
        "how far eyes, nose and mouth must stand out of the noise, in standard deviations; below it half of the faces "
        "are no longer recognized",
        low=0,
        high=20,
    )
    max_white: float = setting(0.6, "largest share of the face that may be white", low=0.05, high=1)
    max_yaw_deg: float = setting(35.0, "furthest turn to a side", unit="deg", low=5, high=90)
    max_pitch_deg: float = setting(30.0, "furthest nod up or down", unit="deg", low=5, high=90)
    max_roll_deg: float = setting(35.0, "furthest tilt to a shoulder", unit="deg", low=5, high=90)
    min_presence: float = setting(
        0.0,
        "below this a detection is no face: logit of the mesh; with `landmarks` 1 for a perfect shape, 0 at the limit",
        low=-10,
        high=30,
    )


@dataclass(frozen=True, kw_only=True)
class DecisionConfig:
    """When a face opens the door."""

    k: int = setting(
        3, "so many of the last `n` frames of one track must match the same subject", low=1, high=30
    )
    n: int = setting(5, "window of frames that `k` counts in", unit="frames", low=1, high=60)
    frames_per_approach: int = setting(
        30,
        "so many looks a stranger gets before giving up; more of them ask for a stricter threshold",
        unit="frames",
        low=1,
        high=10000,
    )
    cooldown_s: float = setting(5.0, "after a grant the next one waits this long", unit="s", low=0, high=600)
    max_frame_age_s: float = setting(1.5, "an older frame never opens the door", unit="s", low=0.1, high=10)
    track_gap_s: float = setting(
        0.5, "a face that is gone for longer starts a new track", unit="s", low=0.05, high=5
    )
    track_overlap: float = setting(
        0.3,
        "a box that overlaps the last one by less (intersection over union) starts a new track",
        low=0.05,
        high=0.95,
    )
    second_face_ratio: float = setting(
        0.5,
        "a second face at least this wide, as a share of the widest one, stands near: nobody is let in",
        low=0.1,
        high=1,
    )


@dataclass(frozen=True, kw_only=True)
class IntentConfig:
    """Who wants in."""

    near_share: float = setting(
        0.12,
        "a face narrower than this share of the frame's width is too far away to want in",
        low=0.01,
        high=0.9,
    )
    max_yaw_deg: float = setting(
        20.0, "a face that looks further aside does not face the door", unit="deg", low=5, high=90
    )
    dwell_s: float = setting(
        0.5, "a face has to be before the door this long, on one track", unit="s", low=0, high=10
    )


@dataclass(frozen=True, kw_only=True)
class LivenessConfig:
    """How a picture is told from a person."""

    mode: str = setting(
        "challenge",
        "`passive`: the network alone; `challenge`: a challenge where the network is unsure; `always`: a challenge "
        "each time; `off`: a photograph opens the door, works with `--no-liveness` only",
        choices=("passive", "challenge", "always", "off"),
    )
    unproven: str = setting(
        "challenge",
        "what a door may do that has not passed `face-unlock selftest` with its liveness network: `challenge` "
        "everybody, or `allow` what it would do otherwise",
        choices=("challenge", "allow"),
    )
    moves: int = setting(2, "moves that a challenge asks for, one after the other", low=1, high=4)
    answer_s: float = setting(2.5, "each has to be made within this time", unit="s", low=1, high=10)
    blink: bool = setting(
        True, "false: turns and nods only; the mesh often does not see a blink behind glasses"
    )
    buzzer_pin: int = setting(
        -1, "GPIO number (BCM) of a buzzer that tells the move; -1: none", low=-1, high=27
    )
    led_pin: int = setting(-1, "GPIO number (BCM) of an LED that tells the move; -1: none", low=-1, high=27)
    display: str = setting(
        "",
        "`ssd1306`: a display on I2C that says the move in words (docs/owner/install.md); empty: none",
        choices=("", "ssd1306"),
    )
    display_bus: int = setting(1, "I2C bus of the display: 1 is `/dev/i2c-1`", low=0, high=32)
    display_address: int = setting(60, "its address there: 60 is 0x3C, 61 is 0x3D", low=8, high=119)

    @property
    def tells_moves(self) -> bool:
        """True where something at the door tells which move is asked for."""
        return bool(self.display) or self.buzzer_pin >= 0 or self.led_pin >= 0


@dataclass(frozen=True, kw_only=True)
class EnrollmentConfig:
    """Which samples become templates."""

    samples: int = setting(5, "good samples that an enrollment collects", low=1, high=50)
    duplicate_similarity: float = setting(
        0.97,
        "a sample that is more alike than this to an earlier one teaches nothing and is refused",
        low=0.5,
        high=1,
    )
    timeout_s: float = setting(
        90.0, "an enrollment at a camera gives up after this long", unit="s", low=5, high=3600
    )


@dataclass(frozen=True, kw_only=True)
class LockConfig:
    """What opens the door."""

    driver: str = setting(
        "gpiozero",
        "`gpiozero` (Raspberry Pi) or `gpiochip` (a line of any kernel's GPIO chip, a Jetson's too: libgpiod); "
        "`jetson` is its old name",
        choices=("gpiozero", "gpiochip", "jetson"),
    )
    pin: int = setting(17, "GPIO number (BCM) of the lock's relay, gpiozero", low=0, high=27)
    active_high: bool = setting(True, "true: a high pin unlocks; false: a low pin unlocks")
    pulse_s: float = setting(5.0, "the door stays unlocked this long", unit="s", low=0.1, high=60)
    chip: str = setting("/dev/gpiochip0", "GPIO chip of the lock's relay, gpiochip")
    line: int = setting(105, "line of that chip, gpiochip", low=0, high=511)
    socket: str = setting(
        "",
        "socket of the lock process (`python -m device.lockd`), which then drives the pin; empty: this program does",
    )

    @property
    def is_gpiochip(self) -> bool:
        """True where the relay hangs on a line of a GPIO chip and not on gpiozero's pin."""
        return self.driver != "gpiozero"


@dataclass(frozen=True, kw_only=True)
class DoorConfig:
    """What the lock process sees of the door; every switch is between its pin and ground, -1 is none."""

    contact_pin: int = setting(-1, "GPIO of the door contact, shut while the door is shut", low=-1, high=27)
    bolt_pin: int = setting(
        -1, "GPIO of the bolt's own contact, shut while the bolt is thrown", low=-1, high=27
    )
    exit_pin: int = setting(-1, "GPIO of the exit button on the inside, shut while pressed", low=-1, high=27)
    tamper_pin: int = setting(-1, "GPIO of the box's switch, shut while the box is shut", low=-1, high=27)
    alarm_pin: int = setting(-1, "GPIO that is high while an alarm is on", low=-1, high=27)
    held_open_s: float = setting(
        30.0, "a door that stands open for longer is an alarm", unit="s", low=1, high=3600
    )
    settle_s: float = setting(
        1.0,
        "bolt and leaf may take this long to follow the pin, then it is `jammed`",
        unit="s",
        low=0.1,
        high=10,
    )


@dataclass(frozen=True, kw_only=True)
class BoardConfig:
    """When the board is hot, and what the door does then."""

    hot_c: float = setting(80.0, "from this temperature on the board is hot", unit="C", low=40, high=120)
    hot_rest_s: float = setting(
        0.15, "while it is hot the door rests this long after each frame; 0: never", unit="s", low=0, high=0.4
    )


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """What goes for everybody's policy."""

    pin_timeout_s: float = setting(
        20.0, "a PIN is awaited this long after the face was granted", unit="s", low=3, high=120
    )
    wrong_pins: int = setting(
        3, "after so many wrong PINs none is looked at for `policy.lockout_s`", low=1, high=20
    )
    lockout_s: float = setting(
        60.0, "the first such pause; each further one is twice as long", unit="s", low=1, high=3600
    )
    require_time_sync: bool = setting(
        True,
        "true: the clock counts as not set until a time server has answered since the boot, or a battery-backed clock "
        "(RTC) shows the same time; false: it is believed, and a board without either starts with the time of its "
        "last shutdown",
    )
    alarm_pin: int = setting(
        -1, "GPIO number that a duress PIN sets high for 60 s; -1: none", low=-1, high=27
    )


@dataclass(frozen=True, kw_only=True)
class KeypadConfig:
    """Where PINs are entered."""

    rows: str = setting("", "GPIO numbers of a matrix keypad's four rows, such as `5,6,13,19`; empty: none")
    columns: str = setting("", "GPIO numbers of its three or four columns")
    serial_port: str = setting("", "serial port that PINs are typed on; empty: none")
    baud: int = setting(9600, "speed of that port", unit="baud", choices=(9600, 19200, 38400, 57600, 115200))


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """The log that shows tampering."""

    file: str = setting("", "file of the audit log; empty: beside the gallery, `gallery.db.audit`")
    required: bool = setting(
        False, "true: who cannot be recorded is not let in; false: a full card does not lock anybody out"
    )
    max_kb: int = setting(
        1000, "a larger file is closed, and a new one goes on", unit="kB", low=10, high=100000
    )
    keep_files: int = setting(20, "so many closed files are kept", low=1, high=1000)


@dataclass(frozen=True, kw_only=True)
class StatusConfig:
    """What a headless board tells."""

    serial_port: str = setting("", "serial port of the status lines, `/dev/serial0`; empty: none")
    baud: int = setting(
        115200,
        "speed of that port",
        unit="baud",
        choices=(9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600),
    )
    heartbeat_s: float = setting(30.0, "a heartbeat line each", unit="s", low=1, high=3600)


@dataclass(frozen=True, kw_only=True)
class LinkConfig:
    """What the door tells a broker and Home Assistant, and what these may ask for (docs/owner/many_doors.md)."""

    socket: str = setting(
        "", "socket of the link, `/run/face-unlock-link/link.sock`; empty: this door has no link"
    )
    name: str = setting("", "name of this door at the broker: small letters, digits and hyphens")
    names: bool = setting(True, "true: who was let in is told by name; false: somebody was let in")
    open_code: str = setting(
        "",
        "Argon2id hash of the code that opens from outside, as `face-unlock fleet code` prints it; empty: nothing "
        "opens from outside",
    )
    open_hours: str = setting(
        "", "the code opens in these hours, such as `Mon-Fri 08:00-18:00`; empty: always"
    )
    command_life_s: float = setting(
        10.0, "an older command from outside is not obeyed", unit="s", low=2, high=60
    )
    switches: bool = setting(
        False,
        "true: faces may be switched off from outside, everybody's and each person's; false: they may not",
    )
    loosen: bool = setting(
        False, "true: faces may be switched on again from outside; false: only at the door"
    )

    @property
    def opens(self) -> bool:
        """Whether somebody elsewhere may open the door."""
        return bool(self.socket and self.open_code)


@dataclass(frozen=True, kw_only=True)
class Config:
    """One configuration, checked."""

    model: str = setting(
        "mobilefacenet",
        f"network of the embeddings: {', '.join(f'`{name}`' for name in MODELS)}, or the path of a manifest "
        "(`.json`); after a change everybody has to be enrolled again",
    )
    alignment: str = setting(
        "mesh",
        "what finds the eyes, nose and mouth: `mesh` (MediaPipe's) or `landmarks` (this project's own, smaller "
        "network)",
        choices=("mesh", "landmarks"),
    )
    threads: int = setting(1, "threads of each network", low=1, high=16)
    false_accepts_per_approach: float = setting(
        5e-4,
        "the share of strangers' tries that may open the door: 0.0005 is one stranger in 2,000 tries, which every "
        "door with one person of five templates keeps; the threshold follows from it (docs/how/security.md): lower "
        "is stricter",
        low=1e-6,
        high=1e-2,
    )
    gallery: str = setting(
        "~/.local/share/face-unlock/gallery.db",
        "file of the enrolled templates; `~` is the home folder, a relative path is relative to this file",
    )
    gallery_key: str = setting(
        "",
        "file of the key that seals the gallery; empty: beside it, `gallery.db.key`. A systemd credential "
        "`gallery.key` goes before both",
    )
    unbound_key: bool = setting(
        False,
        "true: a key that is bound to nothing serves on a board that has a serial number or an OTP key too; false: "
        "whoever may replace the files cannot bring a gallery and a key of their own",
    )
    camera: CameraConfig = field(default_factory=CameraConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    intent: IntentConfig = field(default_factory=IntentConfig)
    liveness: LivenessConfig = field(default_factory=LivenessConfig)
    enrollment: EnrollmentConfig = field(default_factory=EnrollmentConfig)
    lock: LockConfig = field(default_factory=LockConfig)
    door: DoorConfig = field(default_factory=DoorConfig)
    board: BoardConfig = field(default_factory=BoardConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    keypad: KeypadConfig = field(default_factory=KeypadConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    status: StatusConfig = field(default_factory=StatusConfig)
    link: LinkConfig = field(default_factory=LinkConfig)

    @property
    def gallery_path(self) -> Path:
        """The gallery file with `~` expanded."""
        return expand(self.gallery)

    @property
    def gallery_key_path(self) -> Path | None:
        """The key's file with `~` expanded, None for the one beside the gallery."""
        return expand(self.gallery_key) if self.gallery_key else None

    @property
    def audit_path(self) -> Path:
        """The audit log with `~` expanded."""
        path = self.gallery_path
        return expand(self.audit.file) if self.audit.file else path.with_name(f"{path.name}.audit")


SECTIONS: dict[str, type] = {
    "camera": CameraConfig,
    "detector": DetectorConfig,
    "quality": QualityConfig,
    "decision": DecisionConfig,
    "intent": IntentConfig,
    "liveness": LivenessConfig,
    "enrollment": EnrollmentConfig,
    "lock": LockConfig,
    "door": DoorConfig,
    "board": BoardConfig,
    "policy": PolicyConfig,
    "keypad": KeypadConfig,
    "audit": AuditConfig,
    "status": StatusConfig,
    "link": LinkConfig,
}
# Keys of older releases, and what to write instead.
REMOVED = {
    "false_match_rate": "the threshold follows from false_accepts_per_approach now, write that instead "
    "(docs/owner/tune.md), or remove the line for its default",
    "quality.min_brightness": "a face is judged by how far it stands out of the noise: write quality.min_signal "
    "instead (docs/how/gates.md), or remove the line for its default",
    "quality.max_brightness": "a face is judged by how much of it is white: write quality.max_white instead "
    "(docs/how/gates.md), or remove the line for its default",
}


def load_config(path: Path | None) -> Config:
    """Read a TOML file; None reads the service's, `/etc/face-unlock/config.toml`, or takes the defaults.

    So a person who enrolls on the board writes into the gallery that its service reads, without an argument.
    """
    if path is None:
        try:
            known = SYSTEM_CONFIG.is_file()
        except OSError:  # a folder that this user may not enter
            known = False
        return load_config(SYSTEM_CONFIG) if known else Config()
    config = parse_config(_read_toml(path), origin=str(path))
    return _beside(path, config) if path.is_file() else config  # a pipe lies beside nothing


def _beside(file: Path, config: Config) -> Config:
    """Take relative paths as relative to the configuration's own folder: the service starts elsewhere than a person."""
    folder = file.absolute().parent

    def placed(text: str) -> str:
        is_relative = bool(text) and not text.startswith(("/", "~"))
        return str(folder / text) if is_relative else text

    return replace(
        config,
        gallery=placed(config.gallery),
        gallery_key=placed(config.gallery_key),
        model=placed(config.model) if config.model.endswith(".json") else config.model,
        audit=replace(config.audit, file=placed(config.audit.file)),
        lock=replace(config.lock, socket=placed(config.lock.socket)),
        link=replace(config.link, socket=placed(config.link.socket)),
    )


def parse_config(table: Mapping[str, Any], *, origin: str) -> Config:
    """Check a table as TOML gives it; `origin` names it in errors."""
    tops = {f.name: f for f in fields(Config) if f.name not in SECTIONS}
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name in SECTIONS:
            values[name] = _parse_section(name, value, origin)
        elif name in tops:
            values[name] = _check(f"{name}", value, tops[name], origin)
        else:
            raise ConfigError(_unknown(name, value, origin))
    config = Config(**values)
    _check_together(config, origin)
    return config


def every_setting() -> list[tuple[str, Field[Any]]]:
    """List all keys as (`section.key`, field), in the order of the file; docs and example are held to it."""
    listed = [(f.name, f) for f in fields(Config) if f.name not in SECTIONS]
    for section, cls in SECTIONS.items():
        listed += [(f"{section}.{f.name}", f) for f in fields(cls)]
    return listed


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors put a mark first
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such configuration file: check --config, or copy systemd/config.example.toml"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror or error}: check the path and the rights; on an installed "
            "board the command `face-unlock` may read its own"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read as a configuration: {error}: save it as UTF-8") from None
    except (ValueError, RecursionError) as error:  # not TOML, a number of 5,000 digits, 20,000 brackets
        raise ConfigError(f"{path}: not TOML: {error}: compare with systemd/config.example.toml") from None


def _parse_section(section: str, value: Any, origin: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(
            f"{origin}: {section}: expected a section [{section}] with keys below it, received {_shown(value)}"
        )
    known = {f.name: f for f in fields(SECTIONS[section])}
    for key in value:
        if key not in known:
            raise ConfigError(_unknown(f"{section}.{key}", value[key], origin))
    checked = {key: _check(f"{section}.{key}", value[key], known[key], origin) for key in value}
    return SECTIONS[section](**checked)


def _unknown(name: str, value: Any, origin: str) -> str:
    if name in REMOVED:
        return f"{origin}: {name}: no longer a key: {REMOVED[name]}"
    kind = "section" if isinstance(value, dict) and "." not in name else "key"
    names = list(SECTIONS) if kind == "section" else [known for known, _ in every_setting()]
    return f"{origin}: unknown {kind} {name!r}: {_nearest(name, names)}"


def _nearest(name: str, names: list[str]) -> str:
    """Name the known key that is most like this one: whole, or by the part behind the section."""
    tail = name.rpartition(".")[2]
    tails = {known.rpartition(".")[2]: known for known in names}
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    near = near or [tails[t] for t in difflib.get_close_matches(tail, list(tails), n=1, cutoff=0.5)]
    near = near or difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return f"did you mean {near[0]!r}? docs/owner/tune.md lists all"


def _check(name: str, value: Any, known: Field[Any], origin: str) -> Any:
    rule = known.metadata
    types = rule["types"]
    if types == (float,) and type(value) is int:
        with contextlib.suppress(OverflowError):  # it stays a whole number, and is refused as one
            value = float(value)
    # bool is an int to isinstance; `pin = true` must not become pin 1
    if type(value) not in types:
        expected = " or ".join(TYPE_NAMES[t] for t in types)
        raise ConfigError(f"{origin}: {name}: expected {expected}, received {_shown(value)}")
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(
            f"{origin}: {name}: expected text without a NUL character, received {_shown(value)}"
        )
    if rule["choices"] and value not in rule["choices"]:
        raise ConfigError(
            f"{origin}: {name}: expected one of {_listed(rule['choices'])}, received {_shown(value)}"
        )
    low, high = rule["low"], rule["high"]
    if low is not None and not low <= value <= high:  # false for NaN too
        unit = f" {rule['unit']}" if rule["unit"] else ""
        raise ConfigError(f"{origin}: {name}: expected {low:g} to {high:g}{unit}, received {_shown(value)}")
    return value


TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    dict: "a table",
}


def _check_together(config: Config, origin: str) -> None:
    """Refuse settings that are fine alone and wrong together."""
    decision, quality = config.decision, config.quality
    if decision.k > decision.n:
        raise ConfigError(
            f"{origin}: decision.k: expected at most decision.n = {decision.n}, received {decision.k}"
        )
    if decision.k > decision.frames_per_approach:
        raise ConfigError(
            f"{origin}: decision.frames_per_approach: expected at least decision.k = {decision.k}, "
            f"received {decision.frames_per_approach}"
        )
    if config.alignment == "landmarks" and quality.min_presence >= 1:
        raise ConfigError(
            f'{origin}: quality.min_presence: expected less than 1 with alignment = "landmarks", '
            f"received {quality.min_presence:g}"
        )
    _check_pins(config, origin)
    _check_link(config.link, origin)
    check_model(config.model, f"{origin}: model")
    if not config.gallery.strip():
        raise ConfigError(f"{origin}: gallery: expected a name, received empty text")


def _check_link(link: LinkConfig, origin: str) -> None:
    if link.socket and not DOOR_NAME.fullmatch(link.name):
        raise ConfigError(
            f"{origin}: link.name: expected 1 to 32 small letters, digits and hyphens, received {_shown(link.name)}"
        )
    if link.open_code and not link.open_code.startswith("$argon2id$"):
        raise ConfigError(  # what was received may be the code itself, and this text goes to logs
            f"{origin}: link.open_code: expected an Argon2id hash, received something else: take the line that "
            "`face-unlock fleet code` prints"
        )


def _check_pins(config: Config, origin: str) -> None:
    """Refuse keypad pins that are none, and a pin with two uses."""
    keypad = config.keypad
    rows, columns = (pins_of(getattr(keypad, key), f"{origin}: keypad.{key}") for key in ("rows", "columns"))
    if (rows or columns) and (len(rows) != 4 or len(columns) not in (3, 4)):
        raise ConfigError(
            f"{origin}: keypad.rows: expected 4 rows and 3 or 4 columns, received {len(rows)} and {len(columns)}"
        )
    check_pins_once(pins_in_use(config), f"{origin}: ")


def pins_in_use(config: Config) -> list[tuple[str, int]]:
    """List every GPIO number of a configuration with its key, of whatever kind: the one list that checks go by."""
    uses = [
        (f"keypad.{key}", pin)
        for key in ("rows", "columns")
        for pin in pins_of(getattr(config.keypad, key), key)
    ]
    for name in SECTIONS:
        section = getattr(config, name)
        keys = [each.name for each in fields(section) if each.name == "pin" or each.name.endswith("_pin")]
        uses += [(f"{name}.{key}", getattr(section, key)) for key in keys]
    unused = "lock.pin" if config.lock.is_gpiochip else ""
    return [(key, pin) for key, pin in uses if pin >= 0 and key != unused]


def check_pins_once(uses: list[tuple[str, int]], origin: str) -> None:
    """Refuse a pin with two uses."""
    taken: dict[int, str] = {}
    for key, pin in uses:
        if pin in taken:
            raise ConfigError(
                f"{origin}{key}: GPIO{pin} has two uses, it is {taken[pin]} too: choose another"
            )
        taken[pin] = key


def pins_of(text: str, origin: str) -> tuple[int, ...]:
    """Read GPIO numbers separated by commas."""
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    if not all(word.isascii() and word.isdigit() and int(word) <= 27 for word in words):
        raise ConfigError(
            f"{origin}: expected GPIO numbers of 0 to 27 such as 5,6,13,19, received {_shown(text)}"
        )
    return tuple(int(word) for word in words)


def check_liveness(config: Config, no_liveness: bool) -> None:
    """Switch liveness off by two keys only: the configuration's, and the flag of whoever starts the program."""
    off = config.liveness.mode == "off"
    if off and not no_liveness:
        raise ConfigError(
            'liveness.mode: "off" lets a photograph open the door, expected --no-liveness beside it, received none: '
            "take another mode, or add the flag"
        )
    if no_liveness and not off:
        raise UsageError(
            f'--no-liveness: expected liveness.mode = "off", received "{config.liveness.mode}": both are needed'
        )


def check_model(model: str, origin: str) -> None:
    """Refuse what is neither a shipped network's name nor the path of a manifest; name the nearest."""
    if model in MODELS or model.endswith(".json"):
        return
    near = difflib.get_close_matches(model, MODELS, n=1, cutoff=0.0)
    meant = f": did you mean {near[0]!r}?" if near else ""
    raise ConfigError(
        f"{origin}: expected one of {_listed(MODELS)}, or the path of a manifest (.json), "
        f"received {_shown(model)}{meant}"
    )


def _listed(choices: tuple[Any, ...]) -> str:
    return ", ".join(_shown(choice) for choice in choices)


def _shown(value: Any) -> str:
    """Show a value as TOML would, cut to one short line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value}"
    try:
        text = f'"{value}"' if isinstance(value, str) else f"{value}"
    except (ValueError, RecursionError):  # 5,000 digits, 20,000 tables in each other
        return "a value too long to be shown"
    text = mask_address(text) if "@" in text or "://" in text else text  # a camera's password
    text = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return text if len(text) <= 60 else text[:57] + "..."
