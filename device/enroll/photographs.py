"""Photographs in place of a camera: every usable one becomes a sample, the others are named."""

from __future__ import annotations

from pathlib import Path

from device.enroll.collector import Collector
from device.enroll.output import Output
from device.errors import EnrollmentError, UsageError
from device.vision.picture import read_picture

NO_FACE = "no face"
CROP = "no face that is large enough: crop it, so that the face fills a third of the picture"


def look_at(paths: list[Path], collector: Collector, samples: int, output: Output) -> None:
    """Take every usable photograph; name those that are not, and fail when none is.

    Raises UsageError where no file is a picture, EnrollmentError where no picture can be used.
    """
    unreadable: list[UsageError] = []
    with output.progress(samples) as show:
        for path in paths:
            # After the last sample too: a bad file is named before anything is stored.
            try:
                image = read_picture(path)
            except UsageError as fault:
                unreadable.append(fault)
                if len(paths) > 1:
                    output.warn(f"not used: {fault}")
                continue
            if collector.is_complete:
                continue
            verdict = collector.offer(image)
            show(len(collector.samples), "")
            if not verdict.accepted:
                output.warn(f"{path}: not used: {CROP if verdict.hint.startswith(NO_FACE) else verdict.hint}")
    if len(unreadable) == len(paths):
        raise unreadable[0]
    if not collector.samples:
        raise EnrollmentError(
            f"none of {len(paths)} photographs can be used ({collector.most_common_failure}): nothing was stored: "
            "take others"
        )
