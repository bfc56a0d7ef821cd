"""The door for pictures: what comes in, upright and bounded, and what does not."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.errors import UsageError
from device.vision.picture import MAX_SIDE_PX, BadPicture, decode_picture, header_of, read_picture
from tests.support.checkout import ROOT

ENDS = (".jpg", ".png", ".webp")


def arrow() -> np.ndarray:
    """Return a picture of which every turn and mirror image is another: red above, blue left, no square."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:12] = (255, 0, 0)
    image[12:, :15] = (0, 0, 255)
    return image


def encoded(end: str, image: np.ndarray) -> bytes:
    quality = [cv2.IMWRITE_WEBP_QUALITY, 101] if end == ".webp" else []
    return cv2.imencode(end, image[..., ::-1], quality)[1].tobytes()


def exif(orientation: int, order: str = "<") -> bytes:
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_exif(end: str, data: bytes, block: bytes) -> bytes:
    """Put an EXIF block into a container, where its own standard has it."""
    if end == ".png":
        return data[:33] + png_chunk(b"eXIf", block) + data[33:]
    if end == ".jpg":
        block = b"Exif\0\0" + block
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    lossless = data[12:]
    width, height = header_of(data).width, header_of(data).height
    large = struct.pack("<B3x", 0x08) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    block += b"\0" * (len(block) % 2)
    parts = (
        b"VP8X" + struct.pack("<I", 10) + large + lossless + b"EXIF" + struct.pack("<I", len(block)) + block
    )
    return b"RIFF" + struct.pack("<I", len(parts) + 4) + b"WEBP" + parts


# What the tag says of the stored picture, so that the upright one comes out of it.
STORED = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image, -1),
}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("end", ENDS)
def test_a_picture_of_every_container_comes_out_upright(end, orientation, order):
    stored = np.ascontiguousarray(STORED[orientation](arrow()))
    image = decode_picture(with_exif(end, encoded(end, stored), exif(orientation, order)))
    assert image.shape == (40, 60, 3)
    assert np.abs(image.astype(int) - arrow()).mean() < 12


@pytest.mark.parametrize("block", [b"", b"II*\0", exif(0), exif(9), exif(6)[:14], b"XX" + exif(6)[2:]])
@pytest.mark.parametrize("end", ENDS)
def test_an_exif_block_of_nonsense_turns_nothing(end, block):
    assert decode_picture(with_exif(end, encoded(end, arrow()), block)).shape == (40, 60, 3)


def test_a_large_picture_is_scaled_down():
    assert max(decode_picture(encoded(".jpg", np.zeros((300, 5000, 3), np.uint8))).shape) == MAX_SIDE_PX


def false_length() -> bytes:
    """Return a PNG of 55 kB of which one chunk says that it has two gigabytes."""
    data = encoded(".png", np.random.default_rng(0).integers(0, 256, (130, 140, 3), dtype=np.uint8))
    return data[:33] + struct.pack(">I", 0x7FFF0000) + b"iCCP" + data[33:]


def bomb_of_text() -> bytes:
    """Return a PNG of which a compressed text unpacks to 500 MB."""
    data = encoded(".png", arrow())
    return data[:33] + png_chunk(b"zTXt", b"Title\0\0" + zlib.compress(bytes(500_000_000), 9)) + data[33:]


@pytest.mark.parametrize("make", [false_length, bomb_of_text])
def test_a_png_that_lies_takes_no_memory(make, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(make())
    code = (
        "import resource, sys; from pathlib import Path; from device.vision.picture import read_picture\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_picture(Path(sys.argv[1]))\n"
        "except Exception as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert int(done.stdout.split()[-1]) < 50_000  # kB
    if make is false_length:
        assert "a part says 2,147,418,112 bytes" in done.stdout


def test_a_jpeg_of_many_scans_is_refused():
    data = encoded(".jpg", arrow())
    with pytest.raises(BadPicture, match="scans"):
        decode_picture(data[:-2] + b"\xff\xda" * 200 + data[-2:])


@pytest.mark.parametrize(
    ("beginning", "said"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x18ftypmif1", "HEIC"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x1cftypisom", "a film"),
        (b"GIF89a", "GIF"),
        (b"BM\0\0", "BMP"),
        (b"II*\0", "TIFF"),
        (b"#?RADIANCE\n", "HDR"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"%PDF-1.7", "PDF"),
        (b"P6 1 1 255 ", "PNM"),
        (b"v/1\x01", "EXR"),
    ],
)
def test_another_format_is_named_with_what_to_do(beginning, said, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(beginning + bytes(400))
    with pytest.raises(UsageError, match=rf"photo\.jpg: .*{said}.*: save it as a JPEG") as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", ENDS)
def test_a_picture_that_is_cut_anywhere_is_a_picture_or_one_line(end, capfd):
    whole = encoded(end, np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        with contextlib.suppress(BadPicture):
            assert decode_picture(whole[:length]).ndim == 3
    assert capfd.readouterr().err == ""


def test_no_temporary_file_is_written(tmp_path, monkeypatch):
    """OpenCV writes what it cannot decode from memory, such as HDR, into the temporary folder, in the clear."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("OPENCV_TEMP_PATH", str(tmp_path))
    photo = cv2.imencode(".hdr", np.ones((20, 20, 3), np.float32))[1].tobytes()
    before = set(Path(tempfile.gettempdir()).iterdir())
    with pytest.raises(BadPicture, match="HDR"):
        decode_picture(photo)
    assert set(Path(tempfile.gettempdir()).iterdir()) == before
