"""Small files that must not go back: what a hand that has no key can do to them, and what a power cut can."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from device.errors import GalleryError, GalleryKeyError
from device.vault import files
from device.vault.anchor import Anchor, AnchorFile
from device.vault.generation import GenerationFile
from device.vault.kept import KeptFile, KeptLost
from device.vault.sealing import Sealer, place_of

SEALER = Sealer({1: bytes(range(32))}, "gallery")


class Card:
    """The folder of a door that has a gallery."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generation = GenerationFile(folder / "gallery.db.generation", SEALER)
        self.anchor = AnchorFile(self.generation, SEALER)
        self.anchor.write(Anchor(generation=3))
        self.generation.write(3)

    def file(self, name: str = "usage", **how: bool) -> KeptFile:
        return KeptFile(self.folder / name, name, lambda: (SEALER, self.anchor), **how)


@pytest.fixture
def card(tmp_path: Path) -> Card:
    return Card(tmp_path)


def test_what_was_written_last_is_read(card):
    assert card.file().read() is None
    for entries in range(3):
        card.file().write({"alice": entries})
        assert card.file().read() == {"alice": entries}
    assert b"alice" not in (card.folder / "usage").read_bytes()
    assert card.anchor.read() == Anchor(generation=3, writes={"usage": 3})


def test_each_file_counts_for_itself(card):
    card.file("usage").write({"a": 1})
    card.file("wrong_pins").write({"b": 1})
    assert card.file("usage").read() == {"a": 1}
    shutil.copy(card.folder / "usage", card.folder / "wrong_pins")
    with pytest.raises(KeptLost, match="wrong_pins: does not open"):
        card.file("wrong_pins").read()


HANDS = {
    "deleted": lambda file, before: file.unlink(),
    "put back": lambda file, before: file.write_bytes(before),
    "emptied": lambda file, before: file.write_bytes(b""),
    "cut short": lambda file, before: file.write_bytes(file.read_bytes()[:-1]),
    "noise": lambda file, before: file.write_bytes(os.urandom(200)),
    "in the clear": lambda file, before: file.write_text(json.dumps({"alice": 0})),
}


@pytest.mark.parametrize("was_plain", [False, True])
@pytest.mark.parametrize("hand", HANDS)
def test_a_file_that_is_gone_or_another_is_lost_and_stays_so(card, hand, was_plain):
    file = card.file(was_plain=was_plain)
    file.write({"alice": 1})
    before = file.path.read_bytes()
    file.write({"alice": 2})
    HANDS[hand](file.path, before)
    for _ in range(2):
        with pytest.raises(KeptLost) as caught:
            file.read()
        assert "\n" not in str(caught.value)
        assert "keys accept" in str(caught.value)


def test_file_and_anchor_deleted_together_are_refused(card):
    card.file().write({"alice": 1})
    card.file().path.unlink()
    card.anchor.path.unlink()
    with pytest.raises(GalleryKeyError, match="anchor: is missing"):
        card.file().read()
    with pytest.raises(GalleryKeyError, match="anchor: is missing"):
        card.file().write({"alice": 0})


def test_a_file_in_the_clear_of_an_earlier_release_is_taken_until_one_is_sealed(card):
    file = card.file("wrong_pins", was_plain=True)
    file.path.write_text(json.dumps({"refusals": 2}))
    assert file.read() == {"refusals": 2}
    file.write({"refusals": 3})
    assert file.read() == {"refusals": 3}


@pytest.mark.parametrize("sealed", [False, True])
def test_a_file_that_was_never_counted_does_not_take_the_place_of_the_first_that_was(card, sealed):
    file = card.file("wrong_pins", was_plain=True)
    file.write({"refusals": 3})
    old = json.dumps({"refusals": 0}).encode()
    file.path.write_bytes(SEALER.seal(old, place_of("wrong_pins")) if sealed else old)
    with pytest.raises(KeptLost, match="is older"):
        file.read()


def test_how_often_a_file_was_written_is_what_stands_in_it(card):
    file = card.file()
    assert file.count() == 0
    file.write({"alice": 1}), file.write({"alice": 2})
    assert file.count() == 2
    file.path.write_bytes(b"noise")
    assert file.count() is None


def test_the_first_of_a_doors_files_makes_their_folder(tmp_path):
    for number, write in enumerate(
        (lambda anchor, _: anchor.write(Anchor()), lambda _, generation: generation.write(1))
    ):
        generation = GenerationFile(tmp_path / str(number) / "gallery.db.generation", SEALER)
        write(AnchorFile(generation, SEALER), generation)
        assert (tmp_path / str(number)).stat().st_mode & 0o777 == 0o700


def test_a_sealed_file_without_a_count_of_an_earlier_release_is_taken(card):
    file = card.file()
    file.path.write_bytes(SEALER.seal(json.dumps({"alice/1": {"entries": 2}}).encode(), place_of("usage")))
    assert file.read() == {"alice/1": {"entries": 2}}
    file.path.write_text(json.dumps({"alice/1": {"entries": 0}}))  # which never lay in the clear
    with pytest.raises(KeptLost):
        file.read()


def test_a_demo_writes_nothing(card):
    card.file().write({"alice": 1})
    before = {path.name: path.read_bytes() for path in card.folder.iterdir()}
    card.file(read_only=True).write({"alice": 2})
    assert {path.name: path.read_bytes() for path in card.folder.iterdir()} == before


def test_a_power_cut_between_the_file_and_the_anchor_is_no_fault(card, monkeypatch):
    card.file().write({"alice": 1})
    monkeypatch.setattr(AnchorFile, "update", lambda *_: os._exit)
    card.file().write({"alice": 2})
    monkeypatch.undo()
    assert card.file().read() == {"alice": 2}
    card.file().write({"alice": 3})
    assert card.anchor.read().writes == {"usage": 3}


def test_a_file_that_cannot_be_anchored_says_so(card, monkeypatch):
    """Else the next one who deletes it would give its entries back."""
    monkeypatch.setattr(files, "HOLD_TIMEOUT_S", 0.05)
    (card.folder / "gallery.db.anchor.new").mkdir()
    with pytest.raises(GalleryError, match=r"anchor: cannot be written"):
        card.file().write({"alice": 1})


def test_an_anchor_of_a_first_gallery_is_expected_from_its_first_mark_on(tmp_path):
    generation = GenerationFile(tmp_path / "gallery.db.generation", SEALER)
    anchor = AnchorFile(generation, SEALER)
    assert anchor.read() == Anchor(generation=0, logs={}, writes={})
    code = SEALER.mac(b"generation 5").hex()
    generation.path.write_text(f"5 1 {code}\n")  # of a release without anchors
    assert (anchor.read(), generation.read()) == (Anchor(), 5)
    anchor.update(lambda marks: marks.with_write("usage", 1))
    assert generation.read() == 5
    anchor.path.unlink()
    with pytest.raises(GalleryKeyError, match="is missing"):
        anchor.read()


def test_an_anchor_of_another_key_is_refused(card):
    other = AnchorFile(card.generation, Sealer({1: bytes(32)}, "gallery"))
    other.write(Anchor(generation=3))
    with pytest.raises(GalleryKeyError, match="does not open"):
        card.anchor.read()


def test_marks_of_two_programs_do_not_undo_each_other(card):
    card.anchor.update(lambda marks: marks.with_write("usage", 4))
    other = AnchorFile(card.generation, SEALER)
    other.update(lambda marks: marks.with_write("refusals", 2))
    card.anchor.update(lambda marks: marks.with_write("usage", 1))  # never down
    assert card.anchor.read().writes == {"usage": 4, "refusals": 2}


def test_the_number_of_changes_only_rises(card, tmp_path):
    card.generation.raise_to(2)
    assert card.generation.read() == 3
    card.generation.raise_to(4)
    assert card.generation.read() == 4
    first = GenerationFile(tmp_path / "another.generation", SEALER)
    first.raise_to(0)
    assert first.read() == 0
