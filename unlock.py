"""Unlock the door for an enrolled face.

    python unlock.py                                    the board: camera, pin and gallery of the config
    python unlock.py --demo --camera clip.mp4           no pins: a mock, and every line says so; a clip needs it

Every way out ends locked. Exit codes stand in device/errors.py; with --once, 1 says that nobody was granted.
"""

from __future__ import annotations

import os
import signal
import sys

from device.programs import Parser, complain, configured, guard_start

if __name__ == "__main__":
    guard_start("unlock")

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

from device import __version__
from device.build import (
    build_audit,
    build_camera,
    build_device,
    build_pin_file,
    build_refusal_file,
    build_usage,
    shortfall,
)
from device.config import Config
from device.decide.backoff_file import BackoffFile
from device.errors import (
    CameraLost,
    ConfigError,
    FaceUnlockError,
    LockError,
    LockRefused,
    UsageError,
    is_out_of_memory,
)
from device.journal.approaches import Approaches
from device.journal.events import EVENTS, Sink
from device.journal.status import Filtered, LineWriter, StatusLog, Writer, serial_writer, stdout_writer
from device.journal.systemd import Notifier
from device.journal.trail import AuditTrail
from device.pipeline import Device, handle_frame
from device.protocols import Camera
from device.types import Decision, Frame, News, Reason

RECONNECT_S = (0.5, 10.0)  # first and longest wait before a lost camera is tried again
PULSE_GRACE_S = 2.0  # a pulse that lasts longer than it may by this much has nobody who ends it
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 0, signal.SIGHUP: 0, signal.SIGALRM: 0}
OUT_OF_MEMORY = "out of memory: stop other programs, or take a smaller camera.width"
DEMO_MARK = "[demo: no pin is driven] "


class Stopped(BaseException):
    """A signal asked the program to end; no `except Exception` on the way may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def main(arguments: list[str] | None = None, *, pin_factory: Any = None) -> int:
    """Run until a signal, the end of a clip or a fault, and return the exit code."""
    args = parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that it cannot write must not end the log
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with stop_signals() as check_stop:
            return run(args, pin_factory, check_stop)
    except Stopped as stop:
        return EXIT_CODES[signal.Signals(stop.number)]
    except FaceUnlockError as error:
        complain(f"{DEMO_MARK if args.demo else ''}unlock: {error}")
        return error.exit_code
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        complain(f"{DEMO_MARK if args.demo else ''}unlock: {OUT_OF_MEMORY}")
        return 1


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    return command_line().parse_args(arguments)


def command_line() -> Parser:
    parser = Parser(prog="unlock.py", description="Unlock the door for an enrolled face.")
    parser.share("--config", "--camera", "--gallery", "--model")
    parser.add_argument(
        "--lock-socket", metavar="PATH", help="socket of the lock process, which drives the pin"
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
    return parser


def run(args: argparse.Namespace, pin_factory: Any, check_stop: Callable[[], None]) -> int:
    """Build the door, watch the camera, and take everything down again, the lock first."""
    config = configured(args)
    check_liveness(config, args.no_liveness)
    if args.demo and pin_factory is None:
        from gpiozero.pins.mock import MockFactory

        pin_factory = MockFactory()
    camera = build_camera(config)
    if not camera.live and pin_factory is None:
        raise UsageError(
            f"camera {camera.name}: a recorded clip opens no real door: run with --demo, or name a camera"
        )
    audit = build_audit(config, demo=args.demo)
    status = open_log(config, args, audit)
    notifier = Notifier.from_environment(os.environ)
    exit_code, reason, fault = 1, "fault", None
    lock = "mock" if args.demo else "lockd" if config.lock.socket else config.lock.driver
    try:
        status.event("started", version=__version__, camera=camera.name, lock=lock)
        refusals = BackoffFile(None) if args.demo else build_refusal_file(config)
        pins = BackoffFile(None) if args.demo else build_pin_file(config)
        device = build_device(
            config,
            pin_factory=pin_factory,
            audit=audit,
            refusal_file=refusals,
            pin_file=pins,
            usage_file=build_usage(config, read_only=args.demo),
            live=camera.live,
            is_door=not args.demo,
        )
        try:
            if args.max_seconds:
                signal.setitimer(signal.ITIMER_REAL, args.max_seconds)
            announce(device, config, status, notifier)
            watch = Watch(
                camera,
                device,
                status,
                notifier,
                config.status.heartbeat_s,
                args.once,
                check_stop,
                refusals,
                pins,
            )
            granted = watch.run()
            finish_pulse(device, config.lock.pulse_s, check_stop)
        finally:
            device.close()
        exit_code, reason = (0, "granted" if granted else "end") if granted or not args.once else (1, "end")
    except Stopped as stop:
        exit_code, reason = EXIT_CODES[signal.Signals(stop.number)], stop_reason(stop)
        if args.once and stop.number == signal.SIGALRM:
            exit_code = 1
    except Exception as error:
        exit_code, fault = getattr(error, "exit_code", 1), str(error) or type(error).__name__
        fault = OUT_OF_MEMORY if is_out_of_memory(error) else fault
        raise
    finally:
        notifier.stopping()
        camera.close()
        status.event("stopping", reason=reason, exit_code=exit_code, error=fault)
        status.close()
    return exit_code


def check_liveness(config: Config, no_liveness: bool) -> None:
    """Switch liveness off by two keys only: the configuration's, and the flag of whoever starts the program."""
    off = config.liveness.mode == "off"
    if off and not no_liveness:
        raise ConfigError(
            'liveness.mode: "off" lets a photograph open the door, expected --no-liveness beside it, received none: '
            "take another mode, or add the flag"
        )
    if no_liveness and not off:
        raise UsageError(
            f'--no-liveness: expected liveness.mode = "off", received "{config.liveness.mode}": both are needed'
        )


def announce(device: Device, config: Config, status: StatusLog, notifier: Notifier) -> None:
    """Say that the door is watched, and tell each change of the bolt from now on."""

    def tell(locked: bool) -> None:
        status.event("locked") if locked else status.event("unlocked", pulse_s=config.lock.pulse_s)

    device.lock.on_change = tell
    device.lock.on_news = lambda name, details: status.event(name, **details)
    people, templates = len(device.gallery.subjects()), device.gallery.count()
    model, is_locked = device.embedder.model_id, device.lock.is_locked
    status.event("ready", model=model, subjects=people, templates=templates, is_locked=is_locked)
    if short := shortfall(config, templates):
        status.event("warning", error=short)
    notifier.ready(f"watching, {people} subjects enrolled")


class Watch:
    """The loop around handle_frame: lost cameras, status lines and the watchdog's beat."""

    def __init__(
        self,
        camera: Camera,
        device: Device,
        status: StatusLog,
        notifier: Notifier,
        heartbeat_s: float,
        once: bool,
        check_stop: Callable[[], None],
        refusals: BackoffFile,
        pins: BackoffFile | None = None,
    ) -> None:
        self._refusals, self._pins = refusals, pins
        self._fault: str | None = None
        self._approaches = Approaches()
        self._camera, self._device, self._status, self._notifier = camera, device, status, notifier
        self._heartbeat_s, self._once, self._check_stop = heartbeat_s, once, check_stop
        self._started_s = self._beat_s = time.monotonic()
        self._frames = self._frames_at_beat = 0
        self._lost = False
        self._wait_s = RECONNECT_S[0]

    def run(self) -> bool:
        """Watch until the clip ends (False) or, with --once, until a grant (True)."""
        try:
            while True:
                try:
                    return any(self._handle(frame).granted and self._once for frame in self._camera.frames())
                except CameraLost as error:
                    self._lose(error)
        finally:
            self._tell(self._approaches.end())

    def _handle(self, frame: Frame) -> Decision:
        self._check_stop()
        # A clip has its own time: what was filmed last year is not stale.
        now_s = time.monotonic() if self._camera.live else frame.captured_at_s
        try:
            decision = handle_frame(frame, self._device, now_s)
        except LockRefused as refusal:
            # Nothing opened; the decider counts its cooldown, then there is another chance.
            self._status.event("command_refused", reason=refusal.reason)
            decision = Decision(False, Reason.COOLDOWN, frame.captured_at_s)
        is_picture = decision.reason is not Reason.SAME_FRAME
        if self._lost and is_picture:
            self._status.event("camera_back", camera=self._camera.name)
        self._frames += 1
        if decision.granted:
            if self._once:
                signal.setitimer(signal.ITIMER_REAL, 0)  # the grant came in time, and its pulse may end
            self._status.event("granted", subject_id=decision.subject_id)
            self._notifier.status(f"granted {decision.subject_id}")
        self._tell(self._approaches.see(decision, now_s))
        self._device.lock.check()
        self._tell_fault()
        self._tell_news(decision)
        self._beat(is_picture)
        time.sleep(self._device.rest_s)
        return decision

    def _tell_news(self, decision: Decision | None) -> None:
        """Tell what became of picture, board and clock; a picture that stands still is as good as none."""
        for name, details in self._device.news(decision, time.monotonic()):
            self._tell([(name, details)])
            if name == "camera_frozen":
                self._device.lock.lock()
                self._device.forget()
                self._tell(self._approaches.end())

    def _tell(self, news: Iterable[News]) -> None:
        """Send events where the table of events says."""
        for name, details in news:
            if EVENTS[name].sinks & Sink.PROMPT:
                self._device.prompt.show(details.get("action"))
            if EVENTS[name].sinks & ~Sink.PROMPT:
                self._status.event(name, **details)

    def _tell_fault(self) -> None:
        """Say once that the count of refusals, or of wrong PINs, is not kept."""
        fault, before = self._refusals.fault or (self._pins.fault if self._pins else None), self._fault
        self._fault = fault
        if fault is not None and fault != before:
            self._status.event("warning", error=fault)

    def _beat(self, is_picture: bool) -> None:
        """Tell that a frame was handled: to systemd, and now and then in a status line."""
        now_s = time.monotonic()
        if self._lost and is_picture:
            self._notifier.camera_back(now_s)
            self._lost, self._wait_s = False, RECONNECT_S[0]
        self._notifier.watchdog(now_s)
        self._heartbeat(now_s)

    def _heartbeat(self, now_s: float) -> None:
        passed_s = now_s - self._beat_s
        if passed_s < self._heartbeat_s:
            return
        fps = (self._frames - self._frames_at_beat) / passed_s
        self._status.event(
            "heartbeat",
            frames=self._frames,
            fps=fps,
            uptime_s=now_s - self._started_s,
            is_locked=self._device.lock.is_locked,
            camera_lost=self._lost,
        )
        self._beat_s, self._frames_at_beat = now_s, self._frames

    def _lose(self, error: CameraLost) -> None:
        """Lock, say it once, and wait longer each time before the next try."""
        self._device.lock.lock()
        self._device.forget()
        self._tell(self._approaches.end())
        if not self._lost:
            self._lost = True
            self._notifier.camera_lost()
            self._notifier.status(f"camera lost: {error}")
            self._status.event(
                "camera_lost", camera=self._camera.name, error=str(error), retry_s=self._wait_s
            )
        self._notifier.watchdog(time.monotonic())  # locked and trying is all there is to do now
        self._pause(self._wait_s)
        self._wait_s = min(2 * self._wait_s, RECONNECT_S[1])

    def _pause(self, wait_s: float) -> None:
        until_s = time.monotonic() + wait_s
        while (now_s := time.monotonic()) < until_s:
            self._check_stop()
            self._device.lock.check()
            self._tell_news(None)
            self._heartbeat(now_s)
            time.sleep(min(0.5, until_s - now_s))


def finish_pulse(device: Device, pulse_s: float, check_stop: Callable[[], None]) -> None:
    """Let a running pulse end before the pin is given back: who was granted still has to open the door."""
    until_s = time.monotonic() + pulse_s + PULSE_GRACE_S
    while device.lock.is_locked is False:
        check_stop()
        device.lock.check()
        if time.monotonic() > until_s:
            raise LockError(
                f"{device.lock}: still unlocked after its pulse of {pulse_s:g} s: check the wiring"
            )
        time.sleep(0.02)


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], None]]:
    """Turn SIGINT, SIGTERM, SIGHUP and the timer into one Stopped; later ones wait until the door is locked.

    Yields a check that raises it again: Python drops an exception that a handler raises within a `__del__`, and
    MediaPipe's images have one in each frame.
    """
    caught: list[int] = []

    def check() -> None:
        if caught:
            raise Stopped(caught[0])

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in EXIT_CODES:
            signal.signal(each, signal.SIG_IGN)
        caught.append(number)
        check()

    numbers = set(EXIT_CODES)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        numbers.remove(signal.SIGHUP)
    before = {each: signal.signal(each, stop) for each in numbers}
    try:
        yield check
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in before.items():
            signal.signal(each, handler)


def stop_reason(stop: Stopped) -> str:
    return "time_over" if stop.number == signal.SIGALRM else signal.Signals(stop.number).name.lower()


def open_log(config: Config, args: argparse.Namespace, audit: AuditTrail) -> StatusLog:
    """Write status to the audit, to the serial port, and to stdout as JSON or for a person."""
    settings = config.status
    writers: list[Writer] = [audit]
    console = stdout_writer() if args.json else LineWriter(open_output=Console, reopen=False)
    writers.append(Filtered(console, Sink.CONSOLE))
    if settings.serial_port:
        port = serial_writer(settings.serial_port, settings.baud, DEMO_MARK if args.demo else "")
        writers.append(Filtered(port, Sink.SERIAL))
    status = StatusLog(writers=writers, demo=args.demo, no_liveness=args.no_liveness)
    audit.tell = lambda written, cause: status.event(
        "audit_back" if written else "audit_lost", error=cause or None
    )
    return status


class Console:
    """Print status lines for a person; the queue before it keeps a stopped terminal from stopping the door."""

    def write(self, data: bytes) -> int:
        line = json.loads(data)
        mark = DEMO_MARK if line.get("demo") else ""
        print(f"{time.strftime('%H:%M:%S')} {mark}{describe(line)}", flush=True)
        return len(data)

    def close(self) -> None:
        """Leave stdout to the process."""


def describe(line: dict[str, Any]) -> str:
    """Say a status line in words: the event, then its details."""
    details = dict(line)
    if line["event"] == "camera_lost":
        if details.get("camera", "") in details.get("error", ""):
            details.pop("camera", None)  # the error names it
        details.pop("retry_s", None)
        again = f"trying again, at most every {RECONNECT_S[1]:g} s"
        return ": ".join(
            ["camera lost", *(details[key] for key in ("camera", "error") if key in details), again]
        )
    event = details.pop("event").replace("_", " ")
    said = [str(details.pop(key)).replace("_", " ") for key in ("subject_id", "reason") if key in details]
    said += [
        f"{key.replace('_', ' ')} {str(value).lower() if isinstance(value, bool) else value}"
        for key, value in details.items()
        if key not in ("at", "demo")
    ]
    return f"{event}{': ' if said else ''}{', '.join(said)}"


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= 1e6:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected more than 0 seconds, received {text}")


if __name__ == "__main__":
    sys.exit(main())
