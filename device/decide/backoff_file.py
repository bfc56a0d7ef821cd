"""Keep counts of what went wrong in a small file by the gallery: a restart forgives nothing.

No wall clock: it may jump. The end of a wait is a second of the monotonic clock, good for one start of the machine,
whose `boot_id` stands beside it. After another start, or with a clock that makes no sense, the whole wait begins anew:
it is never skipped and never longer than the longest one.

    {"refusals": 5, "wait_s": 30.0, "until_s": 812.4, "boot_id": "...", "people": {"5f0c2a91d3b8e674": {...}}}

The count of everybody stands at the top, and holds for whoever has none of their own under `people`, by alias.

    no file                     a new door: nothing went wrong
    cannot be read, or damaged  `damaged` for everybody: one wait, and what follows doubles
    cannot be written           counted in memory, `fault` says so; a restart would forgive

Whoever may delete the file may also replace the gallery beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from device.decide.backoff import FIRST_WAIT_S, FREE_REFUSALS, Count, is_refusals

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
EVERYBODY = ""  # whose count it is, where it is nobody's own
# Such an end makes no sense: the whole wait begins with the first frame.
BEYOND_ANY_CLOCK_S = float(1 << 52)
DAMAGED = Count(FREE_REFUSALS, FIRST_WAIT_S, BEYOND_ANY_CLOCK_S)


class BackoffFile:
    """Load and save counts; None for `path` keeps nothing (a demo, a replay).

    Args:
        damaged: what a file that cannot be read stands for.
        is_sound: says whether `save` can have written a count.
        what: is counted.
    """

    def __init__(
        self,
        path: Path | None,
        damaged: Count = DAMAGED,
        is_sound: Callable[[Count], bool] = is_refusals,
        what: str = "refused approaches",
    ) -> None:
        self._path, self._damaged, self._is_sound, self._what = path, damaged, is_sound, what
        self.fault: str | None = None

    def load(self) -> dict[str, Count]:
        """Return what an earlier run left; the count of EVERYBODY is always there."""
        if self._path is None:
            return {EVERYBODY: Count()}
        try:
            return parse(self._path.read_text(encoding="ascii"), boot_id(), self._is_sound)
        except FileNotFoundError:
            return {EVERYBODY: Count()}
        except (OSError, ValueError, RecursionError) as error:  # 100,000 brackets
            self.fault = f"{self._path}: expected the count of {self._what}, received {error}: waiting once"
            return {EVERYBODY: self._damaged}

    def save(self, counts: Mapping[str, Count]) -> None:
        """Replace the file in one step, on the disk before it counts; a disk that cannot take it is `fault`."""
        if self._path is None:
            return
        people = {who: written(count) for who, count in counts.items() if who != EVERYBODY}
        values = {**written(counts.get(EVERYBODY, Count())), "boot_id": boot_id()}
        try:
            replace_file(self._path, json.dumps(values | ({"people": people} if people else {})) + "\n")
        except OSError as error:
            self.fault = f"{self._path}: {error.strerror}: {self._what} are counted until the next start only"
        else:
            self.fault = None


def written(count: Count) -> dict[str, float]:
    return {"refusals": count.wrong, "wait_s": count.wait_s, "until_s": count.until_s}


def parse(text: str, boot: str, is_sound: Callable[[Count], bool] = is_refusals) -> dict[str, Count]:
    """Read counts; raise ValueError for anything that `save` does not write."""
    values = json.loads(text)
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


def replace_file(path: Path, text: str) -> None:
    """Write a file of 0600 beside `path`, to the disk, then rename it over `path`, and that to the disk as well."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def boot_id() -> str:
    """Return what tells this start of the machine from others; empty where the system has none."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
