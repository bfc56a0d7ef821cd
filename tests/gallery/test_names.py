"""Names of people: what one may be."""

from __future__ import annotations

import unicodedata

import pytest

from device.errors import UsageError
from device.gallery.names import check_subject_id
from tests.support.galleries import (
    units,
)


@pytest.mark.parametrize(
    "name",
    ["alice", "Alice B. Cooper", "a", "x" * 64, "Zoë", "李小龍", "प्रिया", "7-of-9", "O'Brien", "D\u2019Angelo",
     "Gal·la", "ジョン・スミス", "\u0645\u0647\u200c\u0646\u0627\u0632",
     "\u0dc1\u0dca\u200d\u0dbb\u0dd3 \u0dbd\u0d82\u0d9a\u0dcf", "\u0d9a\u0dca\u200d\u0dc2"],
)  # fmt: skip
def test_names_of_people_are_accepted(name):
    assert check_subject_id(name) == unicodedata.normalize("NFC", name)


def test_the_same_name_in_two_encodings_is_one_subject(gallery):
    gallery.enroll("Zoe\u0308", units(1), replace=False)
    gallery.enroll("Zo\u00eb", units(1, 2), replace=False)
    assert [s.template_count for s in gallery.subjects()] == [2]
    assert gallery.remove("Zoe\u0308") == 2


@pytest.mark.parametrize(
    "name",
    ["", " ", "x" * 65, "x" * 10_000, "../etc/passwd", "a/b", "a\\b", ".hidden", "..", "a\nb", "a\0b",
     "\x1b[31mred", "-rf", "_x", " alice", "alice ", "a\u202eb", "\u0301a", "a;b",
     "a\u200cb", "a\u200db", "a\u200d", "\u0645\u200c", "'a", "a\u2028b", "😀", "\ud800"],
)  # fmt: skip
def test_other_names_are_one_short_line(name):
    with pytest.raises(UsageError) as caught:
        check_subject_id(name)
    text = str(caught.value)
    assert len(text) < 140
    assert text.isprintable()
    text.encode("utf-8")


def test_enroll_refuses_a_bad_name(gallery):
    with pytest.raises(UsageError):
        gallery.enroll("../x", units(1), replace=False)
    assert gallery.subjects() == []
