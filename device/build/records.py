"""Config -> what is kept: keys, audits, anchors, counts, galleries."""

from __future__ import annotations

from pathlib import Path

from device.access.lockout import DOUBLINGS, is_wrong_pins
from device.build.rules import lockout_rule, threshold_for
from device.config import Config
from device.decide.backoff import Count
from device.decide.backoff_file import BEYOND_ANY_CLOCK_S, BackoffFile
from device.desk.switches import Switches
from device.errors import GalleryKeyError
from device.gallery.gallery import Gallery
from device.gallery.seal import generation_path
from device.gallery.usage import UsageFile
from device.journal.audit import Audit, Limits
from device.journal.trail import AuditTrail
from device.vault.anchor import AnchorFile
from device.vault.generation import GenerationFile
from device.vault.kept import WERE_PLAIN, KeptFile
from device.vault.keys import KeyRing, KeyStore, LatestKeys, check_bond
from device.vault.sealing import Sealer
from device.vision.embed import Manifest


def open_any_gallery(config: Config, *, read_only: bool, any_generation: bool = False) -> Gallery:
    """Open a gallery of whichever model, for all but matching and enrolling."""
    return Gallery(
        config.gallery_path,
        model_id=None,
        dimension=1,
        read_only=read_only,
        keys=build_keys(config),
        any_generation=any_generation,
    )


def build_keys(config: Config) -> KeyStore:
    """Say where the gallery's key is."""
    return KeyStore.of(config.gallery_path, config.gallery_key_path)


def build_audit(config: Config, *, demo: bool) -> AuditTrail:
    """Return the audit of a program; without a key, which the gallery will complain about, it records nothing."""
    latest = LatestKeys(build_keys(config))

    def opened() -> Audit | None:
        ring = latest()
        return open_audit(config, ring) if ring is not None else None

    def outside() -> Audit | None:
        ring = latest()
        return open_outside_audit(config, ring) if ring is not None else None

    return AuditTrail(opened, demo=demo, outside=outside)


def open_audit(config: Config, ring: KeyRing) -> Audit:
    """Open the audit log with the gallery's key; its head lies with the key."""
    limits = Limits(config.audit.max_kb * 1000, config.audit.keep_files)
    return Audit(
        config.audit_path,
        ring.audit_keys,
        head=audit_head(config, build_keys(config)),
        anchor=open_anchor(config, ring),
        limits=limits,
    )


def open_anchor(config: Config, ring: KeyRing) -> AnchorFile:
    """Open what says how far audit, gallery and counts have come."""
    sealer = Sealer(ring.keys, "gallery")
    return AnchorFile(
        GenerationFile(generation_path(config.gallery_path, build_keys(config)), sealer), sealer
    )


def build_kept(config: Config, name: str, *, read_only: bool = False) -> KeptFile:
    """Say where a count of this door is kept: beside its gallery.

    Args:
        name: one of `kept.NAMES`.
        read_only: write nothing: a demo.
    """
    latest = LatestKeys(build_keys(config))

    def keys() -> tuple[Sealer, AnchorFile]:
        ring = latest()
        if ring is None:
            raise GalleryKeyError(f"{build_keys(config)}: is missing, so nothing can be counted: put it back")
        return Sealer(ring.keys, "gallery"), open_anchor(config, ring)

    path = config.gallery_path.with_name(f"{config.gallery_path.name}.{name}")
    return KeptFile(path, name, keys, read_only=read_only, was_plain=name in WERE_PLAIN)


def open_outside_audit(config: Config, ring: KeyRing) -> Audit:
    """Open the audit log of what anybody before the door can cause: refusals, the camera."""
    limits = Limits(config.audit.max_kb * 1000, max(1, config.audit.keep_files // 4))
    path = outside_audit_path(config)
    return Audit(
        path,
        ring.audit_keys,
        head=audit_head(config, build_keys(config), path),
        anchor=open_anchor(config, ring),
        limits=limits,
    )


def outside_audit_path(config: Config) -> Path:
    path = config.audit_path
    return path.with_name(f"{path.name}-outside")


def audit_head(config: Config, keys: KeyStore, path: Path | None = None) -> Path:
    """Say where the newest number of an audit log lies, of the main one for None."""
    path = path or config.audit_path
    return (path.parent if keys.is_credential else keys.path.parent) / f"{path.name}.head"


def build_switches(config: Config, *, read_only: bool = False) -> Switches:
    """Keep which faces are switched off beside the gallery; a door without a link has none to look at."""
    kept = build_kept(config, "switches", read_only=read_only)
    link = config.link
    return Switches(kept, may_switch=link.switches and not read_only, may_loosen=link.loosen)


def build_usage(config: Config, *, read_only: bool = True) -> UsageFile:
    """Keep the entries of guests and the times of PINs beside the gallery; a demo spends none."""
    return UsageFile(build_kept(config, "usage", read_only=read_only))


def build_refusal_file(config: Config) -> BackoffFile:
    """Keep the refused approaches of this door beside its gallery."""
    return BackoffFile(build_kept(config, "refusals"))


def build_pin_file(config: Config) -> BackoffFile:
    """Keep the wrong PINs of this door beside its gallery."""
    rule = lockout_rule(config)
    lost = Count(rule.wrong_pins * (DOUBLINGS + 1), rule.longest_s, BEYOND_ANY_CLOCK_S)
    return BackoffFile(build_kept(config, "wrong_pins"), lost, is_wrong_pins, "wrong PINs")


def build_gallery(config: Config, manifest: Manifest, *, read_only: bool) -> Gallery:
    """Open the gallery of an embedder; each match follows the number of templates that it holds at that moment."""
    keys = build_keys(config)
    if not config.unbound_key:
        check_bond(keys)
    return Gallery(
        config.gallery_path,
        model_id=manifest.model_id,
        dimension=manifest.embedding_dim,
        read_only=read_only,
        keys=keys,
        threshold_for=lambda templates: threshold_for(config, manifest, templates).threshold,
    )
