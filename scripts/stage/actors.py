"""Who stands before the door in a replay or the demo: a person who answers, or somebody who holds up a picture."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.decide.moves import Move
from device.types import Image
from scripts.stage.head import Actor, Look

Performer = Callable[[float, "str | None"], Image]  # time and what is asked for -> the next frame


class Person:
    """A head that sways a little, and answers what it is asked.

    Args:
        reaction_s: how long it takes to begin.
        answers: the move that it makes for one that is asked for; by default that one.
    """

    def __init__(
        self,
        actor: Actor,
        chance: random.Random,
        *,
        reaction_s: float = 0.5,
        answers: dict[str, str] | None = None,
    ) -> None:
        self._actor, self._reaction_s, self._answers = actor, reaction_s, answers or {}
        self._phases = [chance.uniform(0, 2 * math.pi) for _ in range(4)]
        self._nod = chance.choice([-1, 1])
        self._size = chance.uniform(1.0, 1.4)
        self._asked: str | None = None
        self._move, self._began_s, self._back_s = "", -math.inf, -math.inf

    def __call__(self, at_s: float, asked: str | None) -> Image:
        """Return the next frame."""
        if asked == Move.BACK != self._asked:
            self._back_s = at_s + min(self._reaction_s, 0.3)  # who holds a turn waits for this one
        elif asked is not None and asked != self._asked:
            self._move, self._began_s = self._answers.get(asked, asked), at_s + self._reaction_s
            self._back_s = math.inf
        self._asked = asked
        return self._actor.head(self._look(at_s))

    def _look(self, at_s: float) -> Look:
        yaw, pitch, x, y = (
            size * math.sin(rate * at_s + phase)
            for size, rate, phase in zip(
                (2.0, 1.5, 4.0, 3.0), (1.3, 1.7, 0.9, 1.1), self._phases, strict=True
            )
        )
        share = min(eased(at_s - self._began_s), 1 - eased(at_s - self._back_s))
        blink = float(self._move == Move.BLINK and 0 <= at_s - self._began_s < 0.35)
        turn = TURNS.get(self._move, 0.0)
        nod = self._nod * 14.0 if self._move == Move.NOD else 0.0
        return Look(
            yaw_deg=yaw + turn * share,
            pitch_deg=pitch + nod * share,
            lids=blink,
            size=self._size,
            x_px=x,
            y_px=y + 20,
        )


class HeldPicture:
    """A photograph in somebody's hand: still, swaying, jumping about, bent, or turned as the door asks."""

    STYLES = ("still", "sway", "jumpy", "obey", "obey_bent", "flick")

    def __init__(self, actor: Actor, chance: random.Random) -> None:
        self._actor, self._chance = actor, chance
        self.style = chance.choice(self.STYLES)
        self._base = Look(
            yaw_deg=chance.uniform(-20, 20),
            pitch_deg=chance.uniform(-20, 20),
            roll_deg=chance.uniform(-15, 15),
            bend_deg=chance.uniform(20, 150) if self.style == "obey_bent" else 0.0,
            size=chance.uniform(0.75, 1.8),
            light=chance.uniform(0.6, 1.3),
            blur_px=chance.uniform(0.4, 1.5),
        )
        self._waves = [(chance.uniform(0.5, 4), chance.uniform(0, 2 * math.pi)) for _ in range(7)]
        self._strength = chance.uniform(0.1, 1.0)
        self._reach_deg = chance.uniform(15, 60)
        self._asked: str | None = None
        self._asked_s = 0.0

    def __call__(self, at_s: float, asked: str | None) -> Image:
        """Return the next frame."""
        if asked != self._asked:
            self._asked, self._asked_s = asked, at_s
        return self._actor.picture(self._answer(self._wander(at_s), at_s))

    def _wander(self, at_s: float) -> Look:
        """Move about without looking at the door's prompt."""
        base = self._base
        if self.style == "still":
            return base
        if self.style == "jumpy":
            waves = [self._chance.uniform(-1, 1) for _ in self._waves]
        else:
            waves = [math.sin(rate * at_s + phase) for rate, phase in self._waves]
        yaw, pitch, roll, size, light, x, y = (self._strength * wave for wave in waves)
        reach = 8.0 if self.style.startswith("obey") else 45.0  # who obeys waits for the prompt
        return replace(
            base,
            yaw_deg=base.yaw_deg * (reach > 8) + reach * yaw,
            pitch_deg=base.pitch_deg * (reach > 8) + reach * pitch,
            roll_deg=base.roll_deg + 15 * roll,
            size=base.size * (1 + 0.25 * size),
            light=base.light * (1 + 0.3 * light),
            x_px=40 * x,
            y_px=30 * y,
        )

    def _answer(self, look: Look, at_s: float) -> Look:
        """Turn the picture as the door asks a head to."""
        if self._asked is None or not self.style.startswith(("obey", "flick")):
            return look
        share = there_and_back(at_s - self._asked_s - 0.4) * self._reach_deg
        if self.style == "flick" or self._asked == Move.BLINK:
            return replace(look, pitch_deg=look.pitch_deg + share, light=look.light * (1 - share / 150))
        if self._asked == Move.NOD:
            return replace(look, pitch_deg=look.pitch_deg - share)
        return replace(
            look, yaw_deg=look.yaw_deg + (share if self._asked.startswith("turn_left") else -share)
        )


def there_and_back(passed_s: float, way_s: float = 0.5, hold_s: float = 0.6) -> float:
    """Return the share of a move that is made: out, held, and back."""
    return min(eased(passed_s, way_s), 1 - eased(passed_s - way_s - hold_s, way_s))


def eased(passed_s: float, way_s: float = 0.5) -> float:
    """Return the share of a way that is gone, from 0 to 1."""
    share = min(max(passed_s / way_s, 0.0), 1.0)
    return share * share * (3 - 2 * share)


# Deg of the head; the mesh sees a degree or two less.
TURNS = {
    "turn_left": 22.0, "turn_left_little": 17.0, "turn_left_far": 31.0,
    "turn_right": -22.0, "turn_right_little": -17.0, "turn_right_far": -31.0,
}  # fmt: skip
OTHERS = {
    "blink": "nod",
    "nod": "turn_left",
    **{turn: "turn_right" if "left" in turn else "turn_left" for turn in TURNS},
}


def people(actor: Actor, seed: int) -> dict[str, Person]:
    """Return who stands before the door: one who may go in, and those who may not."""
    chance = random.Random(seed)
    return {
        "obeys": Person(actor, chance),
        "answers late": Person(actor, chance, reaction_s=2.6),
        "makes another move": Person(actor, chance, answers=OTHERS),
    }
