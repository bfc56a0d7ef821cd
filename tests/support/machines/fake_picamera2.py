"""A double of picamera2 with the surface that is used of it."""

from __future__ import annotations

import contextlib
import time
from types import MappingProxyType, SimpleNamespace

import numpy as np


class FakePicamera2:
    camera_controls = MappingProxyType(dict.fromkeys(("AfMode", "ExposureTime", "FrameDurationLimits")))
    given_format, given_stride = "BGR888", 3 * 64
    buffer = staticmethod(lambda: np.full((48, 64, 3), (255, 0, 0), np.uint8).reshape(-1))
    on_request = None

    def __init__(self, index):
        if index > 0:
            raise RuntimeError(f'No camera number {index} found - use "rpicam-hello --list-cameras"')
        self.log = []
        self.held = 0
        FakePicamera2.last = self

    def create_video_configuration(self, *, main, controls, queue):
        return {"main": main, "controls": controls, "queue": queue}

    def configure(self, configuration):
        self.configuration = configuration

    def camera_configuration(self):
        given = {"format": self.given_format, "stride": self.given_stride}
        return {"main": {**self.configuration["main"], **given}}

    def start(self):
        self.log.append("start")

    def close(self):
        self.log.append("close")

    @contextlib.contextmanager
    def captured_request(self, wait=None, flush=None):
        self.held += 1
        try:
            if self.on_request is not None:
                self.on_request()
            time.sleep(0.005)
            taken_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 40_000_000
            yield SimpleNamespace(
                make_buffer=lambda stream: self.buffer(),
                get_metadata=lambda: {"SensorTimestamp": taken_ns},
            )
        finally:
            self.held -= 1
