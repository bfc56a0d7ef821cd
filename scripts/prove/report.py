"""Table, picture and page of what fail_secure.py found."""

from __future__ import annotations

import argparse
import random
import statistics
from pathlib import Path

from scripts.prove.cuts import Cuts
from scripts.prove.faults import FAULTS, WHOLE, Fault, Outcome

BEGIN, END = "<!-- result: scripts/prove/fail_secure.py -->", "<!-- end of result -->"


def table(outcomes: list[Outcome]) -> str:
    """Return a Markdown table, one row for each kind of fault."""
    names = ("fault", "runs", "struck while unlocked", "longest unlocked, s", "bound, s", "held back, s")
    names += (
        "fault to locked, s: median, longest",
        "limit, s",
        "violations: pin",
        "lost",
        "not in the audit",
    )
    rows = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for fault in (*FAULTS, *WHOLE):
        those = [each for each in outcomes if each.fault is fault]
        if those:
            rows.append(_row(fault, those))
    struck = sum(each.unlocked_at_fault for each in outcomes)
    wrong = " | ".join(f"**{count}**" for count in kinds_of(outcomes))
    return "\n".join([*rows, f"| **all** | {len(outcomes)} | {struck} | | | | | | {wrong} |"])


def kinds_of(outcomes: list[Outcome]) -> tuple[int, int, int]:
    """Count the faults after which the pin, what is stored, and the audit were wrong."""
    return (
        sum(bool(each.wrong) for each in outcomes),
        sum(bool(each.lost) for each in outcomes),
        sum(bool(each.unaudited) for each in outcomes),
    )


def cut_table(cuts: list[Cuts]) -> str:
    """Return a Markdown table, one row for each program whose power was cut."""
    names = (
        "program",
        "calls that change a file",
        "cuts",
        "as before",
        "as after",
        "lost",
        "not in the audit",
    )
    rows = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for each in cuts:
        counts = (each.calls, each.states, each.as_before, each.as_after, len(each.lost), len(each.unaudited))
        rows.append(f"| {each.program} | {' | '.join(map(str, counts))} |")
    sums = [sum(len(each.lost) for each in cuts), sum(len(each.unaudited) for each in cuts)]
    states = sum(each.states for each in cuts)
    return "\n".join([*rows, f"| **all** | | {states} | | | **{sums[0]}** | **{sums[1]}** |"])


def _row(fault: Fault, those: list[Outcome]) -> str:
    cuts = [each.cut_s for each in those if each.cut_s is not None]
    told = f"{statistics.median(cuts):.2f}, {max(cuts):.2f}" if cuts else "-"
    limit = f"{fault.cut_s:.1f}" if fault.cut_s is not None else "end of pulse"
    longest_s = max(each.longest_s for each in those)
    struck, wrong = sum(each.unlocked_at_fault for each in those), " | ".join(map(str, kinds_of(those)))
    return (
        f"| {fault.name} | {len(those)} | {struck} | {longest_s:.2f} | {those[0].bound_s:.1f} "
        f"| {max(each.waited_s for each in those):.2f} "
        f"| {told} | {limit} | {wrong} |"
    )


def command_of(args: argparse.Namespace) -> str:
    options = f"--faults {args.faults} --whole {args.whole} --seed {args.seed}"
    options += f' --only "{args.only}"' if args.only else ""
    options += f" --cuts {args.cuts}" if args.cuts >= 0 else ""
    options += f" --slack {args.slack:g}" if args.slack else ""
    options += " --again" if args.again else ""
    return f"python scripts/prove/fail_secure.py {options}"


def draw(outcomes: list[Outcome], path: Path, pulse_s: float) -> None:
    """Draw how long the door was unlocked in each run, beside its bound."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = [fault for fault in (*FAULTS, *WHOLE) if any(each.fault is fault for each in outcomes)][::-1]
    figure, axes = pyplot.subplots(figsize=(9, 0.32 * len(kinds) + 1.4), layout="constrained")
    rng = random.Random(0)
    for row, fault in enumerate(kinds):
        those = [each for each in outcomes if each.fault is fault]
        heights = [row + rng.uniform(-0.3, 0.3) for _ in those]
        colors = ["#d62728" if each.violations else "#1f77b4" for each in those]
        axes.scatter([each.longest_s for each in those], heights, s=9, color=colors, alpha=0.6, linewidths=0)
        axes.plot([those[0].bound_s] * 2, [row - 0.4, row + 0.4], color="#d62728", linewidth=2)
    axes.axvline(pulse_s, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(kinds)), [fault.name for fault in kinds], fontsize=8)
    axes.set_xlim(left=-0.05)
    axes.set_xlabel(
        "longest time unlocked, s (dot: one fault, red: a violation; red line: the bound; dotted: one pulse)"
    )
    pin, lost, unaudited = kinds_of(outcomes)
    axes.set_title(
        f"{len(outcomes)} faults; violations: pin {pin}, lost {lost}, not in the audit {unaudited}",
        fontsize=10,
    )
    figure.savefig(path, dpi=110)


def write_report(
    folder: Path, outcomes: list[Outcome], cuts: list[Cuts], command: str, pulse_s: float
) -> None:
    """Put verdict and tables between the marks of fail_secure.md, and draw the picture beside it."""
    page = folder / "fail_secure.md"
    text = page.read_text(encoding="utf-8") if page.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [f"    {command}", verdict(outcomes), table(outcomes)]
    parts += [cut_verdict(cuts), cut_table(cuts)] if cuts else []
    page.write_text(before + BEGIN + "\n" + "\n\n".join(parts) + "\n" + END + after, encoding="utf-8")
    draw(outcomes, folder / "fail_secure.png", pulse_s)


def verdict(outcomes: list[Outcome]) -> str:
    count, wrong = len(outcomes), sum(bool(each.violations) for each in outcomes)
    struck = sum(each.unlocked_at_fault for each in outcomes)
    bound = "" if wrong else f" So a fault violates in less than {300 / count:.1f} % of the runs (95 %)."
    return f"**{count} faults, {struck} of them while unlocked: {wrong} violations.**{bound}"


def cut_verdict(cuts: list[Cuts]) -> str:
    states, wrong = sum(each.states for each in cuts), sum(each.violations for each in cuts)
    return f"**{states} cuts of the power at the system calls of {len(cuts)} programs: {wrong} violations.**"
