"""PINs: what one may be, and its Argon2id hash, which is stored sealed with the subject's profile."""

from __future__ import annotations

from itertools import pairwise

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from device.errors import UsageError

SHORTEST, LONGEST = 4, 12
# RFC 9106 and OWASP: 19 MiB and two passes where memory is scarce.
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)


def check_pin(pin: str) -> str:
    """Return the PIN if it has 4 to 12 digits and is not trivial to guess; the error does not show it."""
    if not (pin.isascii() and pin.isdigit() and SHORTEST <= len(pin) <= LONGEST):
        raise UsageError(
            f"PIN: expected {SHORTEST} to {LONGEST} digits, received something else: choose another"
        )
    steps = {(int(b) - int(a)) % 10 for a, b in pairwise(pin)}
    if steps in ({0}, {1}, {9}):
        raise UsageError("PIN: one digit repeated, or digits in order, is guessed first: choose another")
    return pin


def hash_pin(pin: str) -> str:
    return HASHER.hash(check_pin(pin))


def is_pin(stored: str | None, pin: str) -> bool:
    """Say whether this is the PIN that was stored; never True without one."""
    try:
        return stored is not None and HASHER.verify(stored, pin)
    except (VerificationError, InvalidHashError):
        return False
