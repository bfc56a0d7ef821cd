"""The key: where it comes from, and each way in which it can be wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.errors import GalleryKeyError
from device.vault.generation import GenerationFile
from device.vault.keys import KeyStore, format_ring, new_ring, parse_ring
from device.vault.sealing import Sealer


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore.of(tmp_path / "gallery.db", environ={})


def refused(store: KeyStore) -> str:
    before = store.path.read_bytes() if store.path.is_file() else None
    with pytest.raises(GalleryKeyError) as caught:
        store.read()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    assert caught.value.exit_code == 5
    assert before is None or store.path.read_bytes() == before
    return text


def test_a_key_file_lies_beside_the_gallery_and_is_private(store, tmp_path):
    assert store.read() is None
    old = os.umask(0)
    try:
        ring = store.create()
    finally:
        os.umask(old)
    assert store.path == tmp_path / "gallery.db.key"
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert store.read() == ring
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.db.key"]
    assert len(ring.keys[ring.newest]) == 32
    assert new_ring().keys != ring.keys


def test_a_key_file_elsewhere(tmp_path):
    stick = tmp_path / "stick" / "door.key"
    store = KeyStore.of(tmp_path / "gallery.db", stick, environ={})
    store.create()
    assert stick.is_file()


def test_a_credential_goes_before_a_file(store, tmp_path):
    store.create()
    folder = tmp_path / "credentials"
    folder.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    assert not KeyStore.of(tmp_path / "gallery.db", environ=environ).is_credential  # none was given
    (folder / "gallery.key").write_bytes(format_ring(new_ring()))
    (folder / "gallery.key").chmod(0o440)  # as systemd's access control list looks
    given = KeyStore.of(tmp_path / "gallery.db", environ=environ)
    assert given.is_credential
    assert given.read() != store.read()
    with pytest.raises(GalleryKeyError, match="a program cannot change it"):
        given.write(new_ring())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666, 0o610])
def test_a_key_that_others_may_read_is_refused(store, mode):
    store.create()
    store.path.chmod(mode)
    assert f"mode {mode:04o}, expected 0600" in refused(store)


WRONG = {
    "empty": b"",
    "text": b"hello\n",
    "a raw key": os.urandom(32),
    "no key": b"face-unlock keys 1\n",
    "only a retired one": b"face-unlock keys 1\naudit 1 " + b"0" * 64 + b"\n",
    "short": b"face-unlock keys 1\nkey 1 " + b"0" * 62 + b"\n",
    "long": b"face-unlock keys 1\nkey 1 " + b"0" * 66 + b"\n",
    "no line feed": b"face-unlock keys 1\nkey 1 " + b"0" * 64,
    "twice": b"face-unlock keys 1\n" + (b"key 1 " + b"0" * 64 + b"\n") * 2,
    "letters": b"face-unlock keys 1\nkey 1 " + b"z" * 64 + b"\n",
    "newer": b"face-unlock keys 2\nkey 1 " + b"0" * 64 + b"\n",
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_a_damaged_key_is_refused(store, content):
    store.path.write_bytes(content)
    store.path.chmod(0o600)
    text = refused(store)
    assert "restore your copy" in text
    assert "0" * 32 not in text  # an error shows no key


def test_the_length_is_named(store):
    store.path.write_bytes(WRONG["short"])
    store.path.chmod(0o600)
    assert "62 hex digits, expected 64" in refused(store)


def test_a_folder_and_a_pipe_are_no_key(store):
    store.path.mkdir()
    refused(store)
    store.path.rmdir()
    os.mkfifo(store.path, 0o600)
    refused(store)


def test_every_cut_of_a_key_file_is_refused(store):
    whole = format_ring(new_ring().with_new_key())
    for size in range(len(whole)):
        store.path.write_bytes(whole[:size])
        store.path.chmod(0o600)
        try:
            ring = store.read()
        except GalleryKeyError:
            continue
        assert (
            ring.newest == 1
        )  # cut exactly between two lines: the newer key is missing, and the gallery says so
        assert whole[:size].count(b"\n") == 2


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_noise_is_refused(noise):
    for content in (noise, b"face-unlock keys 1\n" + noise):
        with pytest.raises(GalleryKeyError):
            parse_ring(content, "noise")


def test_a_ring_turns_over():
    first = new_ring()
    both = first.with_new_key()
    second = both.with_newest_only()
    assert (first.newest, both.newest, second.newest) == (1, 2, 2)
    assert both.keys[1] == first.keys[1]
    assert list(second.keys) == [2]
    assert second.audit_keys[1] == first.audit_keys[1]
    assert first.keys[1].hex().encode() not in format_ring(second)  # the retired key itself is gone
    assert parse_ring(format_ring(second), "ring") == second
    assert second.with_new_key().newest == 3


def test_a_ring_does_not_show_its_keys():
    ring = new_ring()
    assert ring.keys[1].hex() not in repr(ring)
    assert repr(ring.keys[1]) not in repr(ring)


# The generation beside the key


@pytest.fixture
def generation(tmp_path: Path) -> GenerationFile:
    return GenerationFile(tmp_path / "gallery.db.generation", Sealer(new_ring().keys, "gallery"))


def test_the_generation_only_rises(generation):
    assert generation.read() is None
    for told, kept in ((0, 0), (3, 3), (2, 3), (7, 7)):
        generation.raise_to(told)
        assert generation.read() == kept
    assert stat.S_IMODE(generation.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"7", b"9 1 " + b"0" * 64 + b"\n", bytes(range(200, 240)), b"x" * 1000]
)
def test_a_generation_that_was_changed_is_refused(generation, content):
    generation.raise_to(5)
    generation.path.write_bytes(content)
    for call in (generation.read, lambda: generation.raise_to(6)):
        with pytest.raises(GalleryKeyError, match=r"keys accept"):
            call()
    assert generation.path.read_bytes() == content


def test_a_generation_of_another_key_is_refused(generation):
    generation.raise_to(5)
    for keys in ({1: bytes(32)}, {2: bytes(32)}):
        with pytest.raises(GalleryKeyError, match="another key"):
            GenerationFile(generation.path, Sealer(keys, "gallery")).read()
