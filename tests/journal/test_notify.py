"""sd_notify, on a real datagram socket."""

from __future__ import annotations

import os
import socket

import pytest

from device.journal.systemd import Notifier


@pytest.fixture
def manager(tmp_path):
    """The socket that systemd would read; `manager()` gives all datagrams so far."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    address = str(tmp_path / "notify")
    listener.bind(address)
    listener.setblocking(False)

    def received():
        messages = []
        while True:
            try:
                messages.append(listener.recv(4096).decode())
            except BlockingIOError:
                return messages

    received.address = address
    received.close = listener.close
    yield received
    listener.close()


def notifier(manager, watchdog_us=20_000_000):
    return Notifier(address=manager.address, watchdog_us=watchdog_us)


def test_life_of_a_service(manager):
    notify = notifier(manager)
    notify.ready("watching the door")
    notify.status("camera lost\nretrying")
    notify.stopping()
    assert manager() == ["READY=1\nSTATUS=watching the door", "STATUS=camera lost retrying", "STOPPING=1"]


def test_status_cannot_smuggle_a_second_message(manager):
    notifier(manager).status("x\nWATCHDOG=1")
    assert manager() == ["STATUS=x WATCHDOG=1"]


def test_beats_at_most_four_times_per_interval(manager):
    notify = notifier(manager)
    for tenth in range(200):  # 20 s at 10 frames/s
        notify.watchdog(100 + tenth / 10)
    assert manager() == ["WATCHDOG=1"] * 4


def test_no_frames_no_beats(manager):
    notify = notifier(manager)
    notify.watchdog(100.0)
    assert len(manager()) == 1
    assert manager() == []  # nothing beats on its own


def test_lost_camera_stretches_the_watchdog_and_back(manager):
    notify = notifier(manager)
    notify.watchdog(100.0)
    notify.camera_lost()
    notify.camera_back(400.0)
    notify.watchdog(400.1)
    assert manager() == [
        "WATCHDOG=1",
        "WATCHDOG_USEC=600000000",
        "WATCHDOG=1",  # before the short interval, which counts from the last beat
        "WATCHDOG_USEC=20000000",
    ]


def test_camera_back_without_loss_says_nothing(manager):
    notifier(manager).camera_back(1.0)
    assert manager() == []


def test_longer_watchdog_is_not_shortened(manager):
    notifier(manager, watchdog_us=3_600_000_000).camera_lost()
    assert manager() == ["WATCHDOG_USEC=3600000000"]


def test_without_a_watchdog_there_are_no_beats(manager):
    notify = notifier(manager, watchdog_us=None)
    notify.watchdog(1.0)
    notify.camera_lost()
    notify.camera_back(2.0)
    assert manager() == []


def test_abstract_socket():
    name = f"face-unlock-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        Notifier(address=f"@{name}", watchdog_us=None).ready("here")
        assert listener.recv(100) == b"READY=1\nSTATUS=here"


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "/nowhere/notify", "@nobody", "/" + "x" * 200])
def test_nobody_listens(address):
    notify = Notifier(address=address, watchdog_us=1_000_000)
    notify.ready("ready")
    notify.watchdog(1.0)
    notify.camera_lost()
    notify.camera_back(2.0)
    notify.stopping()


def test_manager_that_goes_away_or_stops_reading(manager):
    notify = notifier(manager)
    for n in range(2000):  # more than the socket's buffer: dropped, not waited for
        notify.status(f"{n} " + "x" * 500)
    manager.close()
    notify.stopping()
    os.unlink(manager.address)  # noqa: PTH108
    notify.stopping()


def test_environment():
    own = str(os.getpid())
    for usec, pid, expected in [
        ("20000000", own, 20_000_000),
        ("20000000", "", 20_000_000),
        ("20000000", "1", None),  # meant for another process
        ("0", own, None),
        ("soon", own, None),
        ("", "", None),
    ]:
        environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
        assert Notifier.from_environment(environment)._watchdog_us == expected
    Notifier.from_environment({}).ready("nobody there")
