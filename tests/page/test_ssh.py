"""The status page as docs/owner/status.md tells it: over `ssh -L` to its Unix socket, with an sshd of its own."""

from __future__ import annotations

import getpass
import http.client
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.waiting import wait_until

SSHD = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
DOC = (ROOT / "docs/owner/status.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(
    not (SSHD and shutil.which("ssh") and shutil.which("ssh-keygen")),
    reason="no sshd: apt install openssh-server",
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def door(tmp_path: Path) -> Iterator[list[str]]:
    """An ssh server for the user of now; yield the start of a command that reaches it."""
    assert SSHD is not None
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True
        )
    port = free_port()
    own = (f"HostKey {tmp_path}/host", f"AuthorizedKeysFile {tmp_path}/user.pub", f"PidFile {tmp_path}/pid")
    (tmp_path / "sshd_config").write_text(
        "\n".join([f"ListenAddress 127.0.0.1:{port}", *own, "StrictModes no", "UsePAM no", ""])
    )  # forwarding is as Debian has it
    Path("/run/sshd").mkdir(exist_ok=True) if getpass.getuser() == "root" else None
    log = (tmp_path / "sshd.log").open("wb")
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=log)
    try:
        wait_until(lambda: is_open(port), 60, (tmp_path / "sshd.log").read_text)
        options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
        yield [
            "ssh", "-F", "none", "-i", str(tmp_path / "user"), "-p", str(port),
            *(part for option in options for part in ("-o", option)), f"{getpass.getuser()}@127.0.0.1",
        ]  # fmt: skip
    finally:
        server.terminate()
        server.wait(30)
        log.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Path]:
    bound = tmp_path / "page.sock"
    module = ["-m", "device.page.status", "--file", str(tmp_path / "none.json"), "--socket", str(bound)]
    process = subprocess.Popen([sys.executable, *module], cwd=ROOT)
    try:
        wait_until(bound.exists, 60)
        yield bound
    finally:
        process.terminate()
        process.wait(30)


def test_the_page_is_reached_through_a_tunnel_at_any_port(door: list[str], page: Path) -> None:
    assert "ssh -L 8080:/run/face-unlock-page.sock" in DOC  # what is done here, with another port and path
    port = free_port()
    tunnel = subprocess.Popen([*door, "-N", "-L", f"{port}:{page}"], stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: is_open(port) or tunnel.poll() is not None, 60)
        assert tunnel.poll() is None, tunnel.stderr and tunnel.stderr.read()
        for name, expected in ((f"localhost:{port}", 200), (f"127.0.0.1:{port}", 200), ("evil.example", 421)):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as client:
                client.request("GET", "/", headers={"Host": name})
                answer = client.getresponse()
                assert (answer.status, b"The door" in answer.read()) == (expected, expected == 200)
    finally:
        tunnel.terminate()
        tunnel.communicate(timeout=30)
