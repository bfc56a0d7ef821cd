"""Budget: how often, and for how long in any minute, the recognizer may have the bolt drawn; pure, times are arguments.

Without it, a recognizer that was taken over could hold the door open by asking again and again. The exit button has no
budget.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 60.0
OPEN_S = 30.0  # of any window, so that the bolt is locked for the other half of it
PULSES = 10  # of any window, however short they are


class Budget:
    """Pulses of the last minute.

    Args:
        pulse_s: the length of one.
    """

    def __init__(self, pulse_s: float) -> None:
        self._pulse_s = pulse_s
        self._pulses: deque[tuple[float, float]] = deque(maxlen=PULSES)  # (from, until), the newest last

    def allows(self, now_s: float) -> bool:
        """Say whether one more pulse may begin now."""
        if len(self._pulses) == PULSES and now_s - self._pulses[0][0] < WINDOW_S:
            return False
        from_s = now_s + self._pulse_s - WINDOW_S  # the window at whose end the new pulse ends
        used_s = sum(max(0.0, min(end, now_s) - max(start, from_s)) for start, end in self._pulses)
        return used_s + self._pulse_s <= OPEN_S + 1e-6

    def begin(self, now_s: float) -> None:
        """Count a pulse; one that still runs goes over into it."""
        self.end(now_s)
        self._pulses.append((now_s, now_s + self._pulse_s))

    def end(self, now_s: float) -> None:
        """Give back what is left of a pulse that was ended."""
        if self._pulses and self._pulses[-1][1] > now_s:
            self._pulses[-1] = (self._pulses[-1][0], now_s)
