"""Several doors with the same people: the keeper's programs, and what is done once at each door.

at the keeper, in whose gallery everybody is enrolled (docs/owner/many_doors.md):
python scripts/fleet.py init --host BROKER       keys, certificates, and what the broker and Home Assistant need
python scripts/fleet.py renew [--host BROKER]    the same certificates and files anew, or for another address
python scripts/fleet.py add-door front           writes front.door: carry it there, then delete it
python scripts/fleet.py give alice front back    alice may use these doors; `take` is its opposite
python scripts/fleet.py push                     sign, seal, lay down at the broker, and wait for the doors
python scripts/fleet.py status                   a table of the doors; 1 where one is not in sync
python scripts/fleet.py revoke-door front        it was stolen or sold
python scripts/fleet.py viewer anna              writes anna.p12: whoever has it may look at the doors' status pages
python scripts/fleet.py revoke-viewer anna       she may no longer
python scripts/fleet.py rotate                   sign with a new key from now on, then push
python scripts/fleet.py take-in alice.person     enroll whom a second admin submitted

at a door:
sudo python scripts/fleet.py join front.door     once
python scripts/fleet.py submit alice             writes alice.person for the keeper
python scripts/fleet.py code                     the line of the configuration that lets a code open from outside
python scripts/fleet.py switch-off [NAME]        keep everybody's face out at this door, or one person's
python scripts/fleet.py switch-on [NAME]         faces that were switched off, here or from outside
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from device.access.pin import hash_pin
from device.build import (
    build_audit,
    build_judge,
    build_switches,
    open_any_gallery,
)
from device.command import owner_command
from device.config import Config
from device.desk.credentials import ADDRESS, FOLDER, is_host
from device.desk.wire import FACE_OFF, FACE_ON, PERSON_OFF, PERSON_ON
from device.errors import GalleryError, LinkError, UsageError
from device.fleet import submission
from device.fleet.authority import utc_now
from device.fleet.folder import (
    read_bundle,
    write,
    write_client,
    write_page,
    write_viewer,
)
from device.fleet.keeper import HOME, Keeper
from device.fleet.office import Office, acks_of, dated, rows_of
from device.fleet.table import people, progress, table
from device.programs import Parser, ask_secret, check_told, complain, configured, run, stop_signals_raise
from device.vault.files import replace_private

PAGE_FOLDER = Path("/var/lib/face-unlock-page")  # of face-unlock-page-tls.service
PORT, LONGEST_WAIT_S = 8883, 3_600


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    return run("fleet", lambda: act(parse(arguments)))


def command_line() -> Parser:
    parser = Parser(prog="fleet.py", description="The same people at several doors.")
    purposes = "; ".join(f"{name}: {purpose}" for name, (purpose, _, _, _) in COMMANDS.items())
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=purposes)
    parser.add_argument("names", nargs="*", metavar="NAME", help="door, file, or person and doors")
    parser.add_argument(
        "--host", metavar="HOST", help="init, renew: the broker's address, as doors will reach it"
    )
    parser.add_argument("--port", type=int, metavar="N", help=f"init, renew: its port ({PORT})")
    parser.add_argument(
        "--wait", type=float, default=30.0, metavar="S", help="push: for the doors' answers (30)"
    )
    parser.add_argument(
        "--overtake", action="store_true", help="push: lead on after a restore, or against another keeper"
    )
    parser.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="add-door: by which browsers reach its status page, beside NAME and NAME.local; may be repeated",
    )
    parser.add_argument(
        "--page-folder",
        type=Path,
        default=PAGE_FOLDER,
        metavar="DIR",
        help=f"join: the status page's ({PAGE_FOLDER})",
    )
    parser.add_argument(
        "--link-folder",
        type=Path,
        default=FOLDER,
        metavar="DIR",
        help=f"join: the link's ({FOLDER})",
    )
    parser.share("--gallery", "--model", "--config")
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line; each command takes so many names."""
    parser = command_line()
    args = parser.parse_args(arguments)
    _, _, (least, most), takes = COMMANDS[args.command]
    parser.refuse_others(args, args.command, {"command", "names", "gallery", "model", "config", *takes})
    if not least <= len(args.names) <= most:
        expected = f"{least} to {most}" if most < MANY else f"at least {least}"
        parser.error(f"{args.command}: expected {expected} names, received {len(args.names)}")
    if args.command == "init" and args.host is None:
        parser.error("init: expected --host BROKER, received none")
    if args.host is not None and not is_host(args.host):
        parser.error(f"--host: expected a name or an IP address, received {args.host[:60]!r}")
    if args.port is not None and not 1 <= args.port <= 65535:
        parser.error(f"--port: expected 1 to 65535, received {args.port}")
    if not 0 <= args.wait <= LONGEST_WAIT_S:
        parser.error(f"--wait: expected 0 to {LONGEST_WAIT_S} seconds, received {args.wait:g}")
    return args


def act(args: argparse.Namespace) -> int:
    with stop_signals_raise():
        return COMMANDS[args.command][1](configured(args), args)


def init(config: Config, args: argparse.Namespace) -> int:
    """Make the keeper's keys, the authority, and what broker and Home Assistant need."""
    with Office(config) as office:
        Keeper.found(office.gallery, office.model_id, args.host, args.port or PORT, dated())
        office.hand_out()
    print("  (systemd/mosquitto/README.md has the commands)")
    print(f"  {owner_command('fleet add-door NAME')}, for each door")
    return 0


def renew(config: Config, args: argparse.Namespace) -> int:
    """Write certificates and files anew: they were lost, are old, or the broker has another address."""
    with Office(config) as office:
        host, port = office.keeper.address
        dated()
        office.keeper.move(args.host or host, args.port or port)
        build_audit(config, demo=False).record("fleet", reason="renewed")
        office.hand_out()
        print(f"  {office.folder / HOME}/* to Home Assistant: the certificate it has is refused from then on")
    if (args.host or host, args.port or port) != (host, port):
        print(f"  at each door: host and port in {FOLDER}/{ADDRESS}, then restart face-unlock-link")
    return 0


def add_door(config: Config, args: argparse.Namespace) -> int:
    """Write the file of a new door."""
    [door] = args.names
    with Office(config) as office:
        path = office.folder / f"{door}.door"
        write(path, json.dumps(office.keeper.add_door(door, dated(), args.at)) + "\n")
    print(f"{path}: carry it to the door, run face-unlock fleet join {path.name} there, then delete both")
    return 0


def revoke_door(config: Config, args: argparse.Namespace) -> int:
    """Take everything away that lies at the broker for a door, and let the broker refuse it."""
    [door] = args.names
    with Office(config) as office:
        keeper = office.keeper
        keeper.revoke_door(door)
        build_audit(config, demo=False).record("fleet", reason="revoked", door=door)
        revoked = office.write_revoked()
        print(
            f"{door}: revoked. Its certificate is refused once {revoked} lies at the broker, and that was restarted:"
        )
        print(f"  sudo cp {revoked} /etc/mosquitto/face-unlock/ && sudo systemctl restart mosquitto")
        (office.folder / f"{door}.door").unlink(missing_ok=True)
        try:
            with office.post() as post:
                post.collect()
                post.clear(door, whole=True)
        except LinkError as fault:
            raise LinkError(f"{fault}; the next push takes away what lies there for {door}") from None
    print(f"{door}: nothing lies at the broker for it any more")
    return 0


def viewer(config: Config, args: argparse.Namespace) -> int:
    """Write what lets a person look at the doors' status pages, and print its password once."""
    [name] = args.names
    with Office(config) as office:
        path, password = office.folder / f"{name}.p12", secrets.token_urlsafe(12)
        write_viewer(path, name, office.keeper.authority, office.keeper.add_viewer(name, utc_now()), password)
    print(f"{path}: take it into {name}'s browser, with the password {password}, then delete it")
    return 0


def revoke_viewer(config: Config, args: argparse.Namespace) -> int:
    """Let the doors refuse a viewer, once they have the list."""
    [name] = args.names
    with Office(config) as office:
        office.keeper.revoke_viewer(name)
        revoked = office.write_revoked()
    print(f"{name}: revoked. A door refuses that certificate once {revoked} lies in its {PAGE_FOLDER}:")
    print(f"  sudo install -o face-unlock-page -m 600 revoked.pem {PAGE_FOLDER}")
    print("  sudo systemctl stop face-unlock-page-tls.service")
    return 0


def give(config: Config, args: argparse.Namespace) -> int:
    """Let a person use doors."""
    return assign(config, args.names, gives=True)


def take(config: Config, args: argparse.Namespace) -> int:
    """Let a person use doors no longer."""
    return assign(config, args.names, gives=False)


def assign(config: Config, names: list[str], *, gives: bool) -> int:
    person, *doors = names
    with Office(config) as office:
        office.keeper.assign(person, doors, gives=gives)
        alias, audit = office.gallery.profile(person).alias, build_audit(config, demo=False)
    for door in doors:
        audit.record("fleet", reason="given" if gives else "taken", subject=alias, door=door)
    print(f"{person}: {'given to' if gives else 'taken from'} {', '.join(doors)}; push tells the doors")
    return 0


def push(config: Config, args: argparse.Namespace) -> int:
    """Lay down what each door is to have, and show how far they come; 1 where one did not arrive.

    A door for which nothing can be signed, as a stolen one could bring about, keeps nothing from the others.
    """
    with Office(config) as office, office.post() as post:
        keeper, audit = office.keeper, build_audit(config, demo=False)
        doors, code = [], 0
        for door in args.names or keeper.doors:
            keeper.sequence(door)  # it is one
        post.collect()
        post.clear_others(keeper.doors)
        acks = acks_of(keeper, post)
        for door in args.names or keeper.doors:
            try:
                letters = keeper.letters(door, acks, dated(), overtake=args.overtake, lies=post.lies(door))
            except (UsageError, GalleryError) as fault:
                complain(f"fleet: {fault}")
                code = fault.exit_code
                continue
            post.lay(door, letters)
            doors.append(door)
            laid = people(len(keeper.people_at(door)))
            print(f"{door}: manifest {keeper.sequence(door)}, {laid}, laid down")
            audit.record("fleet", reason="pushed", door=door, count=keeper.sequence(door))
        told = dict.fromkeys(doors, "")
        for _ in post.listen(args.wait if doors else 0.0):
            rows = rows_of(keeper, post, doors)
            for row in rows:
                if told[row.door] != progress(row) and row.ack and row.ack.seen >= row.sequence:
                    told[row.door] = progress(row)
                    print(f"  {progress(row)}", flush=True)
            if all(row.in_sync for row in rows):
                return code
        missing = [row.door for row in rows_of(keeper, post, doors) if not row.in_sync]
    if missing:
        print(
            f"not in sync yet: {', '.join(missing)}: it lies at the broker, and they take it when they are back"
        )
    return code or int(bool(missing))


def status(config: Config, args: argparse.Namespace) -> int:
    """Print the doors; 1 where one is not in sync."""
    with Office(config) as office, office.post() as post:
        post.collect()
        rows = rows_of(office.keeper, post, office.keeper.doors)
    print(table(rows, utc_now()))
    check_told()
    return 0 if all(row.in_sync for row in rows) else 1


def take_in(config: Config, args: argparse.Namespace) -> int:
    """Enroll whom a second admin enrolled at a door."""
    path = Path(args.names[0])
    with Office(config) as office:
        judge = build_judge(config, office.gallery, office.manifest)
        data = submission.read(path)
        door, name = submission.take_in(office.gallery, office.keeper, data, office.model_id, judge)
        alias, count = office.gallery.profile(name).alias, len(office.gallery.templates(name))
    build_audit(config, demo=False).record("enrolled", subject=alias, templates=count)
    print(f"{name}: enrolled here, {count} templates from door {door}. Give them doors, then push;")
    print(f"  at {door}: face-unlock remove {name} first, for a name that is taken there stays as it is")
    return 0


def rotate(config: Config, args: argparse.Namespace) -> int:
    """Sign with a new key from now on."""
    with Office(config) as office:
        office.keeper.rotate()
    build_audit(config, demo=False).record("fleet", reason="keeper_key")
    print("a new key signs from now on: push, and each door follows, also one that is away for long")
    return 0


def join(config: Config, args: argparse.Namespace) -> int:
    """Make this board a door of the fleet; its gallery is made where there is none."""
    bundle = read_bundle(Path(args.names[0]))
    door = bundle["member"]["door"]
    with open_any_gallery(config, read_only=False) as gallery:
        gallery.change_fleet("member", lambda known: joined(known, bundle["member"]))
    write_client(args.link_folder, bundle["access"])
    if bundle["page"] is not None:
        write_page(args.page_folder, bundle["page"])
    print(f"this board is door {door!r}. Next, in /etc/face-unlock/config.toml:\n")
    print(f'[link]\nsocket = "/run/face-unlock-link/link.sock"\nname = "{door}"\n')
    print("then sudo systemctl enable face-unlock-link face-unlock-fleet")
    print("     sudo systemctl restart face-unlock-link face-unlock-fleet face-unlock")
    return 0


def joined(known: dict[str, Any], member: dict[str, Any]) -> dict[str, Any]:
    """Return what a door is to know; one that joins twice with one file forgets nothing of what it heard."""
    return known if known.get("secret") == member["secret"] else member


def submit(config: Config, args: argparse.Namespace) -> int:
    """Write a person of this door for the keeper."""
    [name] = args.names
    with Office(config) as office:
        data = submission.submit(office.gallery, name, office.model_id)
    path = Path(f"{name}.person").absolute()
    replace_private(path, data)
    print(f"{path}: carry it to the keeper, run face-unlock fleet take-in there; nobody else can open it")
    return 0


def code(config: Config, args: argparse.Namespace) -> int:
    """Print the line of the configuration that lets a code open from outside."""
    pin = ask_secret("code", twice=True, instead="the code in one line of stdin")
    print(f'open_code = "{hash_pin(pin)}"')
    check_told()
    return 0


def switch(config: Config, args: argparse.Namespace) -> int:
    """Switch faces off at this door, or on again: everybody's, or one person's."""
    alias, is_on = "", args.command == "switch-on"
    if args.names:
        with open_any_gallery(config, read_only=True) as gallery:
            alias = gallery.profile(args.names[0]).alias
    deed = (PERSON_ON if is_on else PERSON_OFF) if alias else (FACE_ON if is_on else FACE_OFF)
    if refusal := build_switches(config).turn(deed, alias):
        raise LinkError(f"the switch cannot be stored: {refusal}: check the disk")
    build_audit(config, demo=False).record("switched", reason=deed, subject=alias or None)
    print(f"{args.names[0] if args.names else 'faces'}: {'on' if is_on else 'off'}")
    return 0


MANY = 1_000
Deed = Callable[[Config, argparse.Namespace], int]
# Of each command: what it does, who does it, how many names it takes at least and at most, and its options by `dest`.
COMMANDS: dict[str, tuple[str, Deed, tuple[int, int], set[str]]] = {
    "init": ("keys, certificates, what the broker needs", init, (0, 0), {"host", "port"}),
    "renew": ("certificates and files anew", renew, (0, 0), {"host", "port"}),
    "add-door": ("write the file of a new door", add_door, (1, 1), {"at"}),
    "revoke-door": ("a door was stolen or sold", revoke_door, (1, 1), set()),
    "viewer": ("somebody may look at status pages", viewer, (1, 1), set()),
    "revoke-viewer": ("somebody may look no longer", revoke_viewer, (1, 1), set()),
    "give": ("a person may use doors", give, (2, MANY), set()),
    "take": ("a person may use doors no longer", take, (2, MANY), set()),
    "push": ("tell the doors, or some of them", push, (0, MANY), {"overtake", "wait"}),
    "status": ("a table of the doors", status, (0, 0), set()),
    "rotate": ("sign with a new key", rotate, (0, 0), set()),
    "take-in": ("enroll whom a door submitted", take_in, (1, 1), set()),
    "join": ("at a door: make it one of the fleet", join, (1, 1), {"link_folder", "page_folder"}),
    "submit": ("at a door: a person for the keeper", submit, (1, 1), set()),
    "code": ("at a door: a code that opens from outside", code, (0, 0), set()),
    "switch-off": ("at a door: keep faces out", switch, (0, 1), set()),
    "switch-on": ("at a door: faces that were switched off", switch, (0, 1), set()),
}

if __name__ == "__main__":
    sys.exit(main())
