"""Read pictures from files: the only place that does.

It reads JPEG, PNG and WebP, and of these the picture alone. It checks the size before it unpacks anything, and applies
the orientation of all three formats. It writes no temporary file, and no library prints anything.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from device.errors import UsageError
from device.types import Image
from device.vision.runtime import quiet_stderr

MAX_FILE_BYTES = 64_000_000
MAX_PIXELS = 64_000_000  # a "photograph" that unpacks to gigabytes must not fill a board's memory
MAX_SIDE_PX = 2048  # a larger photograph is scaled down: a face needs no more
MAX_SCANS = 100  # of a JPEG; each one costs a pass over all pixels
EXPECTED = "expected a JPEG, PNG or WebP picture"
INSTEAD = "save it as a JPEG"
NO_PICTURE = "the content is no picture that can be read"

PNG = b"\x89PNG\r\n\x1a\n"
PNG_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # the rest is text, profiles and animation
JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
JPEG_SCAN = 0xDA
JPEG_EXIF = 0xE1
EXIF = b"Exif\0\0"
ORIENTATION = 0x0112  # the tag of EXIF
# What other files begin with, at which byte, and what they are.
OTHERS: tuple[tuple[int, tuple[bytes, ...], str], ...] = (
    (4, (b"ftypavif", b"ftypavis"), "an AVIF picture"),
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), "a HEIC picture, as iPhones take them"),
    (4, (b"ftyp",), "a film"),
    (0, (b"GIF8",), "a GIF picture"),
    (0, (b"BM",), "a BMP picture"),
    (0, (b"II*\0", b"MM\0*"), "a TIFF or raw picture"),
    (0, (b"#?RADIANCE", b"#?RGBE"), "an HDR picture"),
    (0, (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "a JPEG 2000 picture"),
    (0, (b"\0\0\0\x0cJXL ", b"\xff\x0a"), "a JPEG XL picture"),
    (0, (b"v/1\x01",), "an EXR picture"),
    (0, (b"8BPS",), "a Photoshop picture"),
    (0, (b"%PDF",), "a PDF"),
    (0, (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"Pf", b"PF"), "a PNM picture"),
)
TURNS: dict[int, Callable[[Any], Any]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[:, ::-1],
    7: lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda image: image.transpose(1, 0, 2)[::-1],
}


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a picture file; `data` is the rest, to be unpacked."""

    width: int
    height: int
    orientation: int
    data: bytes


class BadPicture(Exception):
    """Why the bytes are no picture, in a few words."""


def read_picture(path: Path) -> Image:
    """Read a picture, upright, as (H, W, 3) uint8 RGB of at most MAX_SIDE_PX; anything else is a UsageError."""
    shown = str(path)[:120]
    try:
        if not path.is_file():
            raise BadPicture("is a folder" if path.is_dir() else "no such file")
        size = path.stat().st_size
        if size == 0:
            raise BadPicture("the file is empty")
        if size > MAX_FILE_BYTES:
            raise UsageError(f"{shown}: {size:,} bytes, expected at most {MAX_FILE_BYTES:,}: scale it down")
        return decode_picture(path.read_bytes())
    except (OSError, BadPicture) as fault:
        said = getattr(fault, "strerror", None) or str(fault)
        raise UsageError(f"{shown}: {said}: {EXPECTED}") from fault


def decode_picture(data: bytes) -> Image:
    """Decode the bytes of a picture as `read_picture` does; BadPicture says why that cannot be."""
    header = header_of(data)
    if header.width * header.height > MAX_PIXELS:
        raise BadPicture(f"more than {MAX_PIXELS // 1_000_000} million pixels: scale it down")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        with quiet_stderr():  # "Corrupt JPEG data: premature end of data segment"
            image = cv2.imdecode(np.frombuffer(header.data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise BadPicture(NO_PICTURE)
    upright = TURNS.get(header.orientation, lambda given: given)(shrink(image))
    return cv2.cvtColor(np.ascontiguousarray(upright), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def shrink(image: Any) -> Any:
    """Scale an image down to MAX_SIDE_PX."""
    factor = MAX_SIDE_PX / max(image.shape[:2])
    if factor >= 1:
        return image
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def header_of(data: bytes) -> Header:
    """Read what the container says; BadPicture where it is none of the three, or contradicts itself."""
    try:
        if data.startswith(PNG):
            return _png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):
        raise BadPicture(f"{NO_PICTURE}: it is cut short") from None
    for start, beginnings, what in OTHERS:
        if data[start : start + 16].startswith(beginnings):
            raise BadPicture(f"{what}, which is not read: {INSTEAD}")
    raise BadPicture(NO_PICTURE)


def _png(data: bytes) -> Header:
    """Keep the chunks of the picture; a chunk that says more bytes than are left is refused."""
    kept, size, orientation = [PNG], (0, 0), 1
    for kind, start, end in _png_chunks(data):
        if kind == b"IHDR":
            size = struct.unpack_from(">II", data, start)
        if kind == b"eXIf":
            orientation = _orientation(data[start:end])
        if kind in PNG_PICTURE:
            kept.append(data[start - 8 : end + 4])
    return Header(*size, orientation, b"".join(kept))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = len(PNG)
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        start, end = at + 8, at + 8 + length
        if end + 4 > len(data):
            raise BadPicture(f"{NO_PICTURE}: a part says {length:,} bytes, {len(data) - start:,} are left")
        yield kind, start, end
        if kind == b"IEND":
            return
        at = end + 4


def _jpeg(data: bytes) -> Header:
    size, orientation = None, 1
    for marker, start, end in _jpeg_segments(data):
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 1)
            size = (width, height)
        if marker == JPEG_EXIF and data[start:end].startswith(EXIF):
            orientation = _orientation(data[start + len(EXIF) : end])
    if size is None or not all(size):
        raise BadPicture(NO_PICTURE)
    if data.count(bytes((0xFF, JPEG_SCAN))) > MAX_SCANS:
        raise BadPicture(f"a JPEG of more than {MAX_SCANS} scans: save it anew")
    return Header(*size, orientation, data)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment up to the first scan."""
    at = 2
    while True:
        while data[at] != 0xFF:  # libjpeg skips what lies between two segments, too
            at += 1
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        if marker in (JPEG_SCAN, 0xD9):
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these have no length
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 1)
        yield marker, at + 3, at + 1 + length
        at += 1 + max(2, length)


def _webp(data: bytes) -> Header:
    size, orientation = None, 1
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        start = at + 8
        if start + length > len(data):
            raise BadPicture(f"{NO_PICTURE}: a part says {length:,} bytes, {len(data) - start:,} are left")
        if kind == b"VP8X":
            size = (_three(data, start + 4) + 1, _three(data, start + 7) + 1)
        elif kind == b"VP8 " and size is None:
            width, height = struct.unpack_from("<HH", data, start + 6)
            size = (width & 0x3FFF, height & 0x3FFF)
        elif kind == b"VP8L" and size is None:
            (bits,) = struct.unpack_from("<I", data, start + 1)
            size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif kind == b"EXIF":
            orientation = _orientation(data[start : start + length].removeprefix(EXIF))
        at = start + length + length % 2
    if size is None:
        raise BadPicture(NO_PICTURE)
    return Header(*size, orientation, data)


def _three(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def _orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, that an EXIF block says; 1 where it says none, or nonsense."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (first,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, first)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, first + 2 + 12 * entry)
            if tag == ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
