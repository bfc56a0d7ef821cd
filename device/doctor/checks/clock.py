"""The clock: is it set, by whom, and who depends on it?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime

from device.access.clock import Clock, local_zone
from device.build import open_any_gallery
from device.config import Config
from device.doctor.examination import Setup
from device.doctor.finding import Finding, green, red, yellow
from device.errors import FaceUnlockError

NAME = "clock"
SET_IT = "connect the board to a time server, or a clock module with a battery (docs/how/degraded.md)"


def check(setup: Setup) -> Iterator[Finding]:
    """Say what time it is for the door, and who is kept out where it does not know."""
    now = Clock(setup.config.policy.require_time_sync).now()
    zone = local_zone()
    if now is not None:
        yield green(NAME, f"{now.astimezone():%Y-%m-%d %H:%M} {zone}, set")
        return
    shows = f"shows {datetime.now().astimezone():%Y-%m-%d %H:%M} {zone}, and nobody has confirmed that since the start"
    names = people_with_times(setup.config)
    if names:
        yield red(NAME, f"{shows}: kept out or asked for the PIN: {', '.join(names)}", SET_IT)
    else:
        yield yellow(NAME, f"{shows}; nobody's rules need it", SET_IT)


def people_with_times(config: Config) -> list[str]:
    """List whose rules or lease need the time of day; none where the gallery cannot be read."""
    try:
        with closing(open_any_gallery(config, read_only=True)) as gallery:
            profiles = gallery.profiles().items()
            return sorted(
                name for name, each in profiles if each.policy.needs_clock or each.fleet_id is not None
            )
    except FaceUnlockError:
        return []
