"""Keep counts of what went wrong in a small file by the gallery: a restart forgives nothing.

No wall clock: it may jump. The end of a wait is a second of the monotonic clock, good for one start of the machine,
whose `boot_id` stands beside it. After another start, or with a clock that makes no sense, the whole wait begins anew:
it is never skipped and never longer than the longest one.

    {"refusals": 5, "wait_s": 30.0, "until_s": 812.4, "boot_id": "...", "people": {"5f0c2a91d3b8e674": {...}}}

The count of everybody stands at the top, and holds for whoever has none of their own under `people`, by alias.

    never written               a new door: nothing went wrong
    gone, damaged, put back     `lost` for everybody: the longest wait there is, until it is over or the owner accepts
                                it (scripts/gallery_keys.py accept)
    cannot be written           counted in memory, `fault` says so; a restart would forgive

Where it lies, and how its absence shows, is known to device/vault/kept.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from device.decide.backoff import LONGEST_WAIT_S, Count, is_refusals, wait_after_refusals
from device.errors import GalleryError
from device.vault.kept import KeptFile

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
EVERYBODY = ""  # whose count it is, where it is nobody's own
# Such an end makes no sense: the whole wait begins with the first frame.
BEYOND_ANY_CLOCK_S = float(1 << 52)
MANY = next(n for n in range(100) if wait_after_refusals(n) == LONGEST_WAIT_S)
LOST = Count(MANY, LONGEST_WAIT_S, BEYOND_ANY_CLOCK_S)


class BackoffFile:
    """Load and save counts; None for `kept` keeps nothing (a demo, a replay).

    Args:
        lost: what a file stands for that is gone, damaged or an older one.
        is_sound: says whether `save` can have written a count.
        what: is counted.
    """

    def __init__(
        self,
        kept: KeptFile | None,
        lost: Count = LOST,
        is_sound: Callable[[Count], bool] = is_refusals,
        what: str = "refused approaches",
    ) -> None:
        self._kept, self._lost, self._is_sound, self._what = kept, lost, is_sound, what
        self.fault: str | None = None

    def load(self) -> dict[str, Count]:
        """Return what an earlier run left; the count of EVERYBODY is always there."""
        if self._kept is None:
            return {EVERYBODY: Count()}
        try:
            known = self._kept.read()
            return {EVERYBODY: Count()} if known is None else parse(known, boot_id(), self._is_sound)
        except (GalleryError, ValueError) as error:
            where = "" if isinstance(error, GalleryError) else f"{self._kept.path}: "
            self.fault = f"{self._what}: {where}{error}: waiting as long as after many"
            return {EVERYBODY: self._lost}

    def save(self, counts: Mapping[str, Count]) -> None:
        """Replace the file in one step, on the disk before it counts; a disk that cannot take it is `fault`."""
        if self._kept is None:
            return
        people = {who: count_to_json(count) for who, count in counts.items() if who != EVERYBODY}
        values = {**count_to_json(counts.get(EVERYBODY, Count())), "boot_id": boot_id()}
        try:
            self._kept.write(values | ({"people": people} if people else {}))
        except GalleryError as error:
            self.fault = f"{error}: {self._what} are counted until the next start only"
        else:
            self.fault = None


def count_to_json(count: Count) -> dict[str, float]:
    return {"refusals": count.wrong, "wait_s": count.wait_s, "until_s": count.until_s}


def parse(
    values: Mapping[str, Any], boot: str, is_sound: Callable[[Count], bool] = is_refusals
) -> dict[str, Count]:
    """Read counts; raise ValueError for anything that `save` does not write."""
    try:
        same_start = values["boot_id"] == boot != ""
        of = {EVERYBODY: values, **values.get("people", {})}
        return {str(who): _count(each, same_start, is_sound) for who, each in of.items()}
    except (KeyError, TypeError, OverflowError, AttributeError) as error:
        raise ValueError(f"something else ({error})") from error


def _count(values: Mapping[str, Any], same_start: bool, is_sound: Callable[[Count], bool]) -> Count:
    count = Count(int(values["refusals"]), float(values["wait_s"]), float(values["until_s"]))
    if not is_sound(count):
        raise ValueError("a count that contradicts itself")
    # Another start: its monotonic clock began anew, so how much of the wait has passed is not known.
    return count if same_start or not count.wait_s else Count(count.wrong, count.wait_s, BEYOND_ANY_CLOCK_S)


def boot_id() -> str:
    """Return what tells this start of the machine from others; empty where the system has none."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
