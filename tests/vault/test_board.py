"""A key bound to its board: the card of one board, in another one, is a card of noise."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from gpiozero.pins.mock import MockFactory

from device.build import build_door, build_embedder, build_gallery
from device.config import load_config
from device.errors import GalleryBoardError, GalleryKeyError
from device.gallery.gallery import Gallery
from device.vault import board as board_module
from device.vault.board import (
    SERIAL_PASSES,
)
from device.vault.keys import KeyStore, parse_ring
from device.vault.sealing import SealBroken, Sealer, derive, place_of, stretch
from scripts import audit, backup, gallery_keys
from tests.support.checkout import run_program
from tests.support.galleries import PASSPHRASE, open_gallery, units
from tests.support.machines.boards import CONFIG, OTHER, SERIAL, keys, make_board, opens, steal


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def sealed_records(path: Path) -> list[tuple[bytes, bytes]]:
    """Read each sealed record of a gallery as a thief would, with the place it was made for."""
    db = sqlite3.connect(path)
    rows = db.execute("SELECT sealed, subject_id, model_id FROM templates").fetchall()
    found = [(sealed, place_of("template", name, model)) for sealed, name, model in rows]
    rows = db.execute("SELECT sealed, subject_id FROM profiles").fetchall()
    found += [(sealed, place_of("profile", name)) for sealed, name in rows]
    db.close()
    return found


def opened_by_the_card(path: Path) -> int:
    """Count the records that open with what a thief makes of the key file: as it is, or with a wrong guess."""
    text, opened = path.with_name("gallery.db.key").read_text(), 0
    lines = [line.split() for line in text.splitlines()[1:] if not line.startswith("audit")]
    guesses = [b"", bytes(32), stretch(b"0" * 16, bytes(16), SERIAL_PASSES)]
    for words in lines:
        version, part = int(words[1]), bytes.fromhex(words[-1])
        for key in (part, *(derive(part + guess, "bound key") for guess in guesses)):
            sealer = Sealer({version: key}, "gallery")
            for sealed, place in sealed_records(path):
                with suppress(SealBroken):
                    opened += bool(sealer.open(sealed, place))
    return opened


def test_a_stolen_card_yields_nothing_in_another_board(path, tmp_path, monkeypatch):
    stolen = steal(path, tmp_path, monkeypatch, serial=OTHER)
    before = content(stolen)
    with pytest.raises(GalleryBoardError) as caught:
        open_gallery(stolen, read_only=True)
    text = str(caught.value)
    assert caught.value.exit_code == 5
    assert "was bound to another board: expected its serial number, with mark" in text
    assert "received one with mark" in text
    assert "\n" not in text
    assert not any(secret.strip(b"\0").decode() in text for secret in (SERIAL, OTHER))
    assert opened_by_the_card(stolen) == 0
    raw = b"".join(before.values())
    assert not any(row.tobytes()[:12] in raw for row in units(4, 1))
    assert not any(word in raw for word in (b"argon2", b"482916", SERIAL[:16], b"entries"))
    assert content(stolen) == before


def test_what_an_unbound_key_gives_away(tmp_path, monkeypatch):
    """The check above, where it has to find something."""
    monkeypatch.setenv("FACE_UNLOCK_BOARD", str(tmp_path / "no board"))
    path = tmp_path / "card" / "gallery.db"
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(4, 1), replace=False)
    assert opened_by_the_card(path) == 5


def test_the_same_card_opens_in_its_own_board(path, tmp_path, monkeypatch):
    assert opens(path)
    stolen = steal(path, tmp_path, monkeypatch, serial=SERIAL)  # a copy, back in the board it is of
    assert opens(stolen)
    assert keys(stolen, "show") == 0


def test_the_door_is_refused_on_another_board_and_stays_locked(
    path, tmp_path, monkeypatch, empty_clip, real_model
):
    stolen = steal(path, tmp_path, monkeypatch, serial=OTHER)
    before = content(stolen)
    options = ["--demo", "--camera", str(empty_clip), "--gallery", str(stolen), *CONFIG]
    done = run_program("unlock.py", *options, "--max-seconds", "30")
    assert done.returncode == 5
    [line] = [line for line in done.stderr.splitlines() if "unlock:" in line]
    assert "was bound to another board" in line
    assert "unlocked" not in done.stdout
    after = content(stolen)
    assert {name: after[name] for name in before} == before


def test_the_pin_is_locked_where_the_key_is_of_another_board(path, tmp_path, monkeypatch, real_model):
    """As the board runs it: the pin is claimed first, and given back low."""
    stolen = steal(path, tmp_path, monkeypatch, serial=OTHER)
    factory = MockFactory()
    pin = factory.pin(17)
    pin.clear_states()
    config = replace(load_config(Path("/dev/null")), gallery=str(stolen))
    with pytest.raises(GalleryBoardError):
        build_door(config, pin_factory=factory)
    assert not any(state.state for state in pin.states)


def test_a_foreign_gallery_with_a_key_of_its_own_does_not_open_on_a_bound_board(
    path, tmp_path, monkeypatch, real_model, capsys
):
    """Made elsewhere, where there was nothing to bind to, and put in the place of this board's files."""
    embedder = build_embedder(load_config(Path("/dev/null")))
    here = os.environ["FACE_UNLOCK_BOARD"]
    monkeypatch.setenv("FACE_UNLOCK_BOARD", str(tmp_path / "no board"))
    foreign = tmp_path / "foreign" / "gallery.db"
    config = replace(load_config(Path("/dev/null")), gallery=str(foreign))
    with build_gallery(config, embedder.manifest, read_only=False):
        pass
    monkeypatch.setenv("FACE_UNLOCK_BOARD", here)
    for read_only in (True, False):
        with pytest.raises(GalleryKeyError) as caught:
            build_gallery(config, embedder.manifest, read_only=read_only)
        assert "is bound to nothing, and this board has its serial number" in str(caught.value)
        assert "keys bind" in str(caught.value)
    build_gallery(replace(config, unbound_key=True), embedder.manifest, read_only=True).close()
    assert keys(foreign, "bind") == 0  # the owner's own way
    build_gallery(config, embedder.manifest, read_only=True).close()


def test_the_recovery_of_a_dead_board_is_a_backup(path, tmp_path, monkeypatch, capsys):
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    secret, file = ["--passphrase-file", str(tmp_path / "passphrase")], tmp_path / "b.backup"
    here = ["--gallery", str(path), *CONFIG]
    assert backup.main(["create", str(file), *secret, *here]) == 0
    stolen = steal(path, tmp_path, monkeypatch, serial=OTHER)
    there, before = ["--gallery", str(stolen), *CONFIG], content(stolen)
    assert backup.main(["restore", str(file), "--no-passphrase", *there]) == 5
    assert "was bound to another board" in capsys.readouterr().err
    assert content(stolen) == before
    assert backup.main(["restore", str(file), *secret, *there]) == 0
    assert "is set aside as" in capsys.readouterr().err
    assert opens(stolen)
    assert audit.main(["verify", *there]) == 0
    assert KeyStore.of(stolen, environ={}).read().bound_to == "serial"
    # What was set aside is whole, for the day the old board is mended.
    monkeypatch.setenv("FACE_UNLOCK_BOARD", str(tmp_path / "board"))
    aside = stolen.with_name("gallery.db.refused")
    assert opens(aside)
    assert audit.main(["verify", "--gallery", str(aside), *CONFIG]) == 0
    assert keys(stolen, "show") == 5


def test_a_key_that_seals_nothing_yet_can_be_bound_too(tmp_path, monkeypatch, capsys):
    """As the installer of an earlier release left it."""
    path = tmp_path / "card" / "gallery.db"
    monkeypatch.setenv("FACE_UNLOCK_BOARD", str(tmp_path / "none"))
    assert keys(path, "seal") == 0
    assert "bound to nothing" in capsys.readouterr().out
    monkeypatch.setenv("FACE_UNLOCK_BOARD", str(make_board(tmp_path / "board")))
    assert keys(path, "bind") == 0
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(4, 1), replace=False)
    assert KeyStore.of(path, environ={}).read().bound_to == "serial"
    assert opened_by_the_card(path) == 0


def test_a_key_of_another_board_without_a_gallery_makes_way_for_a_backup(path, tmp_path, monkeypatch):
    """A card that was copied after the installer made its key."""
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    secret, file = ["--passphrase-file", str(tmp_path / "passphrase")], tmp_path / "b.backup"
    assert backup.main(["create", str(file), *secret, "--gallery", str(path), *CONFIG]) == 0
    stolen = steal(path, tmp_path, monkeypatch, serial=OTHER)
    stolen.unlink()
    assert backup.main(["restore", str(file), *secret, "--gallery", str(stolen), *CONFIG]) == 0
    assert opens(stolen)


# Binding, and taking it back


def test_a_new_key_is_bound_unasked(path, capsys):
    assert KeyStore.of(path, environ={}).read().bound_to == "serial"
    assert keys(path, "show") == 0
    assert "bound to this board, by its serial number" in capsys.readouterr().out


def test_an_unbound_key_goes_on_and_can_be_bound_and_unbound(path, tmp_path, monkeypatch, capsys):
    old = content(path)
    assert keys(path, "unbind") == 0
    assert "bound to nothing: whoever has" in capsys.readouterr().out
    monkeypatch.setenv("FACE_UNLOCK_BOARD", str(tmp_path / "none"))
    assert opens(path)
    assert keys(path, "bind") == 5
    assert "expected an OTP key or a serial number" in capsys.readouterr().err
    monkeypatch.setenv("FACE_UNLOCK_BOARD", str(tmp_path / "board"))
    assert keys(path, "bind") == 0
    assert opens(path)
    assert opened_by_the_card(path) == 0
    assert b"key " not in path.with_name("gallery.db.key").read_bytes().replace(b"keys", b"")
    ring = KeyStore.of(path, environ={}).read()
    assert (ring.newest, len(ring.keys), ring.bound_to) == (3, 1, "serial")
    assert not any(sealed in old["gallery.db"] for sealed, _ in sealed_records(path))
    assert keys(path, "bind") == 0  # bound already: no new key
    assert KeyStore.of(path, environ={}).read().newest == 3
    assert audit.main(["verify", "--gallery", str(path), *CONFIG]) == 0


def test_a_rotation_keeps_the_bond(path, tmp_path, monkeypatch):
    before = KeyStore.of(path, environ={}).read()
    assert keys(path, "rotate") == 0
    after = KeyStore.of(path, environ={}).read()
    assert (after.bound_to, after.newest) == ("serial", 2)
    assert after.keys[2] != before.keys[1]
    assert opens(path)
    with pytest.raises(GalleryBoardError):
        open_gallery(steal(path, tmp_path, monkeypatch, serial=OTHER), read_only=True)


@pytest.mark.parametrize("command", ["bind", "unbind"])
@pytest.mark.parametrize("step", ["first key", "reseal", "others", "last key"])
def test_an_interruption_loses_nothing_and_the_next_call_goes_on(path, step, command, monkeypatch):
    class PowerCut(BaseException):
        pass

    def cut(*_: object, **__: object) -> None:
        raise PowerCut

    if command == "bind":
        assert keys(path, "unbind") == 0
    write, calls = KeyStore.write, []

    def counted(self: KeyStore, ring: object) -> None:
        calls.append(ring)
        if len(calls) == (1 if step == "first key" else 2):
            raise PowerCut
        write(self, ring)

    target = {"reseal": (Gallery, "reseal", cut), "others": (gallery_keys, "renew_others", cut)}
    monkeypatch.setattr(*target.get(step, (KeyStore, "write", counted)))
    with pytest.raises(PowerCut):
        keys(path, command)
    monkeypatch.undo()
    monkeypatch.setenv("FACE_UNLOCK_BOARD", str(path.parent.parent / "board"))
    assert opens(path)
    assert keys(path, command) == 0
    assert opens(path)
    ring = KeyStore.of(path, environ={}).read()
    assert (ring.bound_to, len(ring.keys)) == ("serial" if command == "bind" else None, 1)


def test_a_door_that_runs_follows_a_binding_without_stretching_anew(path, monkeypatch):
    calls = []
    stretch = board_module.stretch

    def counted(*arguments: object) -> bytes:
        calls.append(arguments)
        return stretch(*arguments)

    monkeypatch.setattr(board_module, "stretch", counted)
    board_module._material.cache_clear()
    with open_gallery(path, read_only=True) as door:
        for seed in range(3):
            with open_gallery(path) as other:
                other.enroll(f"guest{seed}", units(1, 10 + seed), replace=False)
            assert door.match(units(4, 1)[2]).similarity > 0.999
        assert keys(path, "rotate") == 0
        assert door.match(units(4, 1)[2]).similarity > 0.999
    assert len(calls) == 1


def test_every_damage_of_a_bound_line_is_refused(path):
    text = path.with_name("gallery.db.key").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("bound")]
    words = line.split()
    for number, wrong in (
        (0, "key"),
        (1, "0"),
        (2, "mac"),
        (3, words[3][:-1]),
        (4, words[4] + "0"),
        (5, words[5][:-2]),
    ):
        damaged = [*words[:number], wrong, *words[number + 1 :]]
        with pytest.raises(GalleryKeyError, match="is damaged"):
            parse_ring(text.replace(line, " ".join(damaged)).encode(), "file")
    with pytest.raises(GalleryKeyError, match="is damaged"):
        parse_ring(text.replace(line, f"bound 1 {words[5]}").encode(), "file")
    with pytest.raises(GalleryBoardError):
        parse_ring(text.replace(words[4], "0" * 16).encode(), "file")


def test_the_first_enrollment_says_what_the_card_is_worth(here, tmp_path, real_model):
    options = [
        "--images",
        "tests/data/astronaut.jpg",
        "--gallery",
        str(tmp_path / "g.db"),
        "--no-sheet",
        *CONFIG,
    ]
    said = [run_program("enroll.py", "--name", name, *options) for name in ("eileen", "again")]
    assert said[0].returncode == 0
    assert "note: the key is bound to this board, by its serial number" in said[0].stderr
    assert "note:" not in said[1].stderr
    assert "bound 1 serial" in (tmp_path / "g.db.key").read_text()
