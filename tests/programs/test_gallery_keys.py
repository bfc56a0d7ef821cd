"""The key's commands: rotation that may be interrupted anywhere, credentials, and what `accept` is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device.access.policy import Usage
from device.access.profile import Profile
from device.build import build_audit, build_kept
from device.config import Config
from device.errors import GalleryError
from device.gallery import backup, store
from device.gallery.gallery import Gallery
from device.vault.files import replace_private
from device.vault.kept import KeptLost
from device.vault.keys import KeyStore
from scripts import audit, gallery_keys
from tests.support.galleries import MODEL, D, files_of, open_gallery, plain, say, units
from tests.support.kept import usage_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(5, 1), replace=False, profile=Profile(pin_hash="x"))
    return path


def run(path: Path, *arguments: str) -> int:
    return gallery_keys.main([*arguments, "--gallery", str(path), "--config", "/dev/null"])


def key_of(path: Path) -> bytes:
    ring = KeyStore.of(path, environ={}).read()
    assert ring is not None
    return ring.keys[ring.newest]


def is_whole(path: Path) -> bool:
    with open_gallery(path, read_only=True) as door:
        match = door.match(units(5, 1)[2])
        return match is not None and match.similarity > 0.999 and door.profile("alice").pin_hash == "x"


def test_rotation_seals_everything_anew(path, tmp_path, capsys):
    usage = path.with_name("gallery.db.usage")
    with open_gallery(path) as gallery:
        backup.create(tmp_path / "b", gallery.dump(), gallery.seal.sealer, None)
        gallery.add_backup(str(tmp_path / "b"))
        profile = gallery.profile("alice")
        usage_of(gallery, usage).keep(profile, Usage(entries=3))
    old_key, old_bytes = key_of(path), files_of(path)
    assert run(path, "rotate") == 0
    assert key_of(path) != old_key
    assert old_key.hex().encode() not in path.with_name("gallery.db.key").read_bytes()
    assert is_whole(path)
    with open_gallery(path) as gallery:
        assert backup.read(tmp_path / "b", gallery.seal.sealer, None)["tables"]["templates"]
        assert usage_of(gallery, usage).of(profile).entries == 3
        rows = [row[0] for row in gallery._store._db.conn.execute("SELECT sealed FROM templates")]
    assert not any(row in old_bytes for row in rows)
    assert run(path, "show") == 0
    assert "key 2 seals, 1 open, 1 retired" in capsys.readouterr().out
    assert run(path, "rotate") == 0
    assert is_whole(path)


def test_a_running_door_follows_a_rotation(path):
    with open_gallery(path, read_only=True) as door:
        assert door.match(units(5, 1)[2]) is not None
        assert run(path, "rotate") == 0
        assert door.match(units(5, 1)[2]).similarity > 0.999


@pytest.mark.parametrize("step", ["keys", "reseal", "commit", "generation", "others", "last"])
def test_a_rotation_that_is_interrupted_loses_nothing_and_goes_on(path, step, monkeypatch):
    class PowerCut(BaseException):
        pass

    def cut(*_: object, **__: object) -> None:
        raise PowerCut

    write, calls = KeyStore.write, []

    def last(self: KeyStore, ring: object) -> None:
        calls.append(ring)
        if len(calls) == 2:
            raise PowerCut
        write(self, ring)

    target = {
        "keys": (KeyStore, "write", cut),
        "reseal": (store, "restore_tables", cut),
        "commit": (type(open_gallery(path)._store._db), "commit", cut),
        "generation": (gallery_keys.Gallery, "scrub", cut),
        "others": (gallery_keys, "renew_others", cut),
        "last": (KeyStore, "write", last),
    }[step]
    monkeypatch.setattr(*target)
    if step == "generation":
        monkeypatch.setattr("device.vault.generation.GenerationFile.raise_to", cut)
    with pytest.raises(PowerCut):
        run(path, "rotate")
    monkeypatch.undo()
    assert is_whole(path)
    with open_gallery(path) as gallery:
        gallery.enroll("bob", units(1, 2), replace=False)
    assert run(path, "rotate") == 0
    assert is_whole(path)
    assert len(KeyStore.of(path, environ={}).read().keys) == 1


def test_a_damaged_gallery_is_not_rotated(path):
    before = key_of(path)
    say(path, "DELETE FROM profiles")
    content = path.read_bytes()
    assert run(path, "rotate") == 5
    assert key_of(path) == before
    assert path.read_bytes() == content


def test_a_credential_is_rotated_in_three_steps(path, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "credentials"
    folder.mkdir()
    path.with_name("gallery.db.key").rename(folder / "gallery.key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert is_whole(path)
    assert run(path, "rotate") == 5
    assert "make a longer one first" in capsys.readouterr().err
    assert run(path, "extend", "--output", str(tmp_path / "longer")) == 0
    assert (tmp_path / "longer").stat().st_mode & 0o777 == 0o600
    replace_private(folder / "gallery.key", (tmp_path / "longer").read_bytes())
    assert run(path, "rotate") == 0
    assert is_whole(path)
    assert run(path, "retire", "--output", str(tmp_path / "short")) == 0
    replace_private(folder / "gallery.key", (tmp_path / "short").read_bytes())
    assert is_whole(path)
    assert not path.with_name("gallery.db.key").exists()
    assert run(path, "retire", "--output", str(tmp_path / "short")) == 2  # never over a file


def test_accept_takes_an_older_gallery_but_not_a_changed_one(path, tmp_path, capsys):
    older = path.read_bytes()
    with open_gallery(path) as gallery:
        gallery.enroll("bob", units(1, 2), replace=False)
    path.write_bytes(older)
    assert run(path, "show") == 5
    assert "rolled back" in capsys.readouterr().err
    assert run(path, "accept") == 0
    assert is_whole(path)
    say(path, "DELETE FROM profiles")
    assert run(path, "accept") == 5


def test_a_plain_gallery_is_sealed(tmp_path, capsys):
    path, rows = tmp_path / "gallery.db", units(9)
    plain(path, rows)
    assert run(path, "seal") == 0
    assert "9 templates sealed now" in capsys.readouterr().out
    assert not any(row.tobytes()[:12] in files_of(path) for row in rows)
    assert run(path, "seal") == 0
    assert "sealed already" in capsys.readouterr().out


def test_a_key_is_made_before_the_first_enrollment(tmp_path, capsys):
    path = tmp_path / "gallery.db"
    for said in ("made, readable by its owner only", "there already"):
        assert run(path, "seal") == 0
        assert said in capsys.readouterr().out
    assert path.with_name("gallery.db.key").stat().st_mode & 0o777 == 0o600
    assert not path.exists()
    before = key_of(path)
    with open_gallery(path) as gallery:
        gallery.enroll("alice", units(1), replace=False)
    assert key_of(path) == before


def test_no_key_is_one_line(tmp_path, capsys):
    for command in ("show", "rotate"):
        assert run(tmp_path / "gallery.db", command) == 5
        assert "there is none yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_gallery_of_another_model_is_rotated_too(tmp_path):
    path = tmp_path / "gallery.db"
    with Gallery(path, model_id="other", dimension=2, read_only=False) as gallery:
        gallery.enroll("alice", np.eye(2, dtype=np.float32), replace=False)
    assert run(path, "rotate") == 0
    with Gallery(path, model_id="other", dimension=2, read_only=True) as gallery:
        assert gallery.match(np.array([1, 0], np.float32)).subject_id == "alice"
    with pytest.raises(GalleryError):
        Gallery(path, model_id=MODEL, dimension=D, read_only=True)


# What must not shrink, and the owner's word


def configured(path: Path) -> Config:
    return replace(Config(), gallery=str(path))


def test_counts_that_are_lost_begin_anew_when_the_owner_accepts_that(path, capsys):
    kept = build_kept(configured(path), "wrong_pins")
    kept.write({"refusals": 7})
    build_kept(configured(path), "usage").write({"alice/1": {"entries": 2}})
    kept.path.unlink()
    with pytest.raises(KeptLost):
        kept.read()
    assert run(path, "accept") == 0
    assert "accepted: gallery.db.wrong_pins begins anew" in capsys.readouterr().out
    assert kept.read() is None
    assert build_kept(configured(path), "usage").read() == {"alice/1": {"entries": 2}}  # it was whole
    kept.path.write_bytes(b"noise")
    assert run(path, "accept") == 0
    assert kept.read() is None


def test_an_anchor_that_is_lost_is_refused_until_the_owner_accepts_that(path, capsys):
    kept = build_kept(configured(path), "usage")
    kept.write({"alice/1": {"entries": 2}})
    path.with_name("gallery.db.anchor").unlink()
    assert run(path, "show") == 5
    assert "gallery.db.anchor: is missing" in capsys.readouterr().err
    assert run(path, "accept") == 0
    assert run(path, "show") == 0
    assert kept.read() == {"alice/1": {"entries": 2}}
    kept.path.unlink()  # the new anchor counts it too
    with pytest.raises(KeptLost):
        kept.read()


def test_counts_survive_a_rotation(path):
    kept = build_kept(configured(path), "refusals")
    kept.write({"refusals": 3})
    assert run(path, "rotate") == 0
    assert kept.read() == {"refusals": 3}
    assert run(path, "rotate") == 0
    assert build_kept(configured(path), "refusals").read() == {"refusals": 3}


def test_log_and_head_deleted_together_are_named_by_the_program(path, capsys):
    trail = build_audit(configured(path), demo=False)
    for _ in range(3):
        assert trail.record("granted", subject="5f0c2a91d3b8e674", reason="face")
    options = ["--gallery", str(path), "--config", "/dev/null"]
    capsys.readouterr()
    assert audit.main(["verify", *options]) == 0
    for file in path.parent.glob("gallery.db.audit*"):
        file.unlink()
    assert audit.main(["verify", *options]) == 1
    assert "log and head were deleted" in capsys.readouterr().out
    assert trail.record("started", version="1")
    assert audit.main(["verify", *options]) == 1
    assert audit.main(["show", *options]) == 0
    assert "cut" in capsys.readouterr().out
    assert run(path, "accept") == 0
