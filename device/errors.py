"""The exceptions of face-unlock; each class carries the exit code of a program that it ends.

    FaceUnlockError             1   anything below, and the demo's own verdict
    ├── AuditError              1   the audit log cannot be written or read
    ├── OutputError             1   what was asked for cannot be printed; a change that was made keeps its own code
    ├── UsageError              2   an argument, a name or an image file that cannot be used
    ├── ConfigError             3   the TOML file: unknown key, wrong type, out of range
    ├── ModelError              4   a network or manifest missing, truncated or not the expected one
    ├── GalleryError            5   the gallery cannot be read or written
    │   ├── GalleryModelError   5   templates of another model than the one configured
    │   ├── GalleryKeyError     5   the key of a sealed gallery is missing, damaged, readable by others or another one
    │   │   └── GalleryBoardError 5 the key is bound to another board than this one
    │   ├── GallerySealError    5   a sealed record was swapped, changed, taken away, or the file rolled back
    │   └── GalleryChanged      5   another program changed it between what was read of it and what was to be stored
    ├── CameraError             6   the camera cannot be used at all (no such file, no backend)
    │   └── CameraLost          6   it worked and stopped; the program locks and reconnects
    ├── LockError               7   the pin cannot be claimed or driven, or the lock process is gone
    │   └── LockRefused         7   the lock process refused one command and stays; the program goes on
    ├── EnrollmentError         8   not enough good frames of exactly one face
    └── LinkError               9   the link or the fleet: no broker, no certificate, a record that is not the keeper's

Text of an error: what, received, expected, next step.
Memory that ran out is none of these: the program ends with 1, in one line, and is started anew.
Ctrl-C exits with 130; SIGTERM is a clean stop and exits with 0.
"""


class FaceUnlockError(Exception):
    """Base of every fault that the programs report in one line."""

    exit_code = 1


class AuditError(FaceUnlockError):
    """The audit log cannot be written or read."""


class OutputError(FaceUnlockError):
    """The output cannot be written, and it is all that was asked for."""


class UsageError(FaceUnlockError):
    """An argument, a subject name or an image file cannot be used."""

    exit_code = 2


class ConfigError(FaceUnlockError):
    """The configuration file has an unknown key, a wrong type or a value out of range."""

    exit_code = 3


class ModelError(FaceUnlockError):
    """A network file or its manifest is missing, damaged or not the one expected."""

    exit_code = 4


class GalleryError(FaceUnlockError):
    """The gallery file cannot be opened, read or written."""

    exit_code = 5


class GalleryModelError(GalleryError):
    """The gallery holds templates of another model than the configured one."""


class GalleryKeyError(GalleryError):
    """The key of a sealed gallery is missing, damaged, readable by others, or another one."""


class GalleryBoardError(GalleryKeyError):
    """The key of a gallery is bound to another board than the one it is read on."""


class GallerySealError(GalleryError):
    """Sealed records were swapped, changed or taken away, or the file is an older one than the last."""


class GalleryChanged(GalleryError):
    """Another program changed the gallery between what was read of it and what was to be stored."""


class CameraError(FaceUnlockError):
    """The camera source cannot be used."""

    exit_code = 6


class CameraLost(CameraError):
    """A camera that worked stopped giving frames; reconnecting may help."""


class LockError(FaceUnlockError):
    """The lock's pin cannot be claimed or driven."""

    exit_code = 7


class LockRefused(LockError):
    """The lock process refused one command; `reason` is its word for why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the lock process refused: {reason}: docs/owner/log.md says what it means")
        self.reason = reason


class EnrollmentError(FaceUnlockError):
    """Enrollment did not collect enough good frames of exactly one face."""

    exit_code = 8


class LinkError(FaceUnlockError):
    """The broker cannot be reached, a certificate is missing, or what came is not the keeper's."""

    exit_code = 9


OPENCV_NO_MEMORY = "-4:Insufficient memory"  # cv2 keeps `code` on the class, where it outlives its error


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether memory ran out: as Python says it, or as OpenCV does."""
    return isinstance(error, MemoryError) or OPENCV_NO_MEMORY in str(error)
