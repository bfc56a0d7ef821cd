"""Fetch MediaPipe's face detector and face mesh out of the pinned mediapipe wheel into the cache folder.

    python scripts/fetch_models.py [--wheel FILE] [--force]

The wheel (36 MB) is downloaded by pip from the package index that pip is set up for, or taken from `--wheel`
on a board without a network; it is unzipped, never installed, so one wheel serves every board. The folder is
FACE_UNLOCK_CACHE, else /var/cache/face-unlock where that holds the files, else the user's cache. A second run
checks the files and does nothing.

To get the wheel on another computer: the command that `--help` ends with.

Exit codes: 0 files in place, 2 wrong argument or folder not writable, 4 not fetched or not the expected
files, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device.errors import ModelError, UsageError
from device.programs import Parser, run
from device.vision.assets import ASSETS, MEDIAPIPE_VERSION, Asset, cache_dir, digest

PIP_DOWNLOAD = [
    *("download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"),
    *("--platform", "manylinux2014_x86_64", "--python-version", "3.11"),
    f"mediapipe=={MEDIAPIPE_VERSION}",
]
WHEEL_COMMAND = " ".join(["python3 -m pip", *PIP_DOWNLOAD])


def main(arguments: list[str] | None = None) -> int:
    """Fetch what is missing and return the exit code."""
    return run("fetch_models", lambda: act(parse_arguments(arguments)))


def act(options: argparse.Namespace) -> int:
    folder = cache_dir()
    if not options.force and all(is_expected(folder / asset.name, asset) for asset in ASSETS):
        print(f"{folder}: both model files are in place")
        return 0
    prepare(folder)
    fetch(options.wheel, folder)
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        description=__doc__.splitlines()[0],
        epilog=f"To get the wheel on a computer with a network:\n\n  {WHEEL_COMMAND}\n\n"
        "then copy it here and give it to --wheel.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="take this mediapipe wheel; no network is used"
    )
    parser.add_argument("--force", action="store_true", help="fetch again although the files are in place")
    return parser.parse_args(arguments)


def is_expected(path: Path, asset: Asset) -> bool:
    """Say whether the file is there and has the pinned digest."""
    try:
        return digest(path.read_bytes()) == asset.sha256
    except OSError:
        return False


def prepare(folder: Path) -> None:
    """Make the cache folder before anything is downloaded for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise _not_writable(folder, fault) from fault
    if not os.access(folder, os.W_OK):
        raise _not_writable(folder, PermissionError("no permission to write"))


def fetch(wheel: Path | None, folder: Path) -> None:
    """Put both files into the folder, from a wheel at hand or a downloaded one."""
    with tempfile.TemporaryDirectory() as scratch:
        members = read_members(wheel or download_wheel(Path(scratch)))
    for asset, content in members.items():
        write_atomically(folder / asset.name, content)
        print(f"{folder / asset.name}: {len(content):,} bytes, SHA-256 as expected")


def download_wheel(folder: Path) -> Path:
    """Let pip download the pinned wheel, through whatever index and proxy pip is set up for."""
    print(f"fetching mediapipe {MEDIAPIPE_VERSION} (36 MB, once) for two model files in it", flush=True)
    command = [sys.executable, "-m", "pip", *PIP_DOWNLOAD, "--dest", str(folder)]
    # A constraint file of the product's own, left in the environment, names another mediapipe release.
    environment = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
    shown = None if sys.stdout.isatty() else subprocess.DEVNULL  # pip's progress bar is for people
    done = subprocess.run(
        command, env=environment, stdout=shown, stderr=subprocess.PIPE, text=True, check=False
    )
    wheels = sorted(folder.glob("mediapipe-*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    raise ModelError(
        f"expected pip to download mediapipe=={MEDIAPIPE_VERSION}, received: {_last_error(done.stderr)}: "
        "check pip and the network, or copy the wheel here and run scripts/fetch_models.py --wheel FILE"
    )


def read_members(wheel: Path) -> dict[Asset, bytes]:
    """Return the content of both files from a wheel, each held against its pinned size and digest."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return {asset: read_member(archive, asset) for asset in ASSETS}
    except OSError as fault:
        raise UsageError(
            f"{wheel}: expected the mediapipe {MEDIAPIPE_VERSION} wheel, received {fault.strerror or fault}: "
            "check the path"
        ) from fault
    except (zipfile.BadZipFile, zlib.error) as fault:
        raise _not_the_wheel(wheel, "no whole zip file") from fault


def read_member(archive: zipfile.ZipFile, asset: Asset) -> bytes:
    """Return one file of the wheel, if it is the pinned one."""
    wheel = Path(str(archive.filename))
    try:
        size_bytes = archive.getinfo(asset.member).file_size
    except KeyError:
        raise _not_the_wheel(wheel, f"one without {asset.member}") from None
    if size_bytes != asset.size_bytes:  # before it is unpacked: a zip may hold anything
        raise _not_the_wheel(wheel, f"{asset.name} of {size_bytes} bytes instead of {asset.size_bytes}")
    content = archive.read(asset.member)
    if digest(content) != asset.sha256:
        raise _not_the_wheel(wheel, f"{asset.name} with SHA-256 {digest(content)[:12]}...")
    return content


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there, readable by everybody (the service is another user)."""
    try:
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as fault:
        raise _not_writable(path.parent, fault) from fault
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
    except OSError as fault:
        raise _not_writable(path, fault) from fault
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(scratch).unlink()


def _last_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return errors[-1].removeprefix("ERROR: ")[:200] if errors else "no message"


def _not_the_wheel(wheel: Path, received: str) -> ModelError:
    return ModelError(
        f"{wheel.name}: expected the mediapipe {MEDIAPIPE_VERSION} wheel, received {received}: "
        "fetch the wheel again"
    )


def _not_writable(path: Path, fault: OSError) -> UsageError:
    return UsageError(
        f"{path}: expected a place to write, received {fault.strerror or fault}: "
        "set FACE_UNLOCK_CACHE to another folder"
    )


if __name__ == "__main__":
    sys.exit(main())
