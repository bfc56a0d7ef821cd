"""Network addresses of cameras: one rule to read them, one rule to print them.

Read: user and password end at the last `@` behind which a host stands, whatever characters are in them; FFmpeg is given
them percent-encoded, as it would take a `#`, `/` or `?` of a password for the end of the host.
Printed: scheme, host, port and the plain beginning of the path. Nothing is shown from the first character on that could
begin a parameter (`?`, `;`, `&`, `=`, `#`): some cameras have their passwords in one.
"""

from __future__ import annotations

import re
from urllib.parse import quote

# A name or address, in brackets for IPv6, and a port; then the path, or the end.
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s/?#;@:\[\]]+)(?::\d{1,5})?(?=[/?#;]|$)")
UNMISTAKABLE = re.compile(r"[.:\[]")  # a host with a dot, a port or brackets is no piece of a password
IN_VALUE = re.compile(r"[?&;][^?&;=@]*=[^@]*$")
BEGIN = re.compile(r":/*|//+")  # rtsp:/ and rtsp: are typed too, and end up as the name of a file
PARAMETER = re.compile(r"[?;&=#]")
AS_IT_IS = "!$'()*+,-._~"  # what may stand in user and password unencoded
MASK = "***"


def is_address(source: int | str) -> bool:
    """Say whether a source is a network address."""
    return isinstance(source, str) and "://" in source and not source.startswith("file:")


def has_own_time(address: str) -> bool:
    """Say whether a stream's frames carry times: HTTP's pictures do not, FFmpeg counts those."""
    return address.partition("://")[0].lower() not in ("http", "https")


def encode_address(address: str) -> str:
    """Return an address with user and password percent-encoded; what is encoded already stays."""
    scheme, mark, rest = address.partition("://")
    end = _end_of_password(rest)
    if not mark or end is None:
        return address
    user, colon, password = rest[:end].partition(":")
    return f"{scheme}://{_encoded(user)}{colon}{_encoded(password)}{rest[end:]}"


def mask_address(source: int | str) -> str:
    """Return a source as it may be printed: without user, password, parameters and line breaks."""
    text = " ".join(str(source).split())
    begin = BEGIN.search(text)
    if begin is None:
        return text
    kept, rest = text[: begin.end()], text[begin.end() :]
    if "@" in rest:
        kept, rest = f"{kept}{MASK}@", rest.rpartition("@")[2]
    found = PARAMETER.search(rest)
    if found is None:
        return kept + rest
    plain = rest[: found.start()]
    if found[0] in "?;#":
        return f"{kept}{plain}{found[0]}{MASK}"
    return (
        f"{kept}{plain[: plain.rfind('/') + 1]}{MASK}"  # /user=admin_password=...: the word before goes too
    )


def one_line(error: BaseException) -> str:
    """Return a driver's error as one line, without what an address in it keeps secret."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"(\w:/*).*@", rf"\1{MASK}@", text)
    return " ".join(mask_address(word) if ":/" in word else word for word in text.split())[:200]


def _end_of_password(rest: str) -> int | None:
    """Return where the "@" before the host is in what follows the scheme; None where no user is named."""
    first = HOST.match(rest)
    ends = [
        at.start()
        for at in re.finditer("@", rest)
        if HOST.match(rest, at.end()) and not IN_VALUE.search(rest[: at.start()])
    ]
    sure = [end for end in ends if UNMISTAKABLE.search(HOST.match(rest, end + 1)[0])]  # type: ignore[index]
    if first is not None:  # host:port comes first, or a user and the first digits of a password
        is_host = "." in first[0] or first[0].startswith("[") or ":" not in first[0]
        return None if is_host or not sure else sure[-1]
    within = [end for end in ends if not re.search(r"[/?#]", rest[:end])]
    found = sure or within or ends
    return found[-1] if found else None


def _encoded(text: str) -> str:
    return re.sub(r"%(?![0-9A-Fa-f]{2})|[^%]", lambda each: quote(each[0], safe=AS_IT_IS), text)
