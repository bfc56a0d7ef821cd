"""The fleet's process at a door: takes over what the keeper gives. `python -m device.fleet --config FILE`

It has the gallery and no network: what came from the broker reaches it through the link's socket, and is believed only
where the keeper signed it. The door works without it, until the lease of synced people is over.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import time
from contextlib import ExitStack

from device import __version__
from device.access.profile import Profile
from device.build import build_audit, build_gallery, build_judge, build_usage, manifest_path
from device.config import Config
from device.desk.line import Line
from device.desk.wire import LONGEST_PACKET, Packet, pack, unpack
from device.errors import UsageError
from device.fleet.authority import utc_now
from device.fleet.member import INCOMPLETE, Member
from device.fleet.records import Ack
from device.gallery.gallery import Gallery
from device.journal.status import StatusLog, stdout_writer
from device.journal.systemd import Notifier
from device.paths import expand
from device.programs import Parser, Stopped, configured, run, stop_signals
from device.vision.embed import Manifest, load_manifest

WAIT_S = 0.2
REPORT_S = 3.0  # between two looks at what there is to answer
ASK_S, LONGEST_ASK_S = 30.0, 3_600.0  # until a set that is not whole is asked for again, and at most
SAY_S = 60.0  # between two lines that say the same: whoever sends much must not fill the log
FRESH_S = 3_600.0  # an answer is dated anew so often, so that the keeper sees that the door lives


def main(arguments: list[str] | None = None) -> int:
    """Take over until a signal, and return the exit code."""
    return run("fleet", lambda: act(command_line().parse_args(arguments)))


def command_line() -> Parser:
    parser = Parser(prog="python -m device.fleet", description="Take over the people that the keeper gives.")
    parser.share("--config", "--gallery", "--model")
    return parser


def act(args: argparse.Namespace) -> int:
    """Follow the keeper until a signal."""
    config = configured(args)
    if not config.link.socket:
        raise UsageError(
            "link.socket: expected the socket of a link, received none: see docs/owner/many_doors.md"
        )
    notifier = Notifier.from_environment(os.environ)
    status = StatusLog(writers=[stdout_writer()], demo=False)
    with ExitStack() as undo:
        undo.callback(status.close)
        manifest = load_manifest(manifest_path(config.model))
        gallery = build_gallery(config, manifest, read_only=False)
        undo.callback(gallery.close)
        member = build_member(config, gallery, manifest)
        line = Line(expand(config.link.socket), longest=LONGEST_PACKET, flood=None)
        undo.callback(line.close)
        status.event("started", version=__version__, model=manifest.model_id)
        notifier.ready(f"door {member.door} of a fleet")
        try:
            with stop_signals() as check_stop:
                follower = Follower(member, line, status)
                while True:
                    check_stop()
                    follower.wait()
                    follower.turn(time.monotonic())
                    notifier.watchdog(time.monotonic())
        except Stopped:
            notifier.stopping()
            status.event("stopping")
    return 0


def build_member(config: Config, gallery: Gallery, manifest: Manifest) -> Member:
    """Put together what follows the keeper; look-alikes among this door's own people are judged here."""
    usage = build_usage(config)

    def entries(profile: Profile) -> int:
        return usage.of(profile).entries

    return Member(
        gallery,
        config.gallery_path,
        model_id=manifest.model_id,
        judge=build_judge(config, gallery, manifest),
        audit=build_audit(config, demo=False),
        entries=entries,
        now=utc_now,
    )


class Follower:
    """Carry between a member and its line."""

    def __init__(self, member: Member, line: Line, status: StatusLog) -> None:
        self._member, self._line, self._status = member, line, status
        self._ack = member.report()
        self._told_s = self._looked_s = time.monotonic()
        self._said_s: dict[str, float] = {}  # when each refusal was said last
        self._came_s, self._ask_s = (
            float("-inf"),
            ASK_S,
        )  # when something came last; how long the rest is waited for
        line.greeting = self._greeting

    def turn(self, now_s: float) -> None:
        """Take what came, apply what is whole, answer what changed."""
        for packet in self._line.exchange():
            self._came_s = now_s
            self._take(packet)
        if count := self._member.step(now_s):
            self._status.event("fleet", reason="applied", count=count)
            self._looked_s = float("-inf")
        if now_s - self._looked_s >= REPORT_S:
            self._looked_s = now_s
            ack = self._member.report()
            self._answer(ack, now_s)
            self._ask(ack, now_s)

    def wait(self) -> None:
        """Wait a moment for what comes."""
        number = self._line.fileno()
        if number is None:
            time.sleep(WAIT_S)
        else:
            select.select([number], [], [], WAIT_S)

    def _take(self, packet: Packet) -> None:
        topic, body = packet.get("topic"), unpack(packet.get("body"))
        if not isinstance(topic, str) or body is None:
            return
        refusal = self._member.take(tuple(topic.split("/")), body)
        if refusal and time.monotonic() - self._said_s.get(refusal, float("-inf")) > SAY_S:
            self._said_s[refusal] = time.monotonic()
            self._status.event("fleet", reason=refusal)
        if self._member.is_behind:
            self._member.is_behind = False
            self._line.close()  # the link hands over everything to whoever connects

    def _answer(self, ack: Ack, now_s: float) -> None:
        """Tell link and keeper where it stands, when that changed or grew old."""
        changed = [getattr(ack, key) != getattr(self._ack, key) for key in ack.__slots__ if key != "at"]
        if any(changed) or now_s - self._told_s >= FRESH_S:
            self._ack, self._told_s = ack, now_s
            for packet in self._packets():
                self._line.put(packet)

    def _ask(self, ack: Ack, now_s: float) -> None:
        """Have all handed over once more where records were lost on the way; the link does so for whoever connects."""
        if ack.reason != INCOMPLETE:
            self._ask_s = ASK_S
        elif now_s - self._came_s >= self._ask_s and self._line.is_up:
            self._ask_s, self._came_s = min(2 * self._ask_s, LONGEST_ASK_S), now_s
            self._line.close()

    def _greeting(self) -> list[Packet]:
        self._ack = self._member.report()
        return self._packets()

    def _packets(self) -> list[Packet]:
        ack = self._ack
        told = {"kind": "fleet", "in_sync": ack.in_sync, "reason": ack.reason}
        return [told, {"kind": "ack", "body": pack(self._member.seal_ack(ack))}]


if __name__ == "__main__":
    sys.exit(main())
