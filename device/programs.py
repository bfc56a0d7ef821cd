"""What every command line shares: options, configuration, signals, questions, output and exit codes.

    def main(arguments=None) -> int:
        return run("enroll", lambda: act(parse(arguments)))

The standard library alone is loaded here, so that `guard_start` holds while a program loads the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import getpass
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from device.errors import FaceUnlockError, OutputError, UsageError, is_out_of_memory

if TYPE_CHECKING:
    from device.config import Config

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Of a program that runs until it is stopped: asked to end, it did what it should.
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 0, signal.SIGHUP: 0, signal.SIGALRM: 0}
OUT_OF_MEMORY = "out of memory: stop other programs, or take a smaller picture"
# What more than one program takes: the same name, the same words.
SHARED: dict[str, dict[str, Any]] = {
    "--config": {"type": Path, "metavar": "PATH", "help": "TOML file (docs/owner/tune.md)"},
    "--gallery": {"metavar": "PATH", "help": "file of the enrolled templates"},
    "--model": {"metavar": "NAME", "help": "network of the embeddings: a name or a manifest"},
    "--camera": {"metavar": "SRC", "help": "auto, picamera2, an index, a device, a clip or rtsp://"},
    "--yes": {"action": "store_true", "help": "answer yes to what is asked"},
}
YES = ("y", "yes")


def guard_start(program: str) -> None:
    """Let a Ctrl-C and a missing library end the loading `program` with one line instead of a traceback.

    From here on stderr has this program's own words alone: libraries that write past Python are not heard.
    """
    own = keep_libraries_silent()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        line = f"{program}: interrupted\n".encode()
        signal.signal(signal.SIGINT, lambda *_: os._exit(os.write(own, line) and 130))

    def tell_missing(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, ModuleNotFoundError):
            advice = "run it with .venv/bin/python (make setup makes it)"
            print(f"{program}: {error}: {advice}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = tell_missing


def keep_libraries_silent() -> int:
    """Give this program's own words a stderr of their own, and return its number; what C code writes goes nowhere.

    libjpeg has a line for each damaged frame ("Corrupt JPEG data"), OpenCV and LiteRT greet. A crash in C code is
    told all the same, by faulthandler.
    """
    try:
        own, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # stderr is closed
        return 2
    sys.stderr = os.fdopen(own, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    os.dup2(sink, 2)
    os.close(sink)
    faulthandler.enable(file=sys.stderr)
    return own


def complain(line: str) -> None:
    """Print one line to stderr; where it cannot be written, the exit code tells."""
    if sys.stderr is not None:
        Outlet(sys.stderr).write(f"{line}\n")


class Parser(argparse.ArgumentParser):
    """A command line on which no option vanishes: an empty value is an error, and so is an option out of place.

    Within `called_as` its usage and its errors say that name in place of `prog`.
    """

    name: str | None = None

    def __init__(self, *, prog: str | None = None, **about: Any) -> None:
        super().__init__(prog=self.name or prog, **about)

    def share(self, *flags: str) -> None:
        """Add options of SHARED."""
        for flag in flags:
            self.add_argument(flag, **SHARED[flag])

    def refuse_others(self, args: argparse.Namespace, verb: str, taken: set[str]) -> None:
        """End with exit code 2 where an option was given that `verb` does not take.

        Args:
            taken: `dest` of each option that it takes.
        """
        for action in self._actions:
            given = getattr(args, action.dest, action.default) != action.default
            if given and action.dest not in taken:
                name = action.option_strings[0] if action.option_strings else action.dest
                self.error(f"{name}: {verb} does not take it")

    def error(self, message: str) -> NoReturn:
        """Print one line like those of other errors, without argparse's screen of usage; exit code 2."""
        program = self.prog.removesuffix(".py")
        self.exit(2, f"{program}: {message}: see {self.prog} --help\n")

    def _get_value(self, action: argparse.Action, text: str) -> Any:
        # Here each text of each option passes once, before Path("") becomes the folder of now.
        if not text.strip():
            raise argparse.ArgumentError(action, "expected a value, received empty text")
        if "\0" in text:
            raise argparse.ArgumentError(action, "expected text without a NUL character")
        return super()._get_value(action, text)  # type: ignore[misc]


@contextlib.contextmanager
def called_as(name: str) -> Iterator[None]:
    """Let command lines say the name by which a person called them, such as `face-unlock audit`."""
    before, Parser.name = Parser.name, name
    try:
        yield
    finally:
        Parser.name = before


def configured(args: argparse.Namespace) -> Config:
    """Return the configuration with what the command line overrides."""
    from device.config import load_config

    config = load_config(args.config)
    given = {key: value for key, value in vars(args).items() if value is not None}
    if "camera" in given:
        config = replace(config, camera=replace(config.camera, source=args.camera))
    if "lock_socket" in given:
        config = replace(config, lock=replace(config.lock, socket=args.lock_socket))
    return replace(config, **{key: given[key] for key in ("gallery", "model") if key in given})


def run(program: str, deed: Callable[[], int], *, interrupted: str = "interrupted") -> int:
    """Do what a program is for and return its exit code: one line on stderr for each fault.

    The line begins with `program` or, within `called_as`, with that name.
    Output that cannot be written ends nothing: the exit code goes on telling what was done. Where the output is all
    that was asked for, `deed` ends with `check_told`.
    """
    program = Parser.name or program
    with outlets() as out:
        try:
            code = deed()
        except FaceUnlockError as error:
            code = error.exit_code
            complain(f"{program}: {error}")
        except OSError as error:  # a file that was named and cannot be written, say
            code = 1
            complain(f"{program}: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
        except KeyboardInterrupt:
            code = 130
            complain(f"{program}: {interrupted}")
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            code = 1
            complain(f"{program}: {OUT_OF_MEMORY}")
        if out.is_lost and code == 0:
            complain(f"{program}: done, but the output cannot be written: {out.cause}")
    return code


class Outlet:
    """A text stream that takes everything, also when nothing can be written to it any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fault: Exception | None = None

    @property
    def is_lost(self) -> bool:
        """Say whether output was lost; a reader that closed its pipe has had enough, and loses nothing."""
        return self._fault is not None and not isinstance(self._fault, BrokenPipeError)

    @property
    def cause(self) -> str:
        return getattr(self._fault, "strerror", None) or str(self._fault)

    def write(self, text: str) -> int:
        self._do(lambda: self._stream.write(text))
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        self._do(self._stream.flush)

    def _do(self, step: Callable[[], Any]) -> None:
        if self._fault is not None:
            return
        try:
            step()
        except (OSError, ValueError) as fault:
            self._fault = fault
            with contextlib.suppress(OSError, ValueError):  # else the interpreter tries again at its end
                sink = os.open(os.devnull, os.O_WRONLY)
                os.dup2(sink, self._stream.fileno())
                os.close(sink)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def settle_output() -> None:
    """Leave nothing to write to the interpreter's own end, which would end with 120 where it cannot."""
    if sys.stdout is not None:
        Outlet(sys.stdout).flush()


@contextlib.contextmanager
def outlets() -> Iterator[Outlet]:
    """Put an Outlet in the place of stdout and stderr, also of a closed one; yield that of stdout."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter of somebody's name
    out, err = (Outlet(io.StringIO() if stream is None else stream) for stream in before)
    sys.stdout, sys.stderr = out, err  # type: ignore[assignment]
    try:
        yield out
    finally:
        out.flush()
        sys.stdout, sys.stderr = before


def check_told() -> None:
    """Raise OutputError where stdout was lost, for a program of which the output is all that was asked."""
    out = sys.stdout
    if isinstance(out, Outlet) and out.is_lost:
        raise OutputError(f"the output cannot be written: {out.cause}: nothing was changed")


def ask_yes(question: str, *, instead: str = "--yes") -> None:
    """Go on where the answer is yes, else raise UsageError; `instead` is the option that answers beforehand."""
    answer = ask_line(f"{question} [y/N] ", instead=instead)
    if answer.strip().lower() not in YES:
        raise UsageError(f"{question} expected y or {instead}, received {answer[:20]!r}: nothing was changed")


def ask_line(prompt: str, *, instead: str, shown: bool = True) -> str:
    """Read one line of stdin after a prompt on stderr; UsageError where stdin is closed or at its end."""
    if shown and sys.stdin is not None:
        print(prompt, end="", file=sys.stderr, flush=True)
    try:
        line = "" if sys.stdin is None else sys.stdin.readline()
    except (OSError, ValueError):
        line = ""
    if line:
        return line.rstrip("\n")
    if shown and sys.stdin is not None:
        print(file=sys.stderr)
    what = prompt.removesuffix(" [y/N] ").strip()
    colon = "" if what.endswith(("?", ":")) else ":"
    raise UsageError(
        f"{what}{colon} no answer came, stdin is closed: run it in a terminal, or with {instead}"
    )


def ask_secret(what: str, *, twice: bool, instead: str) -> str:
    """Read a secret: unseen at a terminal, twice where it is new; else one line of stdin.

    Raises UsageError where none comes, or another the second time.
    """
    if not is_terminal():
        return ask_line(f"{what}:", instead=instead, shown=False).strip()
    try:
        first = getpass.getpass(f"{what}: ")
        again = getpass.getpass(f"{what} again: ") if twice else first
    except (EOFError, OSError):
        raise UsageError(
            f"{what}: no answer came, stdin is closed: run it in a terminal, or with {instead}"
        ) from None
    if first != again:
        raise UsageError(f"{what}: expected the same twice, received others: try again")
    return first


def is_terminal() -> bool:
    """Say whether a person types at stdin."""
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False


@contextlib.contextmanager
def stop_signals_raise() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP unwind the program, so that camera and gallery are closed.

    The exit code of the last two is 128 + n. What is ignored already (nohup) stays so.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    try:
        for each in STOP_SIGNALS:
            if before[each] is not signal.SIG_IGN:
                signal.signal(each, stop)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def ignore_stop_signals() -> None:
    """Let the last moments run to their end: what is stored is then told as stored."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)


class Stopped(BaseException):
    """A signal asked the program to end; no `except Exception` on the way may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


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
