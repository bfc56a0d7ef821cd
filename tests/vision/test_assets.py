from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from device.errors import ConfigError, ModelError
from device.vision import assets
from device.vision.assets import ASSETS, FACE_DETECTOR, FACE_MESH, Asset, cache_dir, digest, find_asset
from scripts import fetch_models
from tests.support.photos import model_file

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fetch_models.py"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the cache at a folder that does not exist yet."""
    folder = tmp_path / "cache" / "face unlock"
    monkeypatch.setenv("FACE_UNLOCK_CACHE", str(folder))
    return folder


def wheel_of(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mediapipe/__init__.py", "")
        for member, content in contents.items():
            archive.writestr(member, content)
    return path


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    """Return the two real files by their place in a wheel, read before a test points the cache elsewhere."""
    return {asset.member: model_file(asset).read_bytes() for asset in ASSETS}


@pytest.fixture
def wheel(tmp_path: Path, contents: dict[str, bytes]) -> Path:
    """Return a wheel with the two real files in it."""
    return wheel_of(tmp_path / "mediapipe.whl", contents)


def run(
    *arguments: str, python: str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_the_variable_names_the_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == cache
    monkeypatch.setenv("FACE_UNLOCK_CACHE", "~nosuch/cache")
    with pytest.raises(ConfigError, match="home folder"):
        cache_dir()


def test_the_system_folder_is_taken_only_when_it_holds_both_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACE_UNLOCK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    system = tmp_path / "system"
    system.mkdir()
    (system / FACE_MESH.name).write_bytes(b"x")
    assert cache_dir(system) == tmp_path / "xdg" / "face-unlock"
    (system / FACE_DETECTOR.name).write_bytes(b"x")
    assert cache_dir(system) == system


def test_without_a_variable_it_is_the_home_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACE_UNLOCK_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir(tmp_path / "none") == tmp_path / ".cache" / "face-unlock"


def test_a_missing_and_a_short_file_say_what_to_run(cache: Path) -> None:
    with pytest.raises(ModelError, match=r"No such file.*: run scripts/fetch_models\.py$"):
        find_asset(FACE_MESH)
    cache.mkdir(parents=True)
    (cache / FACE_MESH.name).write_bytes(b"TFL3")
    with pytest.raises(ModelError, match=r"expected 1242398 bytes, received 4: .*--force"):
        find_asset(FACE_MESH)


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.name)
def test_the_cached_file_is_the_pinned_one(asset: Asset) -> None:
    assert digest(model_file(asset).read_bytes()) == asset.sha256


def test_the_script_fetches_from_a_wheel_once(cache: Path, wheel: Path) -> None:
    first = run("--wheel", str(wheel))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.count("SHA-256 as expected") == 2
    assert sorted(path.name for path in cache.iterdir()) == sorted(asset.name for asset in ASSETS)
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir()} == {0o644}
    written = find_asset(FACE_MESH).stat().st_mtime_ns
    second = run("--wheel", "/no/such/wheel")
    assert (second.returncode, "both model files are in place" in second.stdout) == (0, True)
    assert find_asset(FACE_MESH).stat().st_mtime_ns == written
    assert run("--wheel", str(wheel), "--force").returncode == 0
    assert find_asset(FACE_MESH).stat().st_mtime_ns > written


def test_a_damaged_file_is_fetched_again(cache: Path, wheel: Path) -> None:
    assert run("--wheel", str(wheel)).returncode == 0
    content = bytearray(find_asset(FACE_DETECTOR).read_bytes())
    content[5000] ^= 1  # the size stays: only the digest tells
    find_asset(FACE_DETECTOR).write_bytes(content)
    assert run("--wheel", str(wheel)).returncode == 0
    assert digest(find_asset(FACE_DETECTOR).read_bytes()) == FACE_DETECTOR.sha256


def bad_wheels(folder: Path, contents: dict[str, bytes]) -> dict[str, Path]:
    """Return wheels by what the error must say of them."""
    detector, mesh = contents[FACE_DETECTOR.member], contents[FACE_MESH.member]
    swapped = bytearray(mesh)
    swapped[-1] ^= 1
    text, cut = folder / "page.whl", folder / "cut.whl"
    text.write_text("<html>proxy error</html>")
    cut.write_bytes(wheel_of(folder / "whole.whl", contents).read_bytes()[:300_000])
    newer = wheel_of(folder / "newer.whl", {})
    larger = wheel_of(folder / "larger.whl", {FACE_DETECTOR.member: detector, FACE_MESH.member: mesh + b"0"})
    other = wheel_of(folder / "other.whl", {FACE_DETECTOR.member: detector, FACE_MESH.member: bytes(swapped)})
    return {
        "no whole zip file": text,
        "received no whole zip": cut,
        "one without mediapipe/modules/face_detection": newer,
        "of 1242399 bytes instead of 1242398": larger,
        "with SHA-256": other,
    }


def test_wrong_wheels_are_named_and_leave_what_is_there(
    cache: Path, tmp_path: Path, contents: dict[str, bytes]
) -> None:
    cache.mkdir(parents=True)
    (cache / FACE_MESH.name).write_bytes(b"old")
    for received, wheel in bad_wheels(tmp_path, contents).items():
        done = run("--wheel", str(wheel))
        assert done.returncode == 4, wheel
        assert received in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert (cache / FACE_MESH.name).read_bytes() == b"old"
    assert len(list(cache.iterdir())) == 1


def test_help_names_the_command_that_gets_the_wheel(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fetch_models.main(["--help"])
    [line] = [line.strip() for line in capsys.readouterr().out.splitlines() if "pip download" in line]
    assert line.split()[3:] == fetch_models.PIP_DOWNLOAD
    assert line.endswith(f"mediapipe=={assets.MEDIAPIPE_VERSION}")


def test_a_missing_wheel_and_an_unknown_option_are_usage_errors(cache: Path, tmp_path: Path) -> None:
    done = run("--wheel", str(tmp_path / "none.whl"))
    assert (done.returncode, "No such file" in done.stderr) == (2, True)
    assert run("--whell", "x").returncode == 2


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("--wheel", str(wheel), FACE_UNLOCK_CACHE=str(tmp_path / "file" / "cache"))
    assert done.returncode == 2
    assert "set FACE_UNLOCK_CACHE to another folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_network_it_says_how_to_bring_the_wheel(cache: Path, tmp_path: Path) -> None:
    settings = {"PIP_INDEX_URL": tmp_path.as_uri(), "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    done = run(**settings, PIP_CONFIG_FILE=os.devnull, PIP_RETRIES="0")
    assert done.returncode == 4
    assert "fetch_models.py --wheel FILE" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "fetching mediapipe 0.10.18" in done.stdout


def test_a_bare_python_without_pip_is_told(cache: Path, tmp_path: Path, wheel: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    python = str(tmp_path / "bare" / "bin" / "python")
    done = run(python=python)
    assert done.returncode == 4
    assert "No module named pip" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert run("--wheel", str(wheel), python=python).returncode == 0  # needs no pip, and no package either


def test_a_write_that_fails_leaves_no_scrap(
    cache: Path, monkeypatch: pytest.MonkeyPatch, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch_models.os, "fsync", full)
    assert fetch_models.main(["--wheel", str(wheel)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert list(cache.iterdir()) == []


def test_the_assets_are_one_pinned_release() -> None:
    assert assets.MEDIAPIPE_VERSION in fetch_models.PIP_DOWNLOAD[-1]
