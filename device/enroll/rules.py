"""The options of enroll.py that say who may enter when; `none` takes a rule back.

A rule that never or always holds is no error, as it may be meant; `remarks` says so wherever rules are printed.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from device.access.clock import local_zone
from device.access.pin import hash_pin, is_pin
from device.access.policy import ACCESS, MINUTES_A_DAY, Policy, Usage, parse_hours, zone_of
from device.access.profile import Profile
from device.errors import UsageError
from device.moment import in_local_time, in_utc

NONE = "none"
MAX_RETAIN_DAYS = 36_500
MONDAY = datetime(2024, 1, 1)  # any Monday: hours repeat every week
WEEK_MIN = 7 * MINUTES_A_DAY
Changes = Callable[[Profile], Profile]
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

# `dest` of each option that changes a profile
RULE_FIELDS = (*(field for _, field, _, _ in RULES), "access", "pin", "duress_pin", "retain_days")


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who may enter when")
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
        if getattr(args, field) is not None
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
    until = in_utc(profile.retain_until) if profile.retain_until else None
    return {
        "access": policy.access,
        **{name: value for name, value in rules.items() if value not in (None, "")},
        "pin": profile.pin_hash is not None,
        "duress_pin": profile.duress_hash is not None,
        "retain_until": until,
    }


def differences(before: Profile, after: Profile) -> dict[str, tuple[str, str]]:
    """Return what a change made different: of each rule, in words, what it was and what it is now."""
    was, now = words_of(before), words_of(after)
    for key, secret in (("pin", "pin_hash"), ("duress pin", "duress_hash")):
        is_new = getattr(before, secret) not in (None, getattr(after, secret))
        if is_new and key in now:
            now[key] = "a new one"
    return {
        key: (was.get(key, NONE), now.get(key, NONE))
        for key in {**was, **now}
        if was.get(key) != now.get(key)
    }


def words_of(profile: Profile) -> dict[str, str]:
    """Return each rule of a profile in words; what does not go for it is left out."""
    rules = {key.replace("_", " "): value for key, value in told(profile).items()}
    if profile.retain_until is not None:
        rules["retain until"] = in_local_time(profile.retain_until)
    return {
        key: "set" if value is True else str(value)
        for key, value in rules.items()
        if value not in (None, False)
    }


def rules_of(profile: Profile) -> str:
    """Say a profile in one line."""
    return ", ".join(key if value == "set" else f"{key} {value}" for key, value in words_of(profile).items())


def remarks(profile: Profile, usage: Usage | None, now: datetime) -> list[str]:
    """Say what a person should know of the rules: over, used up, never or always true.

    Args:
        usage: what the door remembers, None where it cannot be read.
        now: with its time zone.
    """
    policy = profile.policy
    today = now.astimezone(zone_of(policy.time_zone)).date()
    found = [*_days(policy, today), *_entries(policy, usage), *_hours(policy, today), *_pin_rules(policy)]
    if profile.is_expired(now):
        found.append("the consent is over: this person is forgotten at the next change")
    elif profile.retain_until and policy.valid_until and profile.retain_until.date() < policy.valid_until:
        found.append(f"this person is forgotten on {profile.retain_until.date()}, before --until")
    if policy.time_zone and not (policy.hours or policy.pin_hours or policy.valid_from or policy.valid_until):
        found.append("the time zone does nothing: there are neither hours nor days")
    if policy.needs_clock and not policy.time_zone:
        found.append(f"times are those of the board's zone, {local_zone()}")
    return found


def _days(policy: Policy, today: date) -> Iterator[str]:
    if policy.access == "disabled":
        yield "the access is disabled: the door refuses"
    if policy.valid_until and policy.valid_until < today:
        yield f"over since {policy.valid_until}: the door refuses"
    if policy.valid_from and policy.valid_from > today:
        yield f"not before {policy.valid_from}: until then the door refuses"


def _entries(policy: Policy, usage: Usage | None) -> Iterator[str]:
    if policy.entries is not None and usage is not None:
        left = max(0, policy.entries - usage.entries)
        yield f"{left} of {policy.entries} entries left{'' if left else ': the door refuses'}"


def _hours(policy: Policy, today: date) -> Iterator[str]:
    if not policy.hours:
        return
    hours = minutes_of(policy.hours)
    if len(hours) == WEEK_MIN:
        yield "the hours are the whole week: they refuse nobody"
    first, last = max(policy.valid_from or today, today), policy.valid_until
    if last is not None and last >= first and not hours & _minutes_between(first, last):
        yield f"the hours fall on no day from {first} to {last}: the door never opens"


def _pin_rules(policy: Policy) -> Iterator[str]:
    if policy.access == "face+pin" and any((policy.pin_hours, policy.pin_every_h, policy.pin_after_failures)):
        yield "the PIN is asked for always, by --access face+pin: other PIN rules do nothing"
    elif policy.pin_hours:
        asked = minutes_of(policy.pin_hours)
        open_at = minutes_of(policy.hours) if policy.hours else frozenset(range(WEEK_MIN))
        if open_at <= asked:
            yield "the PIN is asked for at every hour: --access face+pin says the same"
        elif not open_at & asked:
            yield "the PIN is never asked for: its hours are none of --hours"


@cache
def minutes_of(hours: str) -> frozenset[int]:
    """Return the minutes of the week, 0 on Monday at midnight, in which hours hold."""
    windows = parse_hours(hours)
    return frozenset(
        minute
        for minute in range(WEEK_MIN)
        if any(window.holds(MONDAY + timedelta(minutes=minute)) for window in windows)
    )


def _minutes_between(first: date, last: date) -> set[int]:
    """Return the minutes of the week that lie on a day from `first` to `last`."""
    days = {(first + timedelta(days=step)).weekday() for step in range(min(7, (last - first).days + 1))}
    return {day * MINUTES_A_DAY + minute for day in days for minute in range(MINUTES_A_DAY)}
