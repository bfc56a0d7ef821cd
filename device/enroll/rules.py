"""The flags of enroll.py that say who may enter when; `none` takes a rule back."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from device.access.pin import hash_pin, is_pin
from device.access.policy import ACCESS, Policy
from device.access.profile import Profile
from device.errors import UsageError

NONE = "none"
MAX_RETAIN_DAYS = 36_500
# flag, field of Policy, how its text is read, what it says in --help
RULES: tuple[tuple[str, str, Callable[[str], Any], str], ...] = (
    ("--hours", "hours", str, 'when, such as "Mon-Fri 08:00-18:00, Sat 10:00-14:00"'),
    ("--time-zone", "time_zone", str, "zone of hours and days, such as Europe/Berlin (default: the board's)"),
    ("--from", "valid_from", date.fromisoformat, "first valid day, YYYY-MM-DD"),
    ("--until", "valid_until", date.fromisoformat, "last valid day, YYYY-MM-DD"),
    ("--entries", "entries", int, "a guest may enter so often"),
    ("--pin-hours", "pin_hours", str, "ask for the PIN in these hours"),
    (
        "--pin-every-h",
        "pin_every_h",
        float,
        "ask for the PIN when the last one is so many hours ago, such as 72",
    ),
    ("--pin-after-failures", "pin_after_failures", int, "ask for the PIN after so many failures at the door"),
)


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who may enter when (with --name or --change)")
    for flag, field, _, text in RULES:
        group.add_argument(flag, dest=field, metavar="RULE", help=text)
    group.add_argument("--access", choices=ACCESS, help="face (default), face+pin, disabled")
    group.add_argument("--pin", action="store_true", help="set a PIN, typed here; alone it means face+pin")
    group.add_argument(
        "--duress-pin", action="store_true", help="set a PIN that opens and raises a silent alarm"
    )
    group.add_argument(
        "--retain-days", metavar="N", help="consent: forget the person for good after so many days"
    )


def changed(args: argparse.Namespace, profile: Profile, now: datetime, ask: Callable[[str], str]) -> Profile:
    """Return the profile with what the flags set; `ask` reads a PIN from whoever it belongs to."""
    given = {
        field: _read(flag, getattr(args, field), read)
        for flag, field, read, _ in RULES
        if getattr(args, field)
    }
    cleared = {field: getattr(Policy(), field) for field, value in given.items() if value is None}
    if args.access:
        given["access"] = args.access
    elif args.pin and not replace(profile.policy, **{**given, **cleared}).asks_pin:
        given["access"] = "face+pin"
    if given:
        policy = replace(profile.policy, **{**given, **cleared})
        profile = replace(profile, policy=policy, issue=secrets.token_hex(4))
    if args.retain_days is not None:
        profile = replace(profile, retain_until=_retain_until(args.retain_days, now))
    return _with_pins(args, profile, ask)


def _with_pins(args: argparse.Namespace, profile: Profile, ask: Callable[[str], str]) -> Profile:
    if args.pin:
        profile = replace(profile, pin_hash=hash_pin(ask("PIN")), duress_hash=None)
    if args.duress_pin:
        pin = ask("duress PIN")
        if profile.pin_hash is None or is_pin(profile.pin_hash, pin):
            raise UsageError("--duress-pin: expected another PIN than the one of --pin, which has to be set")
        profile = replace(profile, duress_hash=hash_pin(pin))
    if profile.policy.asks_pin and profile.pin_hash is None:
        raise UsageError("this policy asks for a PIN, and there is none: add --pin")
    return profile


def _read(flag: str, text: str, read: Callable[[str], Any]) -> Any:
    if text == NONE:
        return None
    try:
        return read(text)
    except ValueError:
        raise UsageError(
            f"{flag} {text[:40]!r}: cannot be read: see docs/owner/secrets.md, or {NONE!r}"
        ) from None


def _retain_until(text: str, now: datetime) -> datetime | None:
    if text == NONE:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_RETAIN_DAYS):
        raise UsageError(f"--retain-days {text[:40]!r}: expected 1 to {MAX_RETAIN_DAYS}, or {NONE!r}")
    return (now + timedelta(days=int(text))).replace(microsecond=0)


def told(profile: Profile) -> dict[str, Any]:
    """Return what --show prints: rules, whether there are PINs, never what they are."""
    policy = profile.policy
    rules = {flag.lstrip("-"): getattr(policy, field) for flag, field, _, _ in RULES}
    rules = {name: str(value) if isinstance(value, date) else value for name, value in rules.items()}
    until = profile.retain_until.isoformat() if profile.retain_until else None
    return {
        "access": policy.access,
        **{name: value for name, value in rules.items() if value not in (None, "")},
        "pin": profile.pin_hash is not None,
        "duress_pin": profile.duress_hash is not None,
        "retain_until": until,
    }
