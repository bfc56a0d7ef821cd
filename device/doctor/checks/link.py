"""The link: does it run, what does the broker say, and how old is the keeper's word?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

from device.access.clock import Clock
from device.access.keeping import Keeping, keeping
from device.access.lease import PIN_AFTER, REFUSED_AFTER, Lease
from device.build import open_any_gallery
from device.desk.credentials import FOLDER, SOON, Access
from device.desk.wire import CONNECTED, CONNECTING, LINKS, LOST, REFUSED, UNREACHABLE, UNTRUSTED
from device.doctor.checks.visits import last_heartbeat
from device.doctor.examination import Setup, unseen
from device.doctor.finding import Finding, green, red, yellow
from device.doctor.host import Host
from device.errors import FaceUnlockError
from device.paths import expand

NAME = "link"
LOG = "journalctl -u face-unlock-link -n 20 --no-pager"
JOIN = (
    "at the keeper: face-unlock fleet revoke-door and add-door; here: face-unlock fleet join "
    "(docs/owner/many_doors.md)"
)
ADVICE = {
    CONNECTING: f"wait a minute; then see {LOG}",
    UNREACHABLE: f"check that the broker runs, its address and the network; see {LOG}",
    UNTRUSTED: f"see {LOG} for the cause: set the clock, or face-unlock fleet renew at the keeper",
    REFUSED: f"see {LOG} for the cause; {JOIN}",
    LOST: f"see {LOG}",
}


def check(setup: Setup) -> Iterator[Finding]:
    """Say how far this door is from its broker and its keeper; without either it opens for who was enrolled at it."""
    link = setup.config.link
    if not link.socket:
        yield green(NAME, "none: this door is alone")
        return
    yield from process(setup.host, expand(link.socket))
    yield from broker(setup.host)
    yield from certificate(setup.host, link.name)
    yield from keeper(setup)


def process(host: Host, address: Path) -> Iterator[Finding]:
    """Say whether the link listens, and whether door and fleet are there."""
    is_listening, is_connected = host.socket(address)
    if not is_listening:
        advice = f"sudo systemctl enable --now face-unlock-link; see {LOG}"
        yield yellow(NAME, f"the link does not run: nobody listens at {address}", advice)
    elif not is_connected:
        yield yellow(
            NAME, "the link runs, but no door is connected to it", "sudo systemctl restart face-unlock"
        )
    else:
        yield green(NAME, "the link runs, and is connected")


def broker(host: Host) -> Iterator[Finding]:
    """Say what the door's last heartbeat said of the broker; nothing where that is not to be seen."""
    beat = last_heartbeat(host)
    if beat is None or beat.link not in LINKS:
        return
    said = f"{LINKS[beat.link]} ({beat.age_s:.0f} s ago)"
    if beat.link == CONNECTED:
        yield green(NAME, said)
    elif beat.link in ADVICE:
        yield yellow(NAME, said, ADVICE[beat.link])


def certificate(host: Host, door: str) -> Iterator[Finding]:
    """Say for whom and how long the link's certificate is good."""
    folder = next(
        (
            Path(found)
            for each in host.processes()
            if (found := each.option("--folder")) and each.runs("device.link")
        ),
        FOLDER,
    )
    try:
        access = Access.read(folder)
    except FaceUnlockError as error:
        if isinstance(error.__context__, PermissionError):
            yield unseen(NAME, f"{folder}: may not be read by this user")
        else:
            yield yellow(NAME, *str(error).rsplit(": ", 1))
        return
    if access.user != door:
        text = f"its certificate is of door {access.user!r}, and link.name is {door!r}: nothing is told or obeyed"
        yield yellow(NAME, text, f'set link.name = "{access.user}", or join as {door!r}')
    if access.ends is None:
        return
    left, day = access.ends - datetime.now(timezone.utc), f"{access.ends:%Y-%m-%d}"
    if left < timedelta(0):
        yield yellow(NAME, f"its certificate ended on {day}, or this board's clock is wrong", JOIN)
    elif left < SOON:
        yield yellow(NAME, f"its certificate ends on {day}", JOIN)
    else:
        yield green(NAME, f"its certificate is good until {day}")


def keeper(setup: Setup) -> Iterator[Finding]:
    """Say how old the keeper's word is, and who depends on it."""
    try:
        with closing(open_any_gallery(setup.config, read_only=True)) as gallery:
            given = {name: each.fleet_id for name, each in gallery.profiles().items() if each.fleet_id}
            known, people = keeping(gallery.fleet("member"), given.values()), sorted(given)
    except FaceUnlockError:  # the gallery has a line of its own
        return
    if known is not None:
        yield judge(known, people, Clock(setup.config.policy.require_time_sync).now())


def judge(known: Keeping, people: list[str], now: datetime | None) -> Finding:
    """Return the finding of a keeper's word at a time; None: the clock is not set."""
    listed, lease = ", ".join(people), known.lease(now)
    advice = "face-unlock fleet push at the keeper; here: systemctl status face-unlock-fleet face-unlock-link"
    if lease is Lease.HOLDS or known.renewed is None or not people:
        text = f"the keeper: {known.line}"
        if not known.why and known.renewed is not None:
            return green(NAME, text)
        return yellow(NAME, text, "face-unlock fleet status at the keeper says why; then push")
    if now is None:
        return yellow(NAME, f"the clock is not set: asked for the PIN: {listed}", "see the line of the clock")
    if now < known.renewed:
        ahead = f"the keeper signed at {known.renewed:%Y-%m-%d %H:%M} UTC, which is still to come"
        set_it = "set the clock of the keeper, or of this board; then face-unlock fleet push"
        return yellow(NAME, f"{ahead}: asked for the PIN: {listed}", set_it)
    if lease is Lease.OVER:
        days = f"for {REFUSED_AFTER.days} days nothing came from the keeper"
        return red(NAME, f"{days}: refused: {listed}", advice)
    days = f"for {PIN_AFTER.days} days nothing came from the keeper"
    return yellow(NAME, f"{days}: asked for the PIN: {listed}", advice)
