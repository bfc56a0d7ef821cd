"""What holds while a program loads its libraries, a second in which `main` is not there yet; standard library only."""

from __future__ import annotations

import os
import signal
import sys
from types import TracebackType


def guard_start(program: str) -> None:
    """Let a Ctrl-C and a missing library end the loading `program` with one line instead of a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        line = f"{program}: interrupted\n".encode()
        signal.signal(signal.SIGINT, lambda *_: os._exit(os.write(2, line) and 130))

    def tell_missing(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, ModuleNotFoundError):
            advice = "run it with .venv/bin/python (make setup makes it)"
            print(f"{program}: {error}: {advice}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = tell_missing
