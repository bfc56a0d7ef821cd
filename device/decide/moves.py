"""The moves of a challenge: which there are, how many are asked for, and what a change of pose is.

Pure. A first challenge asks for turns of any size; after a refused one each has an amount too, a little or far,
and each further refusal adds a move: of a film that is ready, or chosen after the prompt, there is ever less use.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import Enum

TURN_DEG, NOD_DEG = 12.0, 12.0  # change of yaw, of pitch, that is a move
FAR_DEG = 21.0  # change of yaw that is far; a little stays below it
MOST_MOVES = 6


class Move(str, Enum):
    """What a person can be asked for; left and right are the person's own. BACK ends one that is held."""

    BLINK = "blink"
    TURN_LEFT = "turn_left"
    TURN_RIGHT = "turn_right"
    TURN_LEFT_LITTLE = "turn_left_little"
    TURN_RIGHT_LITTLE = "turn_right_little"
    TURN_LEFT_FAR = "turn_left_far"
    TURN_RIGHT_FAR = "turn_right_far"
    NOD = "nod"
    BACK = "back"

    def __str__(self) -> str:
        return self.value

    @property
    def is_held(self) -> bool:
        """Whether it is held until the door says that it may end; a blink is over by itself."""
        return self is not Move.BLINK

    @property
    def way(self) -> Move:
        """The move without its amount."""
        return Move(self.value.removesuffix("_little").removesuffix("_far"))


@dataclass(frozen=True, slots=True)
class ChallengeRule:
    """`moves` moves are asked for, each answered within `answer_s`; without `blink` only turns and nods."""

    moves: int
    answer_s: float
    blink: bool


def draw_moves(rule: ChallengeRule, chance: random.Random, refusals: int = 0) -> list[Move]:
    """Return the moves of one challenge, no two in a row the same way and at least one with depth.

    Args:
        refusals: how many approaches were refused since the door was opened.
    """
    every = moves_to_draw(rule, refusals)
    moves: list[Move] = []
    while len(moves) < move_count(rule, refusals):
        before = [move.way for move in moves[-1:]]
        moves.append(chance.choice([each for each in every if each.way not in before]))
    if moves == [Move.BLINK]:
        return [chance.choice([each for each in every if each is not Move.BLINK])]
    return moves


def move_count(rule: ChallengeRule, refusals: int) -> int:
    """Return how many moves a challenge has after so many refused approaches."""
    return max(rule.moves, min(rule.moves + refusals, MOST_MOVES))


def moves_to_draw(rule: ChallengeRule, refusals: int) -> list[Move]:
    """Return the moves that a challenge is drawn from."""
    turns = [Move.TURN_LEFT, Move.TURN_RIGHT]
    if refusals:
        turns = [Move(f"{turn}_{amount}") for turn in turns for amount in ("little", "far")]
    return [*turns, Move.NOD, *([Move.BLINK] if rule.blink else [])]


def made_move(yaw_deg: float, pitch_deg: float) -> Move | None:
    """Name the turn or nod that a change of pose is; the larger angle counts, for a turned head dips a little.

    Positive yaw is toward the image's right edge, the person's left. A NaN is no move.
    """
    if abs(yaw_deg) >= TURN_DEG and abs(yaw_deg) >= abs(pitch_deg):
        return Move.TURN_LEFT if yaw_deg > 0 else Move.TURN_RIGHT
    return Move.NOD if abs(pitch_deg) >= NOD_DEG and abs(pitch_deg) > abs(yaw_deg) else None


def least_deg(move: Move) -> float:
    """Return the change of angle from which on a move is made."""
    return FAR_DEG if move.value.endswith("_far") else NOD_DEG if move is Move.NOD else TURN_DEG


def is_too_far(move: Move, yaw_deg: float) -> bool:
    """Say whether a turn that was to be a little is not; False for a NaN."""
    return move.value.endswith("_little") and abs(yaw_deg) >= FAR_DEG and math.isfinite(yaw_deg)
