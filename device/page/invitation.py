"""What a terminal shows of a page: its address as a line and as a QR code, and the token."""

from __future__ import annotations

import segno

from device.page.place import Place


def invitation(place: Place, token: str, fingerprint: str) -> str:
    """Return what the terminal shows: address, code, and the same to be photographed.

    The token stands behind the mark that a browser does not send: a server's log, or whoever previews the address, has
    none of it.
    """
    address = f"{place.address}#{token}"
    lines = [f"open {address}", f"or {place.address} with the code {spaced(token)}; it is good once"]
    if not place.is_tls:
        return "\n".join([*lines, "only from this machine, or by ssh -L"])
    lines.append(f"the browser warns, for nobody vouches for this certificate: SHA-256 {fingerprint[:23]}...")
    return "\n".join([qr_code(address), *lines])


def spaced(token: str) -> str:
    return "-".join(token[at : at + 4] for at in range(0, len(token), 4))


def qr_code(text: str) -> str:
    """Return a QR code of half blocks, light on dark or dark on light as the terminal is."""
    rows = [list(row) for row in segno.make(text, error="m").matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    blocks = {
        (0, 0): "█",
        (0, 1): "▀",
        (1, 0): "▄",
        (1, 1): " ",
    }  # the ground is lit: most terminals are dark
    return "\n".join(
        "".join(blocks[bool(high), bool(low)] for high, low in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )
