"""What a disk may hold after a power cut: a program's system calls, played on a model of its folder and cut anywhere.

strace writes down each write, sync and rename of a program, SQLite's too. In the model a file has what was synced last
and the writes since; a folder has the names of its last sync and those given since. A cut keeps what was synced. Of the
rest it keeps any: of the names the first so many, for a journal keeps their order; of a file's writes none, all, or a
choice of them in any order, one torn at any byte. A file's own sync does not count for its name.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat,?open,write,pwrite64,writev,fsync,fdatasync,?rename,renameat,renameat2,?unlink,unlinkat,ftruncate,?link,"
    "linkat,sendto"
)
LINE = re.compile(r"(\d+\.\d+) (\w+)\((.*?)(?:\) += (\?|-?\w+).*| <unfinished \.\.\.>.*)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
PLACE = re.compile(r"(?:AT_FDCWD|(\d+))<((?:\\x[0-9a-f]{2})*)>")
SHARED_MEMORY = "-shm"  # SQLite's index of its log: made anew by whoever opens the gallery first


def has_strace() -> bool:
    """Say whether programs can be watched here."""
    if shutil.which("strace") is None:
        return False
    probe = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def watched(command: Sequence[str], log: Path, *, aside: bool = False) -> list[str]:
    """Return a command that writes its calls to LOG.pid files.

    `aside`: the process that is started is the program, and strace its grandchild, so that signals reach the program.
    """
    options = ["-ff", "-ttt", "-y", "-xx", "-s", "1000000", "-qq", "--seccomp-bpf", "-f"]
    return ["strace", *options, *["-D"][: int(aside)], "-e", f"trace={CALLS}", "-o", str(log), *command]


def tracer_of(pid: int) -> int:
    """Return the process that watches another, 0 for none."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(next(line for line in text.splitlines() if line.startswith("TracerPid")).split()[1])


def await_end(pid: int, patience_s: float = 10) -> None:
    """Wait until strace has written the last calls of a program that was killed."""
    until_s = time.monotonic() + patience_s
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z":
            if time.monotonic() > until_s:
                raise TimeoutError(f"strace {pid} still writes after {patience_s:g} s")
            time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Call:
    """One system call; `texts` are its quoted arguments, `places` its descriptors' paths, `done` its result."""

    at_s: float
    name: str
    words: str
    places: tuple[str, ...]
    texts: tuple[bytes, ...]
    done: int | None  # None: the program was killed in it


def read_calls(log: Path, folder: Path) -> list[Call]:
    """Return in order the calls about a folder, and every message and output that names no file."""
    found: list[Call] = []
    mark = "".join(f"\\x{byte:02x}" for byte in str(folder).encode())
    for path in log.parent.glob(f"{log.name}.*"):
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            parts = LINE.fullmatch(line)
            if parts and (mark in line or parts[2] == "sendto" or parts[3].startswith("1<")):
                found.append(_call(parts))
    return sorted(found, key=lambda call: call.at_s)


def _call(parts: re.Match[str]) -> Call:
    words, result = parts[3], parts[4]
    places = tuple(_bytes(each[2]).decode() for each in PLACE.finditer(words))
    texts = tuple(_bytes(each[1]) for each in TEXT.finditer(words))
    done = None if result in (None, "?") else int(result, 0)
    return Call(float(parts[1]), parts[2], words, places, texts, done)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass(eq=False, slots=True)
class File:
    """A file on the model disk: what was synced last, and the writes since (offset, bytes; None cuts it there)."""

    synced: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)

    def now(self) -> bytes:
        return self.with_writes(self.since)

    def with_writes(self, writes: Sequence[tuple[int, bytes | None]]) -> bytes:
        data = bytearray(self.synced)
        for offset, piece in writes:
            if len(data) < offset:
                data.extend(bytes(offset - len(data)))
            if piece is None:
                del data[offset:]
            else:
                data[offset : offset + len(piece)] = piece
        return bytes(data)

    def sync(self) -> None:
        self.synced, self.since = self.now(), []

    def cut(self, rng: random.Random) -> bytes:
        """Return what may be left of it."""
        kept = [each for each in self.since if rng.random() < rng.choice((0.2, 0.5, 1.0))]
        if kept and rng.random() < 0.7:
            place = rng.randrange(len(kept))
            offset, piece = kept[place]
            kept[place] = (offset, piece[: rng.randrange(len(piece) + 1)] if piece else piece)
        return self.with_writes(kept)


class Disk:
    """The model of one folder; `play` it, and `cut` it where the power goes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        there = {path.name: File(path.read_bytes()) for path in _files(folder)}
        self._names, self._synced_names = there, dict(there)
        self._renames: list[dict[str, File | None]] = []  # since the folder's last sync
        self._position: dict[str, int] = {}  # of the last file opened by a name: programs here write in order

    def play(self, call: Call) -> bool:
        """Do what a call did, and say whether that changed what a cut may leave."""
        if call.name in ("fsync", "fdatasync"):
            return call.done == 0 and self._sync(call.places[0])
        if call.name in ("openat", "open"):
            return self._open(call)
        if call.name in ("write", "pwrite64", "writev", "ftruncate"):
            return self._write(call)
        if call.name.startswith(("rename", "link", "unlink")):
            return call.done in (0, None) and self._name(call)
        return False

    def cut(self, rng: random.Random, keep: str = "any") -> dict[str, bytes]:
        """Return the files after a cut: `none` of what was not synced, `all` of it, or `any`."""
        names = dict(self._synced_names)
        renames = {"none": 0, "all": len(self._renames)}.get(keep, rng.randrange(len(self._renames) + 1))
        for change in self._renames[:renames]:
            _apply(names, change)
        content = {"none": lambda file: file.synced, "all": File.now}.get(keep, lambda file: file.cut(rng))
        return {name: content(file) for name, file in names.items() if not name.endswith(SHARED_MEMORY)}

    def _own(self, path: str) -> str | None:
        """Return the name of a file in the folder, None for any other."""
        place = Path(path)
        return place.name if place.parent == self.folder else None

    def _sync(self, path: str) -> bool:
        name = self._own(path)
        if path == str(self.folder):
            self._synced_names, self._renames = dict(self._names), []
        elif name in self._names:
            self._names[name].sync()
        return True

    def _open(self, call: Call) -> bool:
        name = self._own(call.texts[0].decode()) if call.texts and call.done != -1 else None
        if name is None or "O_DIRECTORY" in call.words:
            return False
        if name not in self._names and "O_CREAT" in call.words:
            self._change({name: File()})
        elif name in self._names and "O_TRUNC" in call.words:
            self._names[name].since.append((0, None))
        if name in self._names:
            self._position[name] = len(self._names[name].now()) if "O_APPEND" in call.words else 0
        return "O_CREAT" in call.words

    def _write(self, call: Call) -> bool:
        name = self._own(call.places[0]) if call.places else None
        if name is None or name not in self._names or call.done == -1:
            return False
        file, last = self._names[name], call.words.rpartition(", ")[2]
        if call.name == "ftruncate":
            size = int(last)
            file.since += [(size, b""), (size, None)]
            return True
        data = b"".join(call.texts)[: call.done]
        offset = int(last) if call.name == "pwrite64" else self._position.get(name, 0)
        if call.name != "pwrite64":
            self._position[name] = offset + len(data)
        file.since.append((offset, data))
        return True

    def _name(self, call: Call) -> bool:
        names = [self._own(text.decode()) for text in call.texts]
        file = self._names.get(names[0]) if names and names[0] else None
        if file is None or names[0] is None:
            return False
        change: dict[str, File | None] = {} if call.name.startswith("link") else {names[0]: None}
        if len(names) > 1 and names[1]:
            change[names[1]] = file
        self._change(change)
        return True

    def _change(self, change: dict[str, File | None]) -> None:
        _apply(self._names, change)
        self._renames.append(change)


def _apply(names: dict[str, File], change: dict[str, File | None]) -> None:
    for name, file in change.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def put_back(folder: Path, files: dict[str, bytes]) -> None:
    """Let a folder hold exactly these files."""
    for path in _files(folder):
        path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
