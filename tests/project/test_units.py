"""The units: valid, caged, and explained line by line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest

from device.config import CameraConfig
from device.page.live import cage
from device.vault.board import HANDED_OVER, PRODUCT, SERIALS
from device.vision.camera.live import OPENING_FACTOR

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
UNIT = SYSTEMD / "face-unlock.service"
BOLT = SYSTEMD / "face-unlock-lock.service"
BOARD = SYSTEMD / "face-unlock-board.service"
LINK = SYSTEMD / "face-unlock-link.service"
FLEET = SYSTEMD / "face-unlock-fleet.service"
PAGE = SYSTEMD / "face-unlock-page.service"
PAGE_SOCKET = SYSTEMD / "face-unlock-page.socket"
LIVE = SYSTEMD / "face-unlock-live@.service"
LIVE_SOCKET = SYSTEMD / "face-unlock-live.socket"
PAGE_TLS = SYSTEMD / "face-unlock-page-tls.service"
PAGE_TLS_SOCKET = SYSTEMD / "face-unlock-page-tls.socket"
SOCKETS = [PAGE_SOCKET, LIVE_SOCKET, PAGE_TLS_SOCKET]
UNITS = [UNIT, BOLT, BOARD, LINK, FLEET, PAGE, PAGE_TLS, LIVE]
MOST_EXPOSURE = 15  # tenths

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings(path=UNIT):
    """List the (key, value) lines of a unit."""
    lines = [line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return [tuple(line.split("=", 1)) for line in lines]


def value(key, path=UNIT):
    [found] = [v for k, v in settings(path) if k == key]
    return found


def analyze(*arguments):
    try:
        return subprocess.run(
            ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=240, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("systemd-analyze does not answer here")


@pytest.fixture(params=UNITS, ids=lambda path: path.name)
def unit(tmp_path, request):
    """Each unit as it would be on a board, beside the other one, with an interpreter that is there."""
    for each in [*UNITS, *SOCKETS]:
        text = each.read_text().replace("/opt/face-unlock/.venv/bin/python", sys.executable)
        (tmp_path / each.name).write_text(text)
    return tmp_path / request.param.name


@needs_systemd
@pytest.mark.parametrize("drop_in", [None, "network-camera.conf", "sealed-key.conf"])
def test_verify_is_silent(unit, drop_in):
    if drop_in:
        folder = unit.with_name(f"{UNIT.name}.d")
        folder.mkdir()
        shutil.copy(SYSTEMD / drop_in, folder)
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def printed_drop_ins():
    """Find each block of a page that is a drop-in, with the unit's sections."""
    for page in [SYSTEMD / "README.md", *(SYSTEMD.parent / "docs").rglob("*.md")]:
        for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", page.read_text(), re.MULTILINE):
            text = textwrap.dedent(block).strip() + "\n"
            if re.match(r"\[(Unit|Service)\]\n", text):
                yield page, text


def test_a_drop_in_that_a_page_names_is_printed_whole():
    printed = {text for _, text in printed_drop_ins()}
    for name in ("network-camera.conf", "sealed-key.conf", "display.conf"):
        lines = (SYSTEMD / name).read_text().splitlines(keepends=True)
        assert "".join(line for line in lines if not line.startswith("#")) in printed
    for page in (SYSTEMD.parent / "docs").rglob("*.md"):
        for name in re.findall(r"install (.*systemd/\S+\.conf.*)", page.read_text()):
            assert name.startswith("-D "), f"{page}: {name}"  # its folder need not be there


@needs_systemd
@pytest.mark.parametrize("text", [text for _, text in printed_drop_ins()])
def test_every_printed_drop_in_is_one(unit, text):
    if unit.name != UNIT.name:
        pytest.skip("they are of the recognizer's unit")
    folder = unit.with_name(f"{UNIT.name}.d")
    folder.mkdir()
    (folder / "printed.conf").write_text(text)
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_exposure(unit):
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", "--no-pager", str(unit))
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze is too old for --offline")
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    assert float(re.search(r"exposure level.*: ([0-9.]+)", done.stdout)[1]) <= MOST_EXPOSURE / 10


@pytest.mark.parametrize("path", [UNIT, BOLT, LINK, FLEET], ids=lambda path: path.name)
def test_life_of_the_services(path):
    assert value("Type", path) == "notify"
    assert value("Restart", path) == "always"
    assert value("StartLimitIntervalSec", path) == "0"
    assert float(value("WatchdogSec", path)) > 0


def test_only_the_bolts_unit_may_touch_gpio():
    for needed in ("video4linux", "media", "dma_heap"):
        assert ("DeviceAllow", f"char-{needed} rw") in settings()
    assert not [line for line in settings() if "gpio" in " ".join(line)]
    assert [given for key, given in settings(BOLT) if key == "DeviceAllow"] == ["char-gpiochip rw"]
    assert value("SupplementaryGroups", BOLT) == "gpio"
    assert value("User", BOLT) != value("User")
    users = (SYSTEMD / "face-unlock.sysusers").read_text()
    assert not re.search(r"^m face-unlock +gpio", users, re.MULTILINE)


def test_the_bolt_is_relocked_after_any_death():
    relock = "-m device.lock --relock --config /etc/face-unlock/config.toml"
    assert value("ExecStopPost", BOLT).endswith(relock)


def test_the_relock_has_time_and_a_hung_process_has_none():
    """systemd bounds ExecStopPost= by TimeoutStopSec=; 5 s killed the relock on a slow board."""
    assert float(value("TimeoutStopSec", BOLT)) >= 30
    assert value("WatchdogSignal", BOLT) == "SIGKILL"
    assert value("RuntimeDirectoryPreserve", BOLT) == "yes"  # where the claimed pin is written down


def test_the_pages_of_enrollments_are_asked_for_by_the_recognizers_user_alone():
    """Each has a process of its own, which ends with its connection; whoever connects decides what it shows."""
    assert value("Accept", LIVE_SOCKET) == "yes"
    assert value("StandardInput", LIVE) == "socket"
    assert (value("SocketUser", LIVE_SOCKET), value("SocketMode", LIVE_SOCKET)) == (value("User"), "0600")
    assert value("User", LIVE) == cage.OWN_USER
    assert value("User", LIVE) not in (value("User"), value("User", BOLT), value("User", LINK))
    assert value("Group", LIVE) != value("Group")  # it reads nothing of the door, its status neither


def test_both_status_pages_are_one_but_for_who_may_reach_them():
    own = {"Description", "Requires", "ConditionPathExists", "ExecStart"}
    pages = [{line for line in settings(path) if line[0] not in own} for path in (PAGE, PAGE_TLS)]
    assert pages[0] == pages[1]


def test_where_memory_runs_out_the_bolt_is_killed_last():
    assert value("OOMScoreAdjust", BOLT) == "-900"
    assert "OOMScoreAdjust" not in [key for key, _ in settings(UNIT)]


def test_both_units_mean_one_socket_that_the_group_may_enter():
    recognizer = dict(zip(*[iter(value("ExecStart").split()[2:])] * 2, strict=True))
    bolt = dict(zip(*[iter(value("ExecStart", BOLT).split()[3:])] * 2, strict=True))
    assert recognizer["--lock-socket"] == bolt["--socket"]
    assert recognizer["--config"] == bolt["--config"]
    folder = Path(bolt["--socket"]).parent
    assert folder == Path("/run") / value("RuntimeDirectory", BOLT)
    assert value("RuntimeDirectoryMode", BOLT) == "0750"
    assert value("Group", BOLT) == value("Group")  # owner: the bolt; group: the recognizer
    assert bolt["--client-user"] == value("User")
    assert value("After") == f"{BOLT.name} {BOARD.name}" == value("Wants")


def test_only_the_boards_own_unit_may_ask_the_firmware():
    """The mailbox can do far more than read a key; what it gives goes where the recognizer looks for it."""
    assert [given for key, given in settings(BOARD) if key == "DeviceAllow"] == ["/dev/vcio rw"]
    assert not any("vcio" in line for path in (UNIT, BOLT) for line in path.read_text().splitlines())
    [file] = re.findall(r"--hand-over (/run/\S+)", value("ExecStart", BOARD))
    assert file == f"/{HANDED_OVER}" == f"/run/{value('RuntimeDirectory', BOARD)}/otp"
    assert value("User", BOARD) == value("User")


@pytest.mark.parametrize("path", [*SERIALS, PRODUCT])
def test_the_recognizers_cage_leaves_the_serial_number_in_sight(path):
    """Of what hides files: /sys is read-only at most, and /proc is seen whole."""
    lines = dict(settings())
    assert "ProcSubset" not in lines
    hidden = " ".join(
        given for key, given in settings() if key in ("InaccessiblePaths", "TemporaryFileSystem")
    )
    assert not any(part in hidden.split() for part in (f"/{path}", "/sys", "/proc", "/"))


def test_the_commands_of_the_units_are_understood():
    import unlock
    from device import lockd
    from device.fleet import __main__ as fleet
    from device.link import __main__ as link
    from device.lock import relock
    from device.page import status, window
    from device.vault import board
    from scripts import fleet as scripts_fleet

    assert str(status.parse(value("ExecStart", PAGE).split()[3:]).file) == value("ExecStart").split()[-1]
    assert status.parse(value("ExecStart", PAGE_TLS).split()[3:]).tls == scripts_fleet.PAGE_FOLDER
    assert value("ExecStart", LIVE).split()[1:] == ["-m", "device.page.live"]
    assert value("ListenStream", LIVE_SOCKET) == str(window.UNIT_SOCKET)
    assert link.command_line().parse_args(value("ExecStart", LINK).split()[3:]).folder
    assert fleet.command_line().parse_args(value("ExecStart", FLEET).split()[3:]).config
    assert unlock.parse(value("ExecStart").split()[2:]).lock_socket == "/run/face-unlock-lock/bolt.sock"
    with pytest.raises(SystemExit) as caught:
        board.main([*value("ExecStart", BOARD).split()[3:], "--help"])
    assert caught.value.code == 0
    assert lockd.parse(value("ExecStart", BOLT).split()[3:]).client_user == "face-unlock"
    with pytest.raises(SystemExit) as caught:
        relock.main([*value("ExecStopPost", BOLT).split()[3:], "--help"])
    assert caught.value.code == 0


def test_the_link_alone_has_a_network_and_sees_nothing_of_the_door():
    for path in UNITS:
        families = value("RestrictAddressFamilies", path).split()
        has_network = bool({"AF_INET", "AF_INET6"} & set(families))
        assert has_network == (path == LINK), path
        assert (("PrivateNetwork", "yes") in settings(path)) != has_network
    hidden = value("InaccessiblePaths", LINK)
    for folder in ("/var/lib/face-unlock", "/etc/face-unlock", "/run/face-unlock-lock"):
        assert f"-{folder} " in f"{hidden} "
    users = (SYSTEMD / "face-unlock.sysusers").read_text()
    assert not re.search(r"^m face-unlock-link", users, re.MULTILINE)
    assert "SupplementaryGroups" not in dict(settings(LINK))
    assert value("User", FLEET) == value("User")


def test_link_and_fleet_start_only_at_a_door_that_joined():
    from device.desk.credentials import ADDRESS

    for path in (LINK, FLEET):
        assert value("ConditionPathExists", path) == f"/var/lib/face-unlock-link/{ADDRESS}"
    assert value("ExecStart", LINK).endswith("--socket /run/face-unlock-link/link.sock")
    for path in (UNIT, FLEET):
        assert "face-unlock-link" in value("SupplementaryGroups", path).split()


def test_the_page_reads_one_file_and_is_reached_by_a_socket_that_an_owner_enables():
    hidden = value("InaccessiblePaths", PAGE).split()
    for folder in (
        "/var/lib/face-unlock",
        "/etc/face-unlock",
        "/run/face-unlock-lock",
        "/run/face-unlock-link",
    ):
        assert f"-{folder}" in hidden
    assert value("Group", PAGE) == value("Group")  # by which it reads the file
    assert value("User", PAGE) not in (value("User"), value("User", BOLT), value("User", LINK))
    assert value("RuntimeDirectory") == "face-unlock"
    assert value("RuntimeDirectoryMode") == "0750"
    assert value("SocketMode", PAGE_SOCKET) == "0660"
    assert "[Install]" not in PAGE.read_text()
    installer = (SYSTEMD.parent / "scripts" / "install.sh").read_text()
    assert not re.search(r"enable.*PAGE", installer)


def test_without_a_gallery_the_start_is_skipped():
    example = (SYSTEMD / "config.example.toml").read_text()
    assert f'gallery = "{value("ConditionPathExists")}"' in example
    head = UNIT.read_text().partition("[Service]")[0]
    assert "ConditionPathExists=" in head  # elsewhere systemd ignores it


def test_paths_of_the_unit_are_those_of_the_installer():
    installer = (SYSTEMD.parent / "scripts" / "install.sh").read_text()
    for path in ("/opt/face-unlock", "/etc/face-unlock", "/var/cache/face-unlock", "/var/lib/face-unlock"):
        assert path in installer
    assert value("ExecStart").split() == [
        "/opt/face-unlock/.venv/bin/python",
        "/opt/face-unlock/unlock.py",
        "--config",
        "/etc/face-unlock/config.toml",
        "--lock-socket",
        "/run/face-unlock-lock/bolt.sock",
        "--status-file",
        "/run/face-unlock/status.json",
    ]


def test_a_camera_is_found_lost_before_the_watchdog_bites():
    (stall,) = (f for f in fields(CameraConfig) if f.name == "stall_timeout_s")
    patience_s = OPENING_FACTOR * stall.metadata["high"]
    assert float(value("WatchdogSec")) > patience_s + 5


@pytest.mark.parametrize("path", [*UNITS, *SOCKETS], ids=lambda path: path.name)
def test_every_line_has_a_reason_in_the_readme(path):
    readme = (SYSTEMD / "README.md").read_text()
    for key, given in settings(path):
        if key in ("Description", "Documentation"):
            continue
        assert f"{key}=" in readme, key
        if key == "DeviceAllow":
            assert given.split()[0] in readme, given


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_user_has_the_groups_of_the_unit(path):
    users = (SYSTEMD / "face-unlock.sysusers").read_text()
    for group in dict(settings(path)).get("SupplementaryGroups", "").split():
        assert re.search(rf"^m {value('User', path)} +{group}$", users, re.MULTILINE)
        assert re.search(
            rf"^g {group} +-", users, re.MULTILINE
        )  # a missing group would keep the unit from starting


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_sysusers_makes_the_user(tmp_path):
    (tmp_path / "etc").mkdir()
    for file in ("passwd", "group", "shadow", "gshadow"):
        (tmp_path / "etc" / file).touch()
    # The file is named, as the installer does: of a file that it finds by itself, systemd ignores a line it cannot read
    done = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(SYSTEMD / "face-unlock.sysusers")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if "not permitted" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("systemd-sysusers needs root here")
    assert (done.returncode, "not a valid" in done.stderr) == (0, False), done.stderr
    assert "/var/lib/face-unlock" in (tmp_path / "etc" / "passwd").read_text()
    groups = (tmp_path / "etc" / "group").read_text()
    for group, user in (("video", "face-unlock"), ("dialout", "face-unlock"), ("gpio", "face-unlock-lock")):
        assert re.search(rf"^{group}:.*:{user}$", groups, re.MULTILINE)
