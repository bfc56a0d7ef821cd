"""What a board has that another has not: its OTP key, the firmware's mailbox, its serial number."""

from __future__ import annotations

import stat
import struct

import pytest

from device.errors import GalleryBoardError
from device.vault import board as board_module
from device.vault.board import (
    GET_PRIVATE_KEY,
    HANDED_OVER,
    PRODUCT,
    PROPERTY_IOCTL,
    SERIALS,
    Board,
    read_private_key,
)
from device.vault.keys import KeyStore
from tests.support.galleries import open_gallery
from tests.support.machines.boards import SERIAL, keys, make_board, opens, steal


def test_the_stronger_one_goes_first(tmp_path):
    key = "5a" * 32
    board = Board(make_board(tmp_path / "all", otp=key, product=b"4c4c4544-0042\n"))
    assert [identity.kind for identity in board.identities()] == ["otp", "serial", "product"]
    assert board.unasked().kind == "otp"
    assert board.of_kind("otp").secret == bytes.fromhex(key)
    assert key not in repr(board.identities())
    assert Board(tmp_path / "none").identities() == []
    assert Board(tmp_path / "none").unasked() is None


def test_an_otp_key_that_is_programmed_later_is_taken_by_bind_alone(path, here, tmp_path, monkeypatch):
    make_board(here, otp="5a" * 32)
    assert opens(path)  # still by the serial number
    assert keys(path, "bind") == 0
    assert KeyStore.of(path, environ={}).read().bound_to == "otp"
    assert opens(path)
    stolen = steal(path, tmp_path, monkeypatch, serial=SERIAL)  # whoever knows the number is no further
    with pytest.raises(GalleryBoardError, match=r"expected its OTP key, with mark .* that can be read: none"):
        open_gallery(stolen, read_only=True)
    make_board(tmp_path / "other", otp="5b" * 32)
    with pytest.raises(GalleryBoardError, match="received one with mark"):
        open_gallery(stolen, read_only=True)


def test_a_number_that_only_root_reads_is_not_taken_unasked(tmp_path):
    root = make_board(tmp_path / "pc", serial=None, product=b"4c4c4544-0042\n")
    (root / PRODUCT).chmod(0o400)
    assert Board(root).unasked() is None
    assert Board(root).identities()[0].kind == "product"
    (root / PRODUCT).chmod(0o444)
    assert Board(root).unasked().kind == "product"


@pytest.mark.parametrize("content", [b"", b"\0", b"0000000000000000\0", b"\n"])
def test_a_number_of_nothing_but_zeros_is_none(tmp_path, content):
    assert Board(make_board(tmp_path / "blank", serial=content)).identities() == []


def test_the_other_place_of_the_number(tmp_path):
    (tmp_path / SERIALS[1]).parent.mkdir(parents=True)
    (tmp_path / SERIALS[1]).write_bytes(SERIAL)
    assert Board(tmp_path).of_kind("serial").secret == SERIAL[:16]


def firmware(key: bytes, *, knows: bool = True):
    """Answer as a Raspberry Pi's firmware does; one that does not know the request leaves its mark out."""

    def ioctl(descriptor: int, request: int, buffer: bytearray) -> int:
        size, code, tag, room, _, offset, rows = struct.unpack_from("<7I", buffer)
        assert (size, code, tag, room, offset, rows) == (64, 0, GET_PRIVATE_KEY, 40, 0, 8)
        assert request == PROPERTY_IOCTL
        struct.pack_into("<I", buffer, 4, 0x8000_0000)
        if knows:
            struct.pack_into("<I", buffer, 16, 0x8000_0000 | 40)
            buffer[28:60] = key
        return 0

    return ioctl


def test_the_mailbox_is_asked_as_the_firmware_expects(tmp_path):
    mailbox, key = tmp_path / "vcio", bytes(range(32))
    mailbox.touch()
    assert read_private_key(mailbox, firmware(key)) == key
    assert read_private_key(mailbox, firmware(bytes(32))) is None  # not programmed
    assert read_private_key(mailbox, firmware(key, knows=False)) is None
    assert read_private_key(mailbox) is None  # a file is no mailbox
    assert read_private_key(tmp_path / "none", firmware(key)) is None
    assert PROPERTY_IOCTL == 0xC008_6400  # of a 64-bit system


def test_what_is_handed_over_is_what_the_mailbox_gives(tmp_path, monkeypatch):
    """Whoever reads the mailbox, and the service that does not, have the same key; the raw one lies nowhere."""
    raw, root = bytes(range(32)), tmp_path / "pi"
    (root / "dev").mkdir(parents=True)
    (root / "dev/vcio").touch()
    monkeypatch.setattr(
        board_module, "read_private_key", lambda path: raw if path == root / "dev/vcio" else None
    )
    monkeypatch.setenv("FACE_UNLOCK_BOARD", str(root))
    direct, file = Board(root).of_kind("otp"), root / HANDED_OVER
    file.parent.mkdir(parents=True)  # the unit's RuntimeDirectory
    assert board_module.main(["--hand-over", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert raw.hex() not in file.read_text()
    monkeypatch.setattr(board_module, "read_private_key", lambda path: None)
    assert Board(root).of_kind("otp") == direct
    file.unlink()
    assert board_module.main(["--hand-over", str(file)]) == 0
    assert not file.exists()
