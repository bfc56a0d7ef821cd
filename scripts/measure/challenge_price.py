"""How often films open a door within its first hour, computed from the challenge's own moves, times and waits.

    python scripts/measure/challenge_price.py

It is a bound from above: the passive network calls every film live or unsure, nobody sees the surroundings jump, the
films show the subject with depth, and whoever plays them is quick enough and tries again the moment that the door lets
them. A film of a move either has its own time, or stands still while its player pauses it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.decide.backoff import wait_after_refusals
from device.decide.challenge import BACK_S, HOLD_S, REACTION_S
from device.decide.moves import ChallengeRule, Move, move_count, moves_to_draw

HOUR_S = 3600.0
# Of the moments at which a move may have to end, how many one film's own time fits: it is back in between.
OWN_TIME = (BACK_S - REACTION_S) / (HOLD_S[1] - HOLD_S[0])
Passes = Callable[[Move], float]  # how likely a film answers a move


@dataclass(frozen=True, slots=True)
class Attack:
    """Somebody with films: each try passes with `passes(rule, refusals)`."""

    name: str
    passes: Callable[[ChallengeRule, int], float]


def sequences(rule: ChallengeRule, refusals: int, answered: Passes) -> float:
    """Return how likely all moves of a challenge are answered, each on its own."""
    every = moves_to_draw(rule, refusals)

    def rest(count: int, before: Move | None) -> float:
        if not count:
            return 1.0
        choices = [each for each in every if before is None or each.way is not before.way]
        return sum(answered(each) * rest(count - 1, each) for each in choices) / len(choices)

    return rest(move_count(rule, refusals), None)


def best(rule: ChallengeRule, refusals: int, films: int, held: float) -> float:
    """Return the most that so many films of one move each, chosen after the prompt, can reach."""
    every = moves_to_draw(rule, refusals)

    def answered(shown: Sequence[Move]) -> Passes:
        return lambda move: (held if move.is_held else 1.0) * (move in shown)

    return max(
        sequences(rule, refusals, answered(shown)) for shown in combinations(every, min(films, len(every)))
    )


def blind(rule: ChallengeRule, refusals: int) -> float:
    """Return how often one film of a whole challenge is the right one; a blink needs no time of its own."""
    every = moves_to_draw(rule, refusals)
    count = move_count(rule, refusals)
    shown = [Move.NOD, Move.BLINK if rule.blink else Move.TURN_LEFT]
    likely = 1.0
    for number in range(count):
        move = shown[number % 2]
        before = shown[(number - 1) % 2] if number else None
        choices = [each for each in every if before is None or each.way is not before.way]
        likely *= (OWN_TIME if move.is_held else 1.0) / len(choices)
    return likely


def tries_of(seconds: float) -> int:
    """Return how many challenges can be failed within a time; each is a refused approach."""
    tries, now_s = 0, 0.0
    while now_s < seconds:
        tries += 1
        now_s += wait_after_refusals(tries)
    return tries


def within(attack: Attack, rule: ChallengeRule, seconds: float) -> float:
    """Return how likely one of the tries within a time passes, s; every failed one makes the next one harder."""
    fails = 1.0
    for refusals in range(tries_of(seconds)):
        fails *= 1 - attack.passes(rule, refusals)
    return 1 - fails


ATTACKS = (
    Attack("one film, blind", blind),
    Attack("three films, chosen after the prompt, with their own time", lambda r, n: best(r, n, 3, OWN_TIME)),
    Attack(
        "three films, chosen after the prompt, paused while a move is held", lambda r, n: best(r, n, 3, 1.0)
    ),
    Attack("a film of every move, with its own time", lambda r, n: best(r, n, 6, OWN_TIME)),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="challenge_price.py", description="Compute how often films open a door in its first hour."
    )
    parser.parse_args(arguments)
    print(
        f"{tries_of(HOUR_S)} tries in the first hour, {tries_of(2 * HOUR_S) - tries_of(HOUR_S)} in the second"
    )
    print(f"a film's own time fits {100 * OWN_TIME:.0f} % of the moments at which a move ends")
    print("| attack | moves | blink | first try | first hour |")
    print("|---|---|---|---|---|")
    for attack in ATTACKS:
        for moves in (2, 3):
            for blink in (True, False):
                rule = ChallengeRule(moves=moves, answer_s=2.5, blink=blink)
                first, hour = attack.passes(rule, 0), within(attack, rule, HOUR_S)
                said = "yes" if blink else "no"
                print(f"| {attack.name} | {moves} | {said} | {100 * first:.1f} % | {100 * hour:.0f} % |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
