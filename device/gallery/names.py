"""Names of people, as a gallery stores them."""

from __future__ import annotations

import unicodedata

from device.errors import UsageError

MAX_SUBJECT_ID = 64  # characters
# Beside letters: apostrophes (O'Brien), middle dots (Gal·la, ジョン・スミス), hyphens, geresh, gershayim and maqaf.
BETWEEN_LETTERS = "-_. '\u2019\u00b7\u30fb\u2010\u05f3\u05f4\u05be"
JOINERS = "\u200c\u200d"  # in Persian between two letters, in Sinhala and its neighbours after a virama
VIRAMA = 9  # its combining class


def check_subject_id(text: str) -> str:
    """Return the subject id, NFC-normalized.

    1 to 64 letters of any script with their marks, digits, `-`, `_`, `.`, spaces, and what else stands in names
    (O'Brien, Gal·la); a letter or digit first, no space last. Anything else is a UsageError in one short line.
    """
    name = unicodedata.normalize("NFC", text)
    shown = repr(name if len(name) <= 24 else name[:24] + "...")
    if not 1 <= len(name) <= MAX_SUBJECT_ID:
        raise UsageError(
            f"name {shown} has {len(name)} characters, expected 1 to {MAX_SUBJECT_ID}: use another"
        )
    wrong = next((c for at, c in enumerate(name) if not _is_of_a_name(name, at)), None)
    if wrong is not None:
        raise UsageError(
            f"name {shown} has {wrong!r}, expected letters, digits, '-', '_', '.', an apostrophe or space: use another"
        )
    if unicodedata.category(name[0])[0] not in "LN" or name[-1] == " ":
        raise UsageError(
            f"name {shown} must start with a letter or digit and not end with a space: use another"
        )
    return name


def _is_of_a_name(name: str, at: int) -> bool:
    """Say whether a character may stand in a name; one that joins letters is seen only where it does."""
    if name[at] not in JOINERS:
        return unicodedata.category(name[at])[0] in "LMN" or name[at] in BETWEEN_LETTERS
    before, after = name[:at][-1:], name[at + 1 : at + 2]
    if not after or unicodedata.category(after)[0] != "L":
        return False
    is_virama = unicodedata.combining(before or " ") == VIRAMA
    return is_virama or all(unicodedata.name(each, "").startswith("ARABIC ") for each in (before, after))
