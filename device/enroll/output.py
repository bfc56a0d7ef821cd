"""What enroll.py says: lines for a person or JSON objects on stdout, live hints on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


class Output:
    """Results go to stdout, one a line; warnings and hints go to stderr."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._last_hint = ""

    def say(self, text: str, event: str, **fields: Any) -> None:
        """Print one result to stdout."""
        print(json.dumps({"event": event, **fields}) if self._as_json else text, flush=True)

    def warn(self, text: str) -> None:
        """Print one line to stderr, past the bar."""
        tqdm.write(text, file=sys.stderr)

    @contextmanager
    def progress(self, total: int) -> Iterator[Callable[[int, str], None]]:
        """Yield what shows the number of samples and the hint; a log file gets a line for each new hint."""
        live = sys.stderr.isatty()
        with tqdm(total=total, unit="sample", file=sys.stderr, disable=not live, leave=False) as bar:

            def show(count: int, hint: str) -> None:
                bar.update(count - bar.n)
                bar.set_postfix_str(hint)
                line = f"{count}/{total}{': ' if hint else ''}{hint}"
                if not live and line != self._last_hint:
                    print(line, file=sys.stderr, flush=True)
                self._last_hint = line

            yield show


def counted(templates: int) -> str:
    return f"{templates} template{'' if templates == 1 else 's'}"
