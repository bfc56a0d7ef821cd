"""Print the threshold of this door, what it promises and how sure that is; draw it on the FMR curve.

    python scripts/calibrate_threshold.py --picture threshold.png
    python scripts/calibrate_threshold.py --lfw FOLDER       measures the curve anew, from photographs (minutes)

The threshold follows from `false_accepts_per_approach`, the number of templates in the gallery, `decision.k` and
`decision.frames_per_approach` (docs/how/security.md); the FMR curve is the manifest's. FOLDER is that of evaluate.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from device.build import manifest_path, open_any_gallery, threshold_for
from device.config import Config
from device.decide.threshold import DoorThreshold, in_words
from device.errors import UsageError
from device.gallery.rows import Need
from device.numeric.intervals import clopper_pearson
from device.programs import Parser, configured, run
from device.vision.embed import LiteRTEmbedder, Manifest, load_manifest

ASKED = (1e-2, 1e-3, 5e-4, 1e-4)
TEMPLATES = (1, 5, 10, 20, 50, 100)
LEAST_FMR = 1e-9  # what stands for 0 on a logarithmic scale


@dataclass(frozen=True)
class Curve:
    """FMR measured at rising thresholds, with the ends of its 95 % intervals, and where it comes from."""

    thresholds: list[float]
    fmr: list[float]
    low: list[float]
    high: list[float]
    origin: str

    def at(self, threshold: float) -> tuple[float, float, float]:
        """Return FMR, low and high at a threshold, linear over log10(FMR) between those measured."""
        logs = [np.log10(np.maximum(rates, LEAST_FMR)) for rates in (self.fmr, self.low, self.high)]
        fmr, low, high = (float(10 ** np.interp(threshold, self.thresholds, each)) for each in logs)
        return fmr, low if low > 1.01 * LEAST_FMR else 0.0, high


def curve_of(measured: Mapping[str, Any], where: str) -> Curve:
    """Read the curve of figures that scripts/evaluate.py wrote; older ones have three points without intervals."""
    if "curve" in measured:
        points = [(each["threshold"], each["fmr"], each["low"], each["high"]) for each in measured["curve"]]
        pairs, how = measured["non_mated_pairs"], "95 % by bootstrap over subjects"
    else:
        # Each half of the subjects has a quarter of the pairs; the thresholds were set on the other half.
        pairs = measured["non_mated_pairs"] // 4
        rows = [(row["threshold"], row["fmr_on_others"]) for row in measured["thresholds"].values()]
        points = [(t, fmr, *clopper_pearson(round(fmr * pairs), pairs)) for t, fmr in rows]
        how = "95 % as if pairs were independent: too narrow"
    thresholds, fmr, low, high = (list(each) for each in zip(*sorted(points), strict=True))
    return Curve(thresholds, fmr, low, high, f"{where}, {pairs:,} pairs, {how}")


def manifest_curve(path: Path) -> Curve:
    """Read the curve of a manifest; one without figures has its thresholds, and no interval at all."""
    values = json.loads(path.read_text())
    measured = values.get("evaluation", {}).get("int8")
    if measured:
        return curve_of(measured, "LFW, of the manifest")
    rows = sorted((threshold, float(fmr)) for fmr, threshold in values["thresholds"].items())
    thresholds, fmr = (list(each) for each in zip(*rows, strict=True))
    return Curve(thresholds, fmr, [0.0] * len(fmr), [1.0] * len(fmr), "the manifest's thresholds, no figures")


def measured_curve(lfw: Path, config: Config) -> Curve:
    """Measure the curve on the photographs of LFW."""
    from scripts import evaluate

    evaluate.check_folder(lfw)
    benchmark = evaluate.load_benchmark(lfw / "lfw_pairs.txt")
    embedder = LiteRTEmbedder(manifest=manifest_path(config.model), threads=config.threads)
    seen = evaluate.embed_all(lfw / "lfw.zip", benchmark.names, [embedder], config.alignment)
    figures, _ = evaluate.report(benchmark, seen.embeddings[0])
    return curve_of(figures, "LFW, measured now")


def enrolled(config: Config) -> tuple[int, Mapping[str, Need]]:
    """Return the number of templates, and what subjects with look-alikes need."""
    if not config.gallery_path.exists():
        return 0, {}
    with open_any_gallery(config, read_only=True) as gallery:
        return gallery.count(), gallery.needs()


def report(config: Config, manifest: Manifest, curve: Curve) -> list[str]:
    """Say what the threshold is, what it keeps, and what other doors would need."""
    templates, needs = enrolled(config)
    found, decision = threshold_for(config, manifest, templates), config.decision
    fmr, low, high = curve.at(found.threshold)
    tries = found.promised / found.fmr
    lines = [
        f"{manifest.model_id}, gallery {config.gallery}: {templates} templates",
        f"threshold {found.threshold:.4f}, set for FMR {found.fmr:.2g}",
        f"measured there: FMR {fmr:.2g} [{low:.2g}, {high:.2g}] ({curve.origin})",
        f"false accepts per approach: asked {found.asked:.2g}, kept {found.promised:.2g} "
        f"[{min(1, low * tries):.2g}, {min(1, high * tries):.2g}] "
        f"(at most {max(1, templates)} templates x {decision.frames_per_approach} looks / {decision.k})",
    ]
    lines.append(f"in words: at most {in_words(found.promised)}")
    lines += [found.shortfall] * (not found.is_kept)
    for name, need in sorted(needs.items()):
        also = ", and a challenge" if need.challenge else ""
        lines.append(f"{name} has a look-alike: needs {max(need.threshold, found.threshold):.4f}{also}")
    return [*lines, "", *table(config, manifest, {*TEMPLATES, max(1, templates)})]


def table(config: Config, manifest: Manifest, templates: set[int]) -> list[str]:
    """List the threshold by number of templates and false accepts per approach; * where that cannot be kept."""
    rows = ["templates " + "".join(f"{asked:>9.0e} " for asked in ASKED) + " per approach"]
    for count in sorted(templates):
        cells = [
            threshold_for(replace(config, false_accepts_per_approach=asked), manifest, count)
            for asked in ASKED
        ]
        rows.append(f"{count:>9} " + "".join(f"{cell(each):>10}" for each in cells))
    return [*rows, "* the strictest threshold that was measured; it keeps less than asked"]


def cell(found: DoorThreshold) -> str:
    return f"{found.threshold:.4f}{' ' if found.is_kept else '*'}"


def draw(config: Config, manifest: Manifest, curve: Curve, path: Path) -> None:
    """Draw the FMR curve with its interval, the manifest's thresholds and the chosen point."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    templates, _ = enrolled(config)
    found = threshold_for(config, manifest, templates)
    figure, axes = pyplot.subplots(figsize=(8, 4.8), layout="constrained")
    low, fmr, high = (np.maximum(rates, LEAST_FMR) for rates in (curve.low, curve.fmr, curve.high))
    axes.fill_between(curve.thresholds, low, high, color="#2b6cb0", alpha=0.2, label="95 % interval")
    axes.plot(curve.thresholds, fmr, color="#2b6cb0", label="FMR of one comparison")
    known = sorted(manifest.thresholds)
    axes.plot([manifest.thresholds[rate] for rate in known], known, "o", color="#1f2933", markersize=5)
    needed = found.asked * found.fmr / found.promised
    axes.axhline(needed, color="#8a8f98", linestyle=":")
    label = f"FMR {needed:.1g} keeps {found.asked:g} per approach, {templates} templates"
    axes.text(curve.thresholds[0], 1.08 * needed, label, va="bottom", fontsize=9, color="#1f2933")
    axes.axvline(found.threshold, color="#1a9850", linestyle="--")
    chosen = f"this door: {found.threshold:.4f}, keeps {found.promised:.2g} per approach"
    axes.plot(found.threshold, found.fmr, "o", color="#1a9850", markersize=10, label=chosen)
    axes.set(yscale="log", ylim=(min(needed, min(fmr)) / 3, 2 * max(high)), xlabel="similarity", ylabel="FMR")
    axes.set_title(f"{manifest.model_id}\n{curve.origin}", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", fontsize=9)
    figure.savefig(path, dpi=110)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="calibrate_threshold.py", description="Print the threshold of this door and what it promises."
    )
    parser.share("--config", "--gallery", "--model")
    parser.add_argument("--lfw", type=Path, metavar="FOLDER", help="measure anew, from lfw.zip in FOLDER")
    parser.add_argument("--picture", type=Path, metavar="PATH", help="draw the FMR curve to this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print the threshold of this door and return the exit code."""
    return run("calibrate_threshold.py", lambda: act(parse(arguments)))


def act(args: argparse.Namespace) -> int:
    if args.picture and not args.picture.absolute().parent.is_dir():
        raise UsageError(f"--picture {args.picture}: there is no such folder: name another file")
    if args.picture and find_spec("matplotlib") is None:
        raise UsageError("--picture: needs matplotlib, which is not here: run it without, or on a computer")
    config = configured(args)
    path = manifest_path(config.model)
    manifest = load_manifest(path)
    curve = measured_curve(args.lfw, config) if args.lfw else manifest_curve(path)
    print("\n".join(report(config, manifest, curve)))
    if args.picture:
        draw(config, manifest, curve, args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
