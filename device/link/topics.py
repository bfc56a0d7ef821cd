"""Topics of one door at the broker, all below `face-unlock/DOOR/`, where its certificate lets it write and read.

state, event, online    what Home Assistant sees; state and online are retained
command                 what it asks for; never retained
gallery/ID, manifest, succession    what the keeper gives, sealed for this door, retained (device/fleet)
ack                     what the door answers the keeper, sealed, retained
"""

from __future__ import annotations

ROOT = "face-unlock"
STATE, EVENT, ONLINE, COMMAND = "state", "event", "online", "command"
GALLERY, MANIFEST, SUCCESSION, ACK = "gallery", "manifest", "succession", "ack"


def topic(door: str, *levels: str) -> str:
    """Return a topic of a door."""
    return "/".join((ROOT, door, *levels))


def levels_below(door: str, name: str) -> tuple[str, ...]:
    """Return the levels of a topic below its door, none where it is another's."""
    root, _, rest = name.partition("/")
    owner, _, below = rest.partition("/")
    return tuple(below.split("/")) if (root, owner) == (ROOT, door) and below else ()


def is_fleet(levels: tuple[str, ...]) -> bool:
    """Say whether a topic of this door is the keeper's."""
    return levels in ((MANIFEST,), (SUCCESSION,)) or (len(levels) == 2 and levels[0] == GALLERY)
