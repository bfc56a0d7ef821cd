"""What the training programs share: a run from the command line to its exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable


def run_to_end(program: str, train: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Train, and return the exit code: 0, 1 after a fault in one line, 130 after Ctrl-C."""
    try:
        train(args)
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: stopped; the same command goes on from {args.out}/checkpoint.pt", file=sys.stderr)
        return 130
    return 0
