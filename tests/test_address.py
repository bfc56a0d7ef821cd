"""Addresses of cameras: what FFmpeg is given, and what may be printed."""

from __future__ import annotations

import base64
import socket
import threading
from urllib.parse import unquote

import pytest

from device.address import encode_address, mask_address, one_line
from device.errors import CameraLost
from device.vision.camera.opencv import OpenCVCamera

SECRETS = [
    "rtsp://admin:secret@cam/h264",
    "rtsp://admin:secret@cam.10.0.0.5:554/h264",
    "rtsp://admin:se?cret@cam.local/h264",
    "rtsp://admin:se#cret@cam.local/h264",
    "rtsp://admin:se/cret@cam.local/h264",
    "rtsp://admin:s@ecret@cam.local/h264",
    "rtsp://cam.local/h264?user=a&password=secret",
    "rtsp://cam.local/h264;pwd=secret",
    "rtsp://cam.local:554/user=admin_password=secret_channel=1_stream=0.sdp",
    "rtsp://cam.local:554/user=admin&password=secret&channel=1",
    "http://cam.local/videostream.cgi?loginuse=admin&loginpas=secret",
    "http://cam.local/cgi;user=admin;pwd=secret",
    "rtsp://cam.local/h264#secret",
    "rtsp://cam.local/h264&pwd=secret",
    "rtsp://admin:secret@cam.local/h264?token=secret#secret",
    "rtsp:/admin:secret@cam/d",
    "rtsp:admin:secret@cam/d",
    "rtsp//admin:secret@cam/d",
    "admin:secret@cam/d",
    "rtsp:/cam/d?password=secret",
    "rtsp://admin:se cret@cam.local/h264",
    "rtsp://admin:secret\n@cam.local/h264",
]


@pytest.mark.parametrize("address", SECRETS)
def test_nothing_secret_of_an_address_is_printed(address):
    for shown in (mask_address(address), one_line(OSError(f"cannot open {address} now"))):
        assert "secret" not in shown
        assert "cret" not in shown
        assert "cam" in shown
        assert "\n" not in shown


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://a:b@c/d", "rtsp://***@c/d"),
        ("http://c/d?user=a&password=b", "http://c/d?***"),
        ("rtsp://c:554/user=a_password=b", "rtsp://c:554/***"),
        ("rtsp://c/live/ch0;pwd=b", "rtsp://c/live/ch0;***"),
        ("rtsp://[fe80::1]:554/h264", "rtsp://[fe80::1]:554/h264"),
        ("rtsp://c/Streaming/Channels/101", "rtsp://c/Streaming/Channels/101"),
        ("/dev/v4l/by-id/usb-046d:0825-video-index0", "/dev/v4l/by-id/usb-046d:0825-video-index0"),
        ("/clips/a=b;c.mp4", "/clips/a=b;c.mp4"),
        ("me@home.mp4", "me@home.mp4"),
        (0, "0"),
    ],
)
def test_what_is_no_secret_is_shown(address, shown):
    assert mask_address(address) == shown


@pytest.mark.parametrize("host", ["cam.local", "10.0.0.5:554", "[fe80::1]:554", "cam:8554"])
@pytest.mark.parametrize(
    "password", ["secret", "se#cret", "se/cret", "se?cret", "s@cret", "12/34", "a:b", "50%", "p w", "ä", "#", "a@b.c/d"]
)  # fmt: skip
def test_every_character_of_a_password_reaches_the_camera(host, password):
    encoded = encode_address(f"rtsp://admin:{password}@{host}/h264?x=1")
    scheme, _, rest = encoded.partition("://")
    secret, _, behind = rest.partition("@")
    assert (scheme, behind) == ("rtsp", f"{host}/h264?x=1")
    assert not set("/?#@ ") & set(secret)
    user, _, sent = secret.partition(":")
    assert (user, unquote(sent)) == ("admin", password)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://cam.local/h264",
        "rtsp://cam.local:554/cam@1",
        "rtsp://cam:554/cam@1",
        "rtsp://cam/cam@1",
        "rtsp://cam.local/h264?mail=a@b.c",
        "rtsp://admin:se%23cret@cam.local/h264",
        "rtsp://admin:secret@cam.local/h264?mail=a@b.c",
        "rtsp://admin:secret@cam/stream@1",
        "rtsp://admin@cam.local/h264",
        "rtsp://",
        "/dev/video0",
    ],
)
def test_an_address_that_needs_nothing_stays_as_it_is(address):
    assert encode_address(address) == address


def test_the_real_ffmpeg_sends_the_password_that_was_written(monkeypatch):
    """A server that asks for a password by RTSP's Basic scheme, and notes what it is given."""
    given: list[str] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            lines: list[bytes] = []
            for line in stream:
                lines.append(line.strip())
                if line.strip():
                    continue
                number = next(each.split(b":")[1] for each in lines if each.lower().startswith(b"cseq"))
                head = b"RTSP/1.0 200 OK" if lines[0].startswith(b"OPTIONS") else b"RTSP/1.0 401 Unauthorized"
                ask = b"" if lines[0].startswith(b"OPTIONS") else b'WWW-Authenticate: Basic realm="cam"\r\n'
                given.extend(
                    base64.b64decode(each.split()[-1]).decode()
                    for each in lines
                    if each.lower().startswith(b"authorization: basic")
                )
                stream.write(head + b"\r\nCSeq:" + number + b"\r\nPublic: DESCRIBE\r\n" + ask + b"\r\n")
                stream.flush()
                lines = []

    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        source = f"rtsp://admin:a#b/c?d@127.0.0.1:{listener.getsockname()[1]}/h264"
        camera = OpenCVCamera(source=source, width=64, height=48, stall_timeout_s=2.0)
        with pytest.raises(CameraLost) as caught:
            next(camera.frames())
        camera.close()
    assert given[:1] == ["admin:a#b/c?d"]
    assert "a#b" not in str(caught.value)
