"""What the doctor says of one part of the door: a light, a line, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Light(str, Enum):
    """`GREEN`: as it should be; `YELLOW`: the door works, but look at it; `RED`: it keeps the door shut."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"

    def __str__(self) -> str:
        return self.value


SEVERITY = (Light.GREEN, Light.YELLOW, Light.RED)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line; `advice` says what to do, "" where it is green. `at` is when it happened, UTC, "" for now."""

    name: str
    light: Light
    text: str
    advice: str = ""
    at: str = ""


def green(name: str, text: str) -> Finding:
    return Finding(name, Light.GREEN, text)


def yellow(name: str, text: str, advice: str) -> Finding:
    return Finding(name, Light.YELLOW, text, advice)


def red(name: str, text: str, advice: str) -> Finding:
    return Finding(name, Light.RED, text, advice)


def split_advice(name: str, error: BaseException) -> Finding:
    """Return the finding of an error of this program: its last part, behind a colon, is what to do."""
    text = " ".join(str(error).split()) or type(error).__name__
    what, _, advice = text.rpartition(": ")
    return red(name, what or text, advice if what else "see docs/owner/trouble.md")


def worst(findings: Iterable[Finding]) -> Light:
    """Return the worst light of all, green for none."""
    return max((each.light for each in findings), key=SEVERITY.index, default=Light.GREEN)
