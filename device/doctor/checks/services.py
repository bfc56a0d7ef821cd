"""The services of an installed board, as systemd has them."""

from __future__ import annotations

from collections.abc import Iterator

from device.command import owner_command
from device.doctor.examination import Setup
from device.doctor.finding import Finding, green, red, yellow
from device.doctor.host import Host

NAME = "services"
UNITS = ("face-unlock-lock.service", "face-unlock.service")
KEYS = "LoadState,ActiveState,SubState,UnitFileState,NRestarts,ExecMainStatus,ConditionResult"
NOT_FOUND = "not-found"
BY_HAND = "to have it start with the board: sudo scripts/install.sh"


def check(setup: Setup) -> Iterator[Finding]:
    """Say of each unit whether it runs, and whether it will after the next start of the board."""
    host = setup.host
    known = {unit: state_of(host, unit) for unit in UNITS}
    if not is_installed(host):
        running = [str(each.number) for each in host.doors()]
        if running:
            by_hand = f"not installed; a door runs by hand (process {', '.join(running)})"
            yield yellow(NAME, by_hand, BY_HAND)
        else:
            yield yellow(
                NAME, "not installed as a service, and no door runs", f"{owner_command('unlock')}; {BY_HAND}"
            )
        return
    for unit, state in known.items():
        yield judge(unit.removesuffix(".service"), state or {})


def is_installed(host: Host) -> bool:
    """Say whether systemd knows the door's unit, also one that it does not take."""
    return (state_of(host, UNITS[-1]) or {}).get("LoadState", NOT_FOUND) != NOT_FOUND


def state_of(host: Host, unit: str) -> dict[str, str] | None:
    """Return what systemd says of a unit, None where there is no systemd."""
    told = host.ask("systemctl", "show", unit, "--property", KEYS)
    if told is None:
        return None
    return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)  # type: ignore[misc]


def judge(unit: str, state: dict[str, str]) -> Finding:
    """Return the finding of one unit."""
    active, restarts = state.get("ActiveState", "unknown"), state.get("NRestarts", "0")
    log = f"journalctl -u {unit} -n 20 --no-pager"
    if active == "active":
        if state.get("UnitFileState") == "disabled":
            return yellow(NAME, f"{unit} runs, but not after the next start", f"sudo systemctl enable {unit}")
        if restarts not in ("", "0"):
            return yellow(NAME, f"{unit} runs; it had to be started again {restarts} times", f"see {log}")
        return green(NAME, f"{unit} runs")
    load = state.get("LoadState", NOT_FOUND)
    if load == NOT_FOUND:
        return red(NAME, f"{unit} is not installed", "sudo scripts/install.sh")
    if load == "masked":
        return red(NAME, f"{unit} is masked", f"sudo systemctl unmask {unit}")
    if load != "loaded":
        wrong = f"systemd-analyze verify {unit}.service; systemctl cat {unit}"
        return red(NAME, f"{unit}: systemd does not take its unit ({load})", wrong)
    if active == "inactive" and state.get("ConditionResult") == "no":
        return red(NAME, f"{unit} waits until somebody is enrolled", "face-unlock enroll NAME, then start it")
    status = state.get("ExecMainStatus", "0")
    code = f", its last exit code was {status}" if status not in ("", "0") else ""
    return red(NAME, f"{unit} does not run ({active}{code})", f"sudo systemctl start {unit}; see {log}")
