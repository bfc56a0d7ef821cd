"""Report the first event of a kind at once, then its repetitions ever more rarely, each time with their number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")

FIRST_S, LONGEST_S = 5.0, 300.0  # between two tellings of one kind: doubling from the one to the other
QUIET_S = 30.0  # without it for so long, and it is news again


@dataclass(slots=True)
class _Kind:
    told_s: float
    seen_s: float
    wait_s: float = FIRST_S
    held_back: int = 0


class Damper(Generic[Key]):
    """Count repetitions of each kind, whatever comes in between."""

    def __init__(self) -> None:
        self._kinds: dict[Key, _Kind] = {}

    def see(self, key: Key, now_s: float) -> int:
        """Return how many events to report now, 0 to report none yet."""
        kind = self._kinds.get(key)
        if kind is None:
            self._kinds[key] = _Kind(now_s, now_s)
            return 1
        kind.seen_s = now_s
        kind.held_back += 1
        if 0 <= now_s - kind.told_s < kind.wait_s:
            return 0
        count, kind.held_back = kind.held_back, 0
        kind.told_s, kind.wait_s = now_s, min(2 * kind.wait_s, LONGEST_S)
        return count

    def end(self) -> Iterator[tuple[Key, int]]:
        """Begin anew, and yield how many of each kind were held back."""
        kinds, self._kinds = self._kinds, {}
        yield from ((key, kind.held_back) for key, kind in kinds.items() if kind.held_back)

    def quiet(self, now_s: float) -> Iterator[tuple[Key, int]]:
        """Begin anew with those that were not seen for `QUIET_S`, and yield how many of each were held back."""
        for key, kind in list(self._kinds.items()):
            if not 0 <= now_s - kind.seen_s < QUIET_S:
                del self._kinds[key]
                if kind.held_back:
                    yield key, kind.held_back
