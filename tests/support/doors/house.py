"""A house of several doors, a keeper and their broker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from device.access.lease import Lease
from device.access.profile import Profile
from device.build import build_gallery
from device.config import Config, load_config
from device.gallery.gallery import Gallery
from device.vision.embed import load_manifest
from scripts import fleet
from tests.support.checkout import ROOT
from tests.support.machines.broker import Mosquitto
from tests.support.machines.linked_door import LinkProcess
from tests.support.tiny_model import DATA, DIMENSION

TINY = str(DATA / "tiny.json")


def face(number: int) -> np.ndarray:
    """Return two templates of one made-up person, who looks like nobody else."""
    rows = np.zeros((2, DIMENSION), np.float32)
    rows[:, number % DIMENSION] = 1.0
    return rows


class Site:
    """One board: a folder with a configuration and a gallery."""

    def __init__(self, folder: Path, name: str, model: str = TINY) -> None:
        self.folder, self.name = folder, name
        folder.mkdir()
        self.address, self.link_folder = folder / "link.sock", folder / "link"
        self.page_folder = folder / "page"
        self.toml = folder / "config.toml"
        self.gallery_path = folder / "gallery.db"
        self.configure(model)

    def configure(self, model: str = TINY) -> None:
        link = f'[link]\nsocket = "{self.address}"\nname = "{self.name}"\n'
        self.toml.write_text(f'model = "{model}"\ngallery = "{self.gallery_path}"\n{link}')

    @property
    def config(self) -> Config:
        return load_config(self.toml)

    def open(self) -> Gallery:
        config = self.config
        return build_gallery(config, load_manifest(Path(config.model)), read_only=False)

    def enroll(self, name: str, number: int = 0, **about: object) -> None:
        with self.open() as gallery:
            gallery.enroll(name, face(number), replace=True, profile=Profile(**about) if about else None)

    def people(self) -> list[str]:
        with self.open() as gallery:
            return [subject.subject_id for subject in gallery.subjects()]

    def lease(self, name: str, now: datetime | None = None) -> Lease:
        with self.open() as gallery:
            return gallery.lease(gallery.profile(name), now or datetime.now(timezone.utc))

    def run(self, *arguments: str) -> int:
        return fleet.main([*arguments, "--config", str(self.toml)])

    def join(self, bundle: Path) -> int:
        """Become a door of the fleet, with every file in this board's folder."""
        folders = ("--link-folder", str(self.link_folder), "--page-folder", str(self.page_folder))
        return self.run("join", str(bundle), *folders)


class Board(Site):
    """A door with its two processes."""

    link: LinkProcess | None = None
    process: subprocess.Popen[str] | None = None

    def start(self, mosquitto: Mosquitto) -> None:
        door = SimpleNamespace(folder=self.folder, name=self.name, address=self.address)
        self.link = LinkProcess(door, mosquitto, own=self.link_folder)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "device.fleet", "--config", str(self.toml)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def end(self, number: int = signal.SIGTERM) -> None:
        for process in (self.process, self.link and self.link.process):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(number)
                process.wait(timeout=240)


class House:
    """A keeper, a broker, and doors."""

    def __init__(self, folder: Path, *doors: str) -> None:
        self.folder = folder
        self.keeper = Site(folder / "keeper", "keeper")
        self.boards: dict[str, Board] = {}
        assert self.keeper.run("init", "--host", "127.0.0.1") == 0
        with self.keeper.open() as gallery:
            self.mosquitto = Mosquitto(folder / "broker", fleet.Keeper(gallery, "tiny").authority)
            port = self.mosquitto.port
            gallery.change_fleet("keeper", lambda known: {**known, "port": port})
        self.mosquitto.start()
        own = self.keeper.folder / "gallery.db.fleet/keeper/link.json"
        own.write_text(json.dumps({"host": "127.0.0.1", "port": self.mosquitto.port, "user": "keeper"}))
        for door in doors:
            self.add(door)

    def add(self, door: str, model: str = TINY) -> Board:
        assert self.keeper.run("add-door", door) == 0
        board = self.boards[door] = Board(self.folder / door, door, model)
        bundle = self.keeper.folder / f"gallery.db.fleet/{door}.door"
        assert board.join(bundle) == 0
        board.start(self.mosquitto)
        return board

    def push(self, *arguments: str, wait_s: float = 180) -> int:
        return self.keeper.run("push", *arguments, "--wait", str(wait_s))

    def end(self) -> None:
        for board in self.boards.values():
            board.end()
        self.mosquitto.end()
