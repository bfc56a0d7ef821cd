"""Who may look: one visitor, by a token that is good once; five wrong ones end the page."""

from __future__ import annotations

import hmac
import secrets
import threading
from enum import Enum

LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # none that is read as another
TOKEN_LETTERS = 12  # 60 bits: five guesses find one in 2e17
MAX_WRONG = 5


class Answer(Enum):
    """What became of a token."""

    ADMITTED = "admitted"
    WRONG = "wrong"
    TAKEN = "taken"  # somebody was admitted before
    ENDED = "ended"  # too many were wrong


class Admittance:
    """Let one visitor in.

    `token` is what the terminal shows. A visitor who shows it gets a session, which the browser keeps in a cookie;
    the token is worth nothing from then on.
    """

    def __init__(self) -> None:
        self.token = "".join(secrets.choice(LETTERS) for _ in range(TOKEN_LETTERS))
        self._session = secrets.token_urlsafe(32)
        self._guard = threading.Lock()
        self._is_taken = False
        self._wrong = 0

    @property
    def is_ended(self) -> bool:
        return self._wrong >= MAX_WRONG

    def enter(self, token: str) -> tuple[Answer, str]:
        """Return what a token is worth, and the session of who is admitted, "" for others."""
        is_right = same(token.strip().upper().replace("-", ""), self.token)
        with self._guard:
            if self.is_ended:
                return Answer.ENDED, ""
            if self._is_taken:  # nothing is left to guess, so it counts for nothing
                return Answer.TAKEN, ""
            if is_right:
                self._is_taken = True
                return Answer.ADMITTED, self._session
            self._wrong += 1
            return (Answer.ENDED if self.is_ended else Answer.WRONG), ""

    def knows(self, session: str) -> bool:
        """Say whether a session is that of the visitor."""
        return same(session, self._session) and self._is_taken


def same(given: str, right: str) -> bool:
    """Compare in a time that does not depend on where two texts differ."""
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())
