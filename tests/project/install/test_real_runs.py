"""scripts/install.sh and uninstall.sh, run below a root of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tests.support.checkout import ROOT, tree
from tests.support.machines.boards import BOARD_FILES


def test_install_twice_then_remove(run, tmp_path):
    root = tmp_path / "root"
    first = run("install.sh")
    assert (first.returncode, first.stderr) == (0, "")
    calls = (tmp_path / "calls").read_text()
    assert "python -m pip install" in calls
    assert "fetch_models.py" in calls
    assert not any(word in calls for word in ("apt-get", "daemon-reload", "chown", "udevadm"))
    as_root = f"--root={root}" in calls
    assert as_root == (os.geteuid() == 0)  # users and links are made in that root, which only root may
    assert (root / "opt/face-unlock/device/lock/bolt.py").is_file()
    assert (root / "opt/face-unlock/models/weights/mobilefacenet.json").is_file()
    for name in ("", "-lock", "-board", "-page", "-live@"):
        unit = f"face-unlock{name}.service"
        assert (root / "etc/systemd/system" / unit).is_file()
    config = root / "etc/face-unlock/config.toml"
    assert 'gallery = "/var/lib/face-unlock/gallery.db"' in config.read_text()
    assert oct(config.stat().st_mode)[-3:] == "640"
    assert oct((root / "var/lib/face-unlock").stat().st_mode)[-3:] == "700"

    config.write_text('# mine\ngallery = "/srv/gallery.db"\n')
    gallery = root / "var/lib/face-unlock/gallery.db"
    gallery.write_text("templates")
    (root / "opt/face-unlock/device/gone.py").write_text("a file of an earlier version")
    before = tree(root)
    second = run("install.sh")
    assert (second.returncode, second.stderr) == (0, "")
    after = tree(root)
    assert before.pop("opt/face-unlock/device/gone.py")
    assert after == before
    assert (tmp_path / "calls").read_text().count("-m venv") == 1

    removed = run("uninstall.sh")
    assert (removed.returncode, removed.stderr) == (0, "")
    assert set(tree(root)) == {"etc/face-unlock/config.toml", "var/lib/face-unlock/gallery.db"}
    kept = removed.stdout.partition("--purge")[2]
    for place in (
        "/var/lib/face-unlock",
        "/etc/face-unlock",
        "/var/cache/face-unlock",
        "the users",
        "packages of apt",
    ):
        assert place in kept
    assert run("uninstall.sh").returncode == 0  # again: nothing left to do
    assert run("uninstall.sh", "--purge").returncode == 0
    assert tree(root) == {}


def test_the_enroll_command_runs_as_the_service_in_its_folder(run, tmp_path, tools):
    assert "+ write /usr/local/bin/face-unlock-enroll" in run("install.sh", "--dry-run", root=False).stdout
    done = run("install.sh")
    assert "face-unlock-enroll --name NAME" in done.stdout
    command = tmp_path / "root/usr/local/bin/face-unlock-enroll"
    assert oct(command.stat().st_mode)[-3:] == "755"
    # everything after `sudo -u face-unlock`, with the board's folders put below the temporary root
    (tools / "sudo").write_text('#!/bin/sh\n[ "$1 $2" = "-u face-unlock" ] || exit 9\nshift 2\nexec "$@"\n')
    (tools / "sudo").chmod(0o755)
    for folder in ("/opt/face-unlock", "/var/lib/face-unlock"):
        command.write_text(command.read_text().replace(folder, f"{tmp_path}/root{folder}"))
    python = tmp_path / "root/opt/face-unlock/.venv/bin/python"
    python.write_text('#!/bin/sh\npwd\nfor each; do echo "$each"; done\nexit 3\n')
    told = subprocess.run(
        [command, "--name", "Anna Maria", "--no-sheet"],
        env={"PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stderr) == (3, "")
    root = tmp_path / "root"
    assert told.stdout.splitlines() == [
        f"{root}/var/lib/face-unlock",
        f"{root}/opt/face-unlock/enroll.py",
        *("--name", "Anna Maria", "--no-sheet"),
    ]
    assert "face-unlock enroll NAME" in done.stdout
    one = root / "usr/local/bin/face-unlock"
    for folder in ("/opt/face-unlock", "/var/lib/face-unlock"):
        one.write_text(one.read_text().replace(folder, f"{root}{folder}"))
    environ = {"PATH": f"{tools}:{os.environ['PATH']}"}
    told = subprocess.run([one, "list", "--json"], env=environ, capture_output=True, text=True, check=False)
    assert told.stdout.splitlines()[1:] == [
        f"{root}/opt/face-unlock/scripts/face_unlock.py",
        "list",
        "--json",
    ]
    assert (root / "usr/local/share/man/man1/face-unlock.1").exists()
    assert (root / "usr/local/share/bash-completion/completions/face-unlock").exists()
    other = tmp_path / "root/usr/local/bin/face-unlock-run"
    for folder in ("/opt/face-unlock", "/var/lib/face-unlock"):
        other.write_text(other.read_text().replace(folder, f"{root}{folder}"))
    environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
    told = subprocess.run(
        [other, "audit.py", "verify"], env=environment, capture_output=True, text=True, check=False
    )
    assert told.stdout.splitlines()[1:] == [f"{root}/opt/face-unlock/scripts/audit.py", "verify"]
    told = subprocess.run([other], env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "expected audit.py" in told.stderr
    assert run("uninstall.sh").returncode == 0
    assert not command.exists()
    assert not other.exists()


def test_with_a_sealed_key_systemd_hands_it_to_the_command(run, tmp_path, tools):
    root = tmp_path / "root"
    sealed = root / "etc/credstore.encrypted/gallery.key"
    sealed.parent.mkdir(parents=True)
    sealed.touch()
    done = run("install.sh")
    assert "gallery_keys.py" not in done.stdout  # the installer could not read it
    (tools / "sudo").write_text('#!/bin/sh\nfor each; do echo "$each"; done\n')
    (tools / "sudo").chmod(0o755)
    command = root / "usr/local/bin/face-unlock-enroll"
    command.write_text(command.read_text().replace("KEY=/etc", f"KEY={root}/etc"))
    told = subprocess.run(
        [command, "--name", "Anna Maria"],
        env={"PATH": f"{tools}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    assert told[0] == "systemd-run"
    assert "--pipe" in told
    assert f"--property=LoadCredentialEncrypted=gallery.key:{sealed}" in told
    assert told[-4:] == [
        "/opt/face-unlock/.venv/bin/python",
        "/opt/face-unlock/enroll.py",
        *("--name", "Anna Maria"),
    ]


def test_a_door_joins_a_fleet_as_root_with_a_file_of_the_folder_of_now(run, tmp_path, tools):
    root = tmp_path / "root"
    assert run("install.sh").returncode == 0
    (tools / "sudo").write_text('#!/bin/sh\npwd\nfor each; do echo "$each"; done\n')
    (tools / "sudo").chmod(0o755)
    command = root / "usr/local/bin/face-unlock"
    here = tmp_path / "a folder"
    here.mkdir()

    def typed(*words: str) -> list[str]:
        environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
        told = subprocess.run(
            [command, *words],
            cwd=here,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return told.stdout.splitlines()

    program = ["/opt/face-unlock/.venv/bin/python", "/opt/face-unlock/scripts/face_unlock.py"]
    told = typed("fleet", "join", "front.door")
    assert told[:3] == [str(here), "sh", "-c"]  # and no -u: as root
    assert told[-5:] == [*program, "fleet", "join", "front.door"]
    assert typed("fleet", "push")[:3] == ["/", "-u", "face-unlock"]
    sealed = root / "etc/credstore.encrypted/gallery.key"
    sealed.parent.mkdir(parents=True)
    sealed.touch()
    command.write_text(command.read_text().replace("KEY=/etc", f"KEY={root}/etc"))
    told = typed("fleet", "join", "front.door")
    assert {"--uid=root", "--gid=root", f"--working-directory={here}"} <= set(told)
    assert f"--property=LoadCredentialEncrypted=gallery.key:{sealed}" in told
    assert {"--uid=face-unlock", "--working-directory=/var/lib/face-unlock"} <= set(typed("fleet", "push"))


def test_the_doctor_alone_may_read_the_journal(run, tmp_path, tools):
    root = tmp_path / "root"
    assert run("install.sh").returncode == 0
    (tools / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (tools / "setpriv").write_text('#!/bin/sh\nfor each; do echo "$each"; done\n')
    (tools / "id").write_text('#!/bin/sh\n[ "$*" = "-G face-unlock" ] && echo 990 44 20\n')
    for name in ("sudo", "setpriv", "id"):
        (tools / name).chmod(0o755)
    command = root / "usr/local/bin/face-unlock"
    command.write_text(
        command.read_text().replace("cd /var/lib/face-unlock", f"cd {root}/var/lib/face-unlock")
    )
    environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
    told = subprocess.run(
        [command, "doctor", "--json"], env=environment, capture_output=True, text=True
    ).stdout
    assert told.splitlines() == [
        *("--reuid=face-unlock", "--regid=face-unlock", "--groups=990,44,20,systemd-journal"),
        *("/opt/face-unlock/.venv/bin/python", "/opt/face-unlock/scripts/face_unlock.py", "doctor", "--json"),
    ]
    told = subprocess.run([command, "list"], env=environment, capture_output=True, text=True)
    assert "systemd-journal" not in told.stdout + told.stderr


def test_installed_config_is_one_that_loads(run, tmp_path):
    from device.config import load_config

    for board, driver in (("pi5-bookworm", "gpiozero"), ("orin", "gpiochip")):
        shutil.rmtree(tmp_path / "root", ignore_errors=True)
        assert run("install.sh", board=board).returncode == 0
        config = load_config(tmp_path / "root/etc/face-unlock/config.toml")
        assert config.gallery == "/var/lib/face-unlock/gallery.db"
        assert config.lock.driver == driver


@pytest.mark.parametrize(
    ("state", "calls"), [("active", "stop start"), ("activating", "stop start"), ("inactive", ""), ("", "")]
)
@pytest.mark.parametrize("unit", ["face-unlock.service", "face-unlock-lock.service", "*"])
def test_an_update_stops_what_runs_and_starts_it_again(tmp_path, state, calls, unit):
    script = (ROOT / "scripts/install.sh").read_text()
    stop = re.search(r"^UNITS=.*?^stop_service\(\) \{.*?^\}", script, re.DOTALL | re.MULTILINE).group()
    tell = re.search(r"^tell_that_it_is_stopped\(\) \{.*?^\}", script, re.DOTALL | re.MULTILINE).group()
    start = re.search(r"^install_service\(\) \{.*?^\}", script, re.DOTALL | re.MULTILINE).group()
    (tmp_path / "run.sh").write_text(f"""set -eu
DRY_RUN='' ROOT='' HERE=''
systemctl() {{
    case "$1/$2" in is-active/{unit}) echo "{state}"; [ "{state}" = active ];; is-active/*) false;; *) echo "$@";; esac
}}
run() {{ if [ "$1" = systemctl ]; then "$@"; fi; }}
run_live() {{ :; }}
run_in_root() {{ :; }}
say() {{ printf '%s\\n' "$*"; }}
{tell}
{stop}
{start}
stop_service
$1
install_service
""")
    shell = shutil.which("dash") or "sh"
    done = subprocess.run([shell, tmp_path / "run.sh", ":"], capture_output=True, text=True, check=False)
    every = "face-unlock.service face-unlock-lock.service face-unlock-link.service face-unlock-fleet.service"
    units = every if unit == "*" else unit
    wanted = [f"{call} {units}" for call in calls.split()]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, wanted, "")
    failed = subprocess.run(
        [shell, tmp_path / "run.sh", "false"], capture_output=True, text=True, check=False
    )
    assert (failed.returncode, failed.stdout.splitlines()) == (1, wanted[:1])
    told = "the service is stopped and the door locked: run the installer again" in failed.stderr
    assert told == bool(calls)


def test_a_venv_without_the_systems_packages_is_made_anew(run, tmp_path):
    run("install.sh")
    venv = tmp_path / "root/opt/face-unlock/.venv"
    for given, made in (("true", 1), ("false", 2)):
        (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = {given}\n")
        assert run("install.sh").returncode == 0
        assert (tmp_path / "calls").read_text().count("-m venv --system-site-packages") == made
    assert not (venv / "pyvenv.cfg").exists()  # the old one went as a whole


def test_a_failing_step_ends_the_installation(run, tmp_path, tools):
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    done = run("install.sh")
    assert done.returncode == 1
    assert "expected Python 3.10 to 3.14" in done.stderr
    assert not (tmp_path / "root/etc").exists()


def test_uninstall_dry_run_touches_nothing(run, tmp_path):
    run("install.sh")
    before = tree(tmp_path / "root")
    done = run("uninstall.sh", "--dry-run", "--purge")
    commands = [line for line in done.stdout.splitlines() if line.startswith("+ ")]
    assert "disable --now face-unlock.service" in commands[0]  # the door is locked before anything is removed
    stopped = next(n for n, line in enumerate(commands) if "disable --now face-unlock-lock.service" in line)
    assert stopped < next(n for n, line in enumerate(commands) if line.endswith("/opt/face-unlock"))
    assert any("var/lib/face-unlock" in line for line in commands)
    assert tree(tmp_path / "root") == before
    kept = run("uninstall.sh", "--dry-run")
    assert "+ rm -rf" in kept.stdout
    assert not any("var/lib/face-unlock" in line for line in kept.stdout.splitlines() if line.startswith("+"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="runs as root here")
def test_without_root_it_says_so(run):
    for script in ("install.sh", "uninstall.sh"):
        done = run(script, root=False)
        assert done.returncode == 1
        assert "sudo" in done.stderr


# --- a whole root of its own: what the other tests have to leave out


IN_ITS_OWN_ROOT = """
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /opt
for folder in etc usr/local var; do
    mkdir -p "/opt/.$folder/upper" "/opt/.$folder/work"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=/opt/.$folder/upper,workdir=/opt/.$folder/work" "/$folder"
done
mkdir /opt/bin
cp TOOLS/* /opt/bin/
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system  # as where systemd runs
touch /opt/calls
chmod 666 /opt/calls
export PATH="/opt/bin:$PATH"
show() {
    echo "== $1"
    id -nG face-unlock
    id -nG face-unlock-lock
    stat -c "%n %a %U:%G" /var/lib/face-unlock /etc/face-unlock/config.toml /opt/face-unlock /opt/face-unlock/device
}
sh CHECKOUT/scripts/install.sh
show installed
gpasswd --add face-unlock gpio >/dev/null
id -nG face-unlock
sh CHECKOUT/scripts/install.sh
show updated
sh CHECKOUT/scripts/uninstall.sh
id -un face-unlock
sh CHECKOUT/scripts/uninstall.sh --purge
id -un face-unlock 2>/dev/null || echo "== no user"
for folder in /opt /var/lib /etc /var/cache; do ls -d $folder/face-unlock 2>/dev/null || :; done
ls -d /etc/systemd/system/face-unlock* 2>/dev/null || :
echo "== calls"
cat /opt/calls
"""


@pytest.mark.parametrize("board", ["pi5-trixie", "orin"])
def test_every_line_runs_in_a_root_made_for_it(run, tmp_path, checkout, tools, board):
    """Users, owners, the sealing as the service's user, update and purge are real; apt, pip and systemd are not."""
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    needed = ("systemd-sysusers", "gpasswd", "runuser", "userdel")
    if probe.returncode or os.geteuid() or any(shutil.which(name) is None for name in needed):
        pytest.skip("needs root, a mount namespace and the programs of a Linux with systemd")
    for name in ("chown", "systemd-sysusers", "userdel"):
        (tools / name).unlink()
    for file in tools.iterdir():
        file.write_text(file.read_text().replace(str(tmp_path / "calls"), "/opt/calls"))
    active = 'case "$1" in is-active) echo active ;; esac\n'
    (tools / "systemctl").write_text((tools / "systemctl").read_text() + active)
    script = IN_ITS_OWN_ROOT.replace("TOOLS", str(tools)).replace("CHECKOUT", str(checkout))
    (tmp_path / "root.sh").write_text(script)
    environment = run("install.sh", "--help", board=board)  # writes what the board is looked up in
    assert environment.returncode == 0
    given = {name: str(tmp_path / file) for name, file in BOARD_FILES.items()}
    done = subprocess.run(
        ["unshare", "--mount", "sh", tmp_path / "root.sh"],
        env={"PATH": os.environ["PATH"], "MACHINE": "aarch64", **given},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    amiss = [line for line in done.stderr.splitlines() if not line.startswith("Creating ")]  # of sysusers
    assert (done.returncode, amiss) == (0, []), done.stdout
    shown = done.stdout
    state = [
        "face-unlock video dialout face-unlock-link",
        "face-unlock-lock gpio",
        "/var/lib/face-unlock 700 face-unlock:face-unlock",
        "/etc/face-unlock/config.toml 640 root:face-unlock",
        "/opt/face-unlock 755 root:root",
        "/opt/face-unlock/device 755 root:root",
    ]
    for name in ("installed", "updated"):
        lines = shown.partition(f"== {name}\n")[2].splitlines()[: len(state)]
        assert sorted(lines[0].split()) == sorted(
            state[0].split()
        )  # and not gpio, of which an earlier release was
        assert lines[1:] == state[1:]
    assert shown.partition("== no user\n")[2].startswith("== calls\n")
    calls = shown.partition("== calls\n")[2]
    for call in (
        "gallery_keys.py seal",
        "systemctl daemon-reload",
        "systemctl enable face-unlock.service face-unlock-lock.service",
        "systemctl stop face-unlock.service face-unlock-lock.service",
        "systemctl start face-unlock.service face-unlock-lock.service",
        "systemctl disable --now face-unlock-lock.service",
        "udevadm control --reload",
    ):
        assert call in calls
    assert ("python3-lgpio" in calls) == (board != "orin")
