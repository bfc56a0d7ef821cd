"""Unlock the door for an enrolled face.

    python unlock.py                                    the board: camera, pin and gallery of the config
    python unlock.py --demo --camera clip.mp4           no pins: a mock, and every line says so; a clip needs it

Every way out ends locked. Exit codes stand in device/errors.py; with --once, 1 says that nobody was granted.
"""

from __future__ import annotations

import os
import signal
import sys

from device.programs import (
    EXIT_CODES,
    Parser,
    Stopped,
    complain,
    configured,
    guard_start,
    settle_output,
    stop_reason,
    stop_signals,
)

if __name__ == "__main__":
    guard_start("unlock")

import argparse
import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device import __version__, build
from device.config import Config, check_liveness
from device.console import DEMO_MARK, open_log
from device.decide.backoff_file import BackoffFile
from device.desk.desk import LinkWriter
from device.errors import FaceUnlockError, UsageError, is_out_of_memory
from device.journal.systemd import Notifier
from device.page.facts import facts_of
from device.page.snapshot import Facts, Snapshot
from device.pipeline import Door, handle_frame
from device.protocols import Camera
from device.types import Decision, Frame
from device.vision.liveness import PadScorer
from device.watch import Watch, WatchRule

OUT_OF_MEMORY = "out of memory: stop other programs, or take a smaller camera.width"


def main(
    arguments: list[str] | None = None,
    *,
    pin_factory: Any = None,
    open_camera: Callable[[Config], Camera] = build.build_camera,
    handle: Callable[[Frame, Door, float], Decision] = handle_frame,
) -> int:
    """Run until a signal, the end of a clip or a fault, and return the exit code; None for pins: the board's own."""
    args = parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that it cannot write must not end the log
        sys.stdout.reconfigure(errors="backslashreplace")
    mark = DEMO_MARK if args.demo else ""
    try:
        with stop_signals() as check_stop:
            return Program(args, pin_factory, open_camera, handle, check_stop).run()
    except Stopped as stop:
        return EXIT_CODES[signal.Signals(stop.number)]
    except FaceUnlockError as error:
        complain(f"{mark}unlock: {error}")
        return error.exit_code
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        complain(f"{mark}unlock: {OUT_OF_MEMORY}")
        return 1
    finally:
        settle_output()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    return command_line().parse_args(arguments)


def command_line() -> Parser:
    parser = Parser(prog="unlock.py", description="Unlock the door for an enrolled face.")
    parser.share("--config", "--camera", "--gallery", "--model")
    parser.add_argument(
        "--lock-socket", metavar="PATH", help="socket of the lock process that drives the pin"
    )
    parser.add_argument("--demo", action="store_true", help="drive no pin: a mock takes its place")
    parser.add_argument(
        "--no-liveness",
        action="store_true",
        help='needed beside liveness.mode = "off": a photograph opens the door',
    )
    parser.add_argument("--once", action="store_true", help="end after the first grant and its pulse")
    parser.add_argument(
        "--max-seconds", type=_seconds, metavar="N", help="end after so many seconds, frames or none"
    )
    parser.add_argument("--json", action="store_true", help="status lines as JSON")
    parser.add_argument(
        "--status-file", type=Path, metavar="PATH", help="what the status page shows (docs/owner/status.md)"
    )
    return parser


class Program:
    """One run: build the door, watch the camera, and take everything down again, the lock first."""

    def __init__(
        self,
        args: argparse.Namespace,
        pin_factory: Any,
        open_camera: Callable[[Config], Camera],
        handle: Callable[[Frame, Door, float], Decision],
        check_stop: Callable[[], None],
    ) -> None:
        self.args, self.handle, self.check_stop = args, handle, check_stop
        self.config = configured(args)
        check_liveness(self.config, args.no_liveness)
        if args.demo and pin_factory is None:
            from gpiozero.pins.mock import MockFactory

            pin_factory = MockFactory()
        self.pin_factory = pin_factory
        self.camera = open_camera(self.config)
        if not self.camera.live and self.pin_factory is None:
            raise UsageError(
                f"camera {self.camera.name}: a recorded clip opens no real door: run with --demo, or name a camera"
            )
        self.audit = build.build_audit(self.config, demo=args.demo)
        self.line = None if args.demo else build.build_line(self.config)
        self.snapshot = Snapshot(args.status_file) if args.status_file else None
        self.status = open_log(
            self.config.status,
            self.audit,
            *([self.snapshot] if self.snapshot else []),
            as_json=args.json,
            demo=args.demo,
            no_liveness=args.no_liveness,
            link=LinkWriter(self.line, names=self.config.link.names) if self.line is not None else None,
        )
        self.notifier = Notifier.from_environment(os.environ)

    def run(self) -> int:
        """Run to the end, tell how it came, and return the exit code."""
        args, exit_code, reason, fault = self.args, 1, "fault", None
        try:
            granted = self.watch()
            exit_code, reason = int(args.once and not granted), "granted" if granted else "end"
        except Stopped as stop:
            exit_code, reason = EXIT_CODES[signal.Signals(stop.number)], stop_reason(stop)
            if args.once and stop.number == signal.SIGALRM:
                exit_code = 1
        except Exception as error:
            exit_code, fault = getattr(error, "exit_code", 1), str(error) or type(error).__name__
            fault = OUT_OF_MEMORY if is_out_of_memory(error) else fault
            raise
        finally:
            self.notifier.stopping()
            self.camera.close()
            self.status.event("stopping", reason=reason, exit_code=exit_code, error=fault)
            self.status.close()
        return exit_code

    def watch(self) -> bool:
        """Build the door and watch it; True where --once was granted."""
        config, demo = self.config, self.args.demo
        lock = "mock" if demo else "lockd" if config.lock.socket else config.lock.driver
        self.status.event("started", version=__version__, camera=self.camera.name, lock=lock)
        refusals = BackoffFile(None) if demo else build.build_refusal_file(config)
        pins = BackoffFile(None) if demo else build.build_pin_file(config)
        usage = build.build_usage(config, read_only=demo)
        switches = build.build_switches(config, read_only=demo)
        door = build.build_door(
            config,
            pin_factory=self.pin_factory,
            audit=self.audit,
            refusal_file=refusals,
            pin_file=pins,
            usage_file=usage,
            live=self.camera.live,
            is_door=not demo,
            line=self.line,
            switches=switches,
        )
        try:
            if self.args.max_seconds:
                signal.setitimer(signal.ITIMER_REAL, self.args.max_seconds)
            watch = Watch(
                WatchRule(
                    pulse_s=config.lock.pulse_s,
                    heartbeat_s=config.status.heartbeat_s,
                    once=self.args.once,
                    least_fps=1 / config.decision.track_gap_s,
                ),
                camera=self.camera,
                door=door,
                status=self.status,
                notifier=self.notifier,
                check_stop=self.check_stop,
                counts=[refusals, pins, usage, switches],
                meter=build.build_meter(config, self.camera),
                # the grant came in time, and its pulse may end
                on_once=lambda: signal.setitimer(signal.ITIMER_REAL, 0),
                handle=self.handle,
            )
            if self.snapshot is not None:
                self.snapshot.facts = self.facts_of(door)
            watch.announce(build.shortfall(config, door.gallery.count()))
            return watch.run()
        finally:
            door.close()

    def facts_of(self, door: Door) -> Facts:
        """Return what reads for the status page what the door says of itself."""
        liveness = door.liveness
        return facts_of(
            door.gallery,
            liveness_id=liveness.model_id if isinstance(liveness, PadScorer) else None,
            heartbeat_s=self.config.status.heartbeat_s,
        )


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= 1e6:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected more than 0 seconds, received {text}")


if __name__ == "__main__":
    sys.exit(main())
