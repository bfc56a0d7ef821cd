"""Network addresses of cameras: which sources are one, and how they may be printed."""

from __future__ import annotations

import re


def is_address(source: int | str) -> bool:
    """Say whether a source is a network address."""
    return isinstance(source, str) and "://" in source and not source.startswith("file:")


def mask_address(source: int | str) -> str:
    """Return a source as it may be printed: without user, password, query and line breaks."""
    text = re.sub(r"(\w:/*).*@", r"\1***@", str(source), flags=re.DOTALL)  # rtsp:/ and rtsp: are typed too
    text = re.sub(r"\?.*", "?***", text, flags=re.DOTALL) if ":" in text else text
    return " ".join(text.split())


def one_line(error: BaseException) -> str:
    """Return a driver's error as one line, without user and password."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"(\w:/*)\S*@", r"\1***@", text)[:200]
