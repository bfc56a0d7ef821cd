"""Break everything that can break, hundreds of times, and watch the pin: python scripts/prove_fail_secure.py

    python scripts/prove_fail_secure.py --faults 500 --whole 40 --report docs      writes docs/fail_secure.md and .png
    python scripts/prove_fail_secure.py --faults 20 --pulse 0.8                    the short version of the tests

The real lock process and the real recognizer's side run on pins that are files (scripts/mock_pins.py). Each fault
strikes at a random instant of an approach; what counts is the pin's own record. Beside them stands what systemd is on
a board: it relocks after any death of the lock process and starts it anew, and it kills one whose watchdog is not fed.
Exits with 1 if the pin was ever unlocked for longer than its bound, unlocked unasked, or did not come back.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "scripts"))

from fail_secure_faults import Fault, Outcome, Scene, choose, exhaust, fill_disk
from fail_secure_parties import START_S, Recognizer, Supervisor, Tap, wait_for
from fail_secure_report import table, write_report
from mock_pins import Trace

OPENS_S = 0.5  # a request that was made so long before the fault has opened the door


class Stage:
    """Runs one fault after another on one folder of pins."""

    def __init__(
        self, folder: Path, *, pulse_s: float, rng: random.Random, clip: Path | None, gallery: Path | None
    ):
        self.folder, self.pulse_s, self.rng, self.clip, self.gallery = folder, pulse_s, rng, clip, gallery
        settings = f"[lock]\npulse_s = {pulse_s}\n[decision]\ncooldown_s = {2 * pulse_s}\n"
        settings += (
            '[liveness]\nmode = "off"\n'  # the clip is a portrait; what is tried here begins with a grant
        )
        (folder / "config.toml").write_text(settings)
        self.trace = Trace(folder / "gpio17.trace")
        self.supervisor = Supervisor(folder)

    def run(self, fault: Fault) -> Outcome:
        """Let somebody approach, strike, and look at what the pin did until it rests."""
        first = len(self.trace)
        tap = Tap(self.folder / "tap.sock", self.supervisor.address) if fault.tapped else None
        ready = self.supervisor.await_ready()
        address = self.folder / "tap.sock" if tap else self.supervisor.address
        media = (self.clip, self.gallery) if fault.whole else (None, None)
        recognizer = Recognizer(self.folder, address, *media)
        try:
            ready = ready and recognizer.await_ready()
            scene = Scene(self.supervisor, recognizer, tap, self.rng)
            served_by = self.supervisor.process
            after_s, struck_s, was_open = self._approach(fault, scene)
            checks = {"did not come back": ready, "still unlocked": self._await_rest(fault, served_by)}
            outcome = self._judge(fault, first, struck_s, was_open)
            checks["did not open"] = outcome.openings > 0 or after_s < OPENS_S
            checks[f"{outcome.openings} openings, one request"] = outcome.openings <= recognizer.asked
            outcome.wrong += [text for text, fine in checks.items() if not fine]
            return outcome
        finally:
            recognizer.end()
            if tap:
                tap.close()
                (self.folder / "tap.sock").unlink()
            if fault.strike in (fill_disk, exhaust):
                self._replace_lockd()

    def _approach(self, fault: Fault, scene: Scene) -> tuple[float, float, bool]:
        """Ask for a pulse, and strike from a little before it until a little after it; say when, and on what."""
        at_s = self.rng.uniform(-0.2, 1.1) * self.pulse_s
        if fault.whole:
            wait_for(lambda: self.trace.level, 10)
            scene.recognizer.asked = 1
            at_s = max(0.0, at_s)
        elif at_s > 0:
            scene.recognizer.ask()
        time.sleep(abs(at_s))
        was_open, struck_s = self.trace.level, time.monotonic()
        fault.strike(scene)
        if at_s < 0:
            scene.recognizer.ask()
        return at_s, struck_s, was_open

    def _await_rest(self, fault: Fault, stopped: object) -> bool:
        """Wait until the pin is locked, and until a lock process that was stopped has been replaced."""
        time.sleep(0.15)
        rested = wait_for(lambda: not self.trace.level, self.pulse_s + fault.longest_s + 1)
        if fault.replaces:
            rested = rested and wait_for(lambda: self.supervisor.process not in (stopped, None), START_S)
        return rested

    def _judge(self, fault: Fault, first: int, struck_s: float, was_open: bool) -> Outcome:
        """Hold the pin's record since the approach began against the fault's bounds."""
        openings = list(self._openings(self.trace.changes(first)))
        longest_s = max((end_s - start_s for start_s, end_s in openings), default=0.0)
        ends = [end_s for start_s, end_s in openings if start_s <= struck_s < end_s]
        cut_s = ends[0] - struck_s if was_open and ends else None
        outcome = Outcome(fault, was_open, len(openings), longest_s, cut_s, self.pulse_s + fault.longest_s)
        if longest_s > outcome.bound_s:
            outcome.wrong.append(f"unlocked for {longest_s:.2f} s")
        if fault.cut_s is not None and cut_s is not None and cut_s > fault.cut_s:
            outcome.wrong.append(f"locked {cut_s:.2f} s after the fault")
        return outcome

    @staticmethod
    def _openings(changes: list[tuple[float, bool]]) -> Iterator[tuple[float, float]]:
        start_s = None
        for at_s, unlocked in changes:
            if unlocked and start_s is None:
                start_s = at_s
            elif not unlocked and start_s is not None:
                yield start_s, at_s
                start_s = None
        if start_s is not None:
            yield start_s, time.monotonic()

    def _replace_lockd(self) -> None:
        """Start a lock process that has its disk and memory back."""
        process = self.supervisor.process
        if process is not None:
            process.kill()
            wait_for(lambda: self.supervisor.process is not process, 10)


def enroll(folder: Path) -> tuple[Path, Path]:
    """Make a clip of somebody and a gallery that knows them, with the real programs."""
    clip, gallery = folder / "clip.mp4", folder / "gallery.db"
    photo = str(ROOT / "tests/data/astronaut.jpg")
    make = [sys.executable, str(ROOT / "scripts/make_clip.py"), str(clip), "nobody:0.3", f"{photo}:8"]
    learn = [sys.executable, str(ROOT / "enroll.py"), "--name", "Eileen", "--images", photo, "--no-sheet"]
    (folder / "empty.toml").touch()
    learn += ["--gallery", str(gallery), "--config", str(folder / "empty.toml")]
    for command in (make, learn):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return clip, gallery


def prove(faults: list[Fault], *, pulse_s: float, rng: random.Random, quiet: bool) -> list[Outcome]:
    """Run the faults one after another."""
    from tqdm import tqdm

    folder = Path(tempfile.mkdtemp(prefix="fail-secure-"))
    outcomes: list[Outcome] = []
    try:
        media = enroll(folder) if any(fault.whole for fault in faults) else (None, None)
        stage = Stage(folder, pulse_s=pulse_s, rng=rng, clip=media[0], gallery=media[1])
        try:
            for fault in tqdm(faults, unit="fault", disable=quiet, mininterval=5):
                outcome = stage.run(fault)
                outcomes.append(outcome)
                if outcome.wrong:
                    print(f"VIOLATION {fault.name}: {'; '.join(outcome.wrong)}", flush=True)
        finally:
            stage.supervisor.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return outcomes


def main(arguments: list[str] | None = None) -> int:
    """Break the door, and return 1 if the pin ever did what it must not."""
    parser = argparse.ArgumentParser(prog="prove_fail_secure.py", description=main.__doc__)
    parser.add_argument("--faults", type=int, default=500, help="how many (default: 500)")
    parser.add_argument("--whole", type=int, default=0, help="so many of them on the whole of unlock.py")
    parser.add_argument("--pulse", type=float, default=2.2, help="seconds of one pulse")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="folder for fail_secure.md and fail_secure.png")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args(arguments)
    rng = random.Random(args.seed)
    outcomes = prove(choose(args.faults, rng, args.whole), pulse_s=args.pulse, rng=rng, quiet=args.quiet)
    print(table(outcomes))
    if args.report:
        command = f"python scripts/prove_fail_secure.py --faults {args.faults} --whole {args.whole} --seed {args.seed}"
        write_report(args.report, outcomes, command, args.pulse)
    wrong = sum(bool(each.wrong) for each in outcomes)
    print(f"{len(outcomes)} faults, {wrong} violations")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
