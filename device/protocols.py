"""What the pipeline expects of its adapters; tests hand in `create_autospec(Protocol, instance=True)` or real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from device.types import AlignedFace, Embedding, FaceDetection, Frame, Image


class Closable(Protocol):
    def close(self) -> None: ...


class Camera(Protocol):
    @property
    def name(self) -> str:
        """The source as it may be printed: without a password."""
        ...

    @property
    def live(self) -> bool:
        """True: frames are taken now, and their age is real; False: a recording with its own time."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Yield the newest frame each time; end with a file's end, raise CameraLost when the source fails."""
        ...

    def close(self) -> None: ...


class Detector(Protocol):
    def detect(self, image: Image) -> list[FaceDetection]:
        """Return the faces of an (H, W, 3) uint8 RGB image, best score first."""
        ...

    def close(self) -> None: ...


class Aligner(Protocol):
    def align(self, image: Image, detection: FaceDetection) -> AlignedFace: ...

    def is_upright(self, image: Image, detection: FaceDetection, face: AlignedFace) -> bool:
        """Say whether the aligned face of a detection stands upright, and not on its head."""
        ...


class LivenessScorer(Protocol):
    @property
    def unsure(self) -> float:
        """A score at or above it is live."""
        ...

    @property
    def attack(self) -> float:
        """A score below it is refused; between the two a challenge decides."""
        ...

    def score(self, image: Image, box: tuple[float, float, float, float]) -> float | None:
        """Return how live the face in a detector's box (x, y, width, height) px looks, in [0, 1]; 1 is live."""
        ...


class Embedder(Protocol):
    @property
    def model_id(self) -> str: ...

    def embed(self, face: Image) -> Embedding:
        """Return the L2-normalized embedding of an aligned face, (S, S, 3) uint8 RGB, S the model's."""
        ...


class Lock(Protocol):
    on_change: Callable[[bool], None] | None
    """Told of each change of the bolt, True is locked."""

    @property
    def is_locked(self) -> bool | None:
        """True locked, False unlocked, None when the pin cannot be read."""
        ...

    def check(self) -> None:
        """Raise LockError when the last relock failed."""
        ...

    def unlock(self, frame_at_s: float | None = None) -> None:
        """Unlock for one pulse; a second call while unlocked starts the pulse anew, never stacks.

        `frame_at_s` is when the frame behind it was taken, None is now: a lock process refuses old ones.
        """
        ...

    def lock(self) -> None:
        """Lock now, whatever was going on."""
        ...

    def close(self) -> None:
        """Lock, then give the pin back."""
        ...


class DoorReport(Protocol):
    """What others may know of the door: a state and the alarms of device/lock/door.py, as words."""

    @property
    def door(self) -> str: ...

    @property
    def alarms(self) -> frozenset[str]: ...


class Front(Lock, Protocol):
    """The bolt and what belongs to it at the door: signals to people, keys, news."""

    on_news: Callable[[str, dict[str, Any]], None] | None
    """Told of the door, its alarms and what is amiss, each as a status event and its fields."""
    on_key: Callable[[str], None] | None
    """Told of each key of the keypad."""

    @property
    def report(self) -> DoorReport:
        """The door and its alarms, as far as they are known."""
        ...

    def open_from_outside(self) -> None:
        """Unlock for somebody elsewhere; raise LockRefused where that is not configured, or too often."""
        ...

    def signal(self, name: str) -> None:
        """Play a pattern of wire.py, or raise the silent alarm; raise LockRefused when it came too late."""
        ...
