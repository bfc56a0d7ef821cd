"""Keep the count of refused approaches, or of wrong PINs, in a small file by the gallery: a restart forgives nothing.

No wall clock: it may jump. The end of a wait is a second of the monotonic clock, good for one start of the machine,
whose `boot_id` stands beside it. After another start, or with a clock that makes no sense, the whole wait begins anew:
it is never skipped and never longer than the longest one.

    no file                     a new door: nothing was refused
    cannot be read, or damaged  as after five refusals (`damaged`): one wait of 30 s, and what follows doubles
    cannot be written           counted in memory, `fault` says so; a restart would forgive

Whoever may delete the file may also replace the gallery beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from device.decide.backoff import FIRST_WAIT_S, FREE_REFUSALS, RefusalState, is_sound

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Such an end makes no sense: the whole wait begins with the first frame.
BEYOND_ANY_CLOCK_S = float(1 << 52)
DAMAGED = RefusalState(FREE_REFUSALS, FIRST_WAIT_S, BEYOND_ANY_CLOCK_S)


class RefusalFile:
    """Load and save a `RefusalState`; None for `path` keeps nothing (a demo, a replay).

    Args:
        damaged: what a file that cannot be read stands for.
        is_sound: says whether `save` can have written a state.
        what: is counted.
    """

    def __init__(
        self,
        path: Path | None,
        damaged: RefusalState = DAMAGED,
        is_sound: Callable[[RefusalState], bool] = is_sound,
        what: str = "refused approaches",
    ) -> None:
        self._path, self._damaged, self._is_sound, self._what = path, damaged, is_sound, what
        self.fault: str | None = None

    def load(self) -> RefusalState:
        """Return what an earlier run left."""
        if self._path is None:
            return RefusalState()
        try:
            return parse(self._path.read_text(encoding="ascii"), boot_id(), self._is_sound)
        except FileNotFoundError:
            return RefusalState()
        except (OSError, ValueError, RecursionError) as error:  # 100,000 brackets
            self.fault = f"{self._path}: expected the count of {self._what}, received {error}: waiting once"
            return self._damaged

    def save(self, state: RefusalState) -> None:
        """Replace the file in one step, on the disk before it counts; a disk that cannot take it is `fault`."""
        if self._path is None:
            return
        values = {"refusals": state.refusals, "wait_s": state.wait_s, "until_s": state.until_s}
        try:
            replace_file(self._path, json.dumps({**values, "boot_id": boot_id()}) + "\n")
        except OSError as error:
            self.fault = f"{self._path}: {error.strerror}: {self._what} are counted until the next start only"
        else:
            self.fault = None


def parse(text: str, boot: str, is_sound: Callable[[RefusalState], bool] = is_sound) -> RefusalState:
    """Read a state; raise ValueError for anything that `save` does not write."""
    values = json.loads(text)
    try:
        state = RefusalState(int(values["refusals"]), float(values["wait_s"]), float(values["until_s"]))
        same_start = values["boot_id"] == boot != ""
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"something else ({error})") from error
    if not is_sound(state):
        raise ValueError("a count that contradicts itself")
    # Another start: its monotonic clock began anew, so how much of the wait has passed is not known.
    return (
        state
        if same_start or not state.wait_s
        else RefusalState(state.refusals, state.wait_s, BEYOND_ANY_CLOCK_S)
    )


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
