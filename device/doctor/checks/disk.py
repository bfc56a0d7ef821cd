"""The disk: room for the audit and the gallery, and whether it can be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from device.doctor.examination import Setup
from device.doctor.finding import Finding, green, red, yellow

NAME = "disk"
LITTLE_MB, NONE_MB = 100.0, 5.0


def check(setup: Setup) -> Iterator[Finding]:
    """Say how much room is left where gallery and audit lie."""
    folders = dict.fromkeys(
        existing(each.parent) for each in (setup.config.gallery_path, setup.config.audit_path)
    )
    for folder in folders:
        yield judge(folder, os.statvfs(folder), required=setup.config.audit.required)


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that there is."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(each))


def judge(folder: Path, state: os.statvfs_result, *, required: bool) -> Finding:
    """Return the finding of one folder; with `audit.required` a full disk lets nobody in."""
    free_mb, files = state.f_bavail * state.f_frsize / 1e6, state.f_favail if state.f_files else 1
    says = f"{folder}: {free_mb:,.0f} MB free"
    room = f"make room: df -h {folder}"
    if state.f_flag & os.ST_RDONLY:
        return red(
            NAME, f"{folder}: cannot be written: it is mounted read-only", "check the card; mount it anew"
        )
    if free_mb < NONE_MB or not files:
        full = f"{says}, {files} files may be made: entries cannot be recorded"
        return (
            red(NAME, f"{full}, and audit.required lets nobody in without", room)
            if required
            else yellow(NAME, full, room)
        )
    return yellow(NAME, says, room) if free_mb < LITTLE_MB else green(NAME, says)
