"""scripts/uninstall.sh in a chroot, where systemd does not run."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

# A copy of this machine's files above them, gone with the mounts; then the script as it is, in that.
CHROOT = """set -e
mount -t tmpfs none "$1"; mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root" || exit 77
rm -rf "$1/root/run"; mkdir -p "$1/root/run" "$1/root/etc/systemd/system" "$1/root/opt/face-unlock"
cp -r "$2" "$1/root/checkout"; cp "$2"/systemd/*.service "$2"/systemd/*.socket "$1/root/etc/systemd/system/"
touch "$1/root/opt/face-unlock/x"
chroot "$1/root" sh /checkout/scripts/uninstall.sh --purge && code=0 || code=$?
cd "$1/root"; ls opt etc/systemd/system
exit $code
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
def test_in_a_chroot_where_systemd_does_not_run_it_removes_what_it_can(tmp_path, checkout):
    place = tmp_path / "machine"
    place.mkdir()
    command = ["unshare", "-m", "sh", "-c", CHROOT, "sh", str(place), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare failed" in done.stderr or "permission denied" in done.stderr:
        pytest.skip("this machine mounts nothing")
    assert done.returncode == 0, done.stderr
    assert "skipped, systemd does not run: systemctl daemon-reload" in done.stdout
    left = done.stdout.partition("Not this script's")[2]
    assert "opt:" in left
    assert "face-unlock." not in left
    assert "face-unlock-" not in left
