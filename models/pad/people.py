"""Which people of the recorded material a liveness network learns from, is tuned on and is measured on.

13 has live pictures only, 16 printed ones only.
"""

from __future__ import annotations

TRAINING_PEOPLE = (1, 4, 5, 7, 8, 10, 11, 14)
DEVELOPMENT_PEOPLE = (2, 13, 16)
TEST_PEOPLE = (3, 6, 9, 12, 15)
