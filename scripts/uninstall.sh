#!/bin/sh
# sudo scripts/uninstall.sh [--dry-run] [--purge]
#
# Locks the door, removes the service and the program. The gallery, the configuration, the networks and the users stay;
# the last lines say where. What apt installed stays in any case, for other programs may use it.
#
#   --dry-run  print each command, do nothing
#   --purge    remove the gallery, the configuration, the cache and the user as well
#
# Tests: FACE_UNLOCK_ROOT is put before every path; then nothing of the running system is touched.
set -eu

usage() { sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p;}' "$0"; }
say() { printf '%s\n' "$*"; }

DRY_RUN='' PURGE=''
for argument in "$@"; do
    case $argument in
        --dry-run) DRY_RUN=yes ;;
        --purge) PURGE=yes ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
ROOT=${FACE_UNLOCK_ROOT:-}

run() {
    if [ -n "$DRY_RUN" ]; then say "+ $*"; else "$@"; fi
}

run_live() {
    if [ -n "$ROOT" ] && [ -z "$DRY_RUN" ]; then say "skipped below $ROOT: $*"; else run "$@"; fi
}

# In a chroot or an image systemd does not run: there is nothing to stop, and the files go all the same.
HAS_SYSTEMD=yes
[ -n "$DRY_RUN$ROOT" ] || [ -d /run/systemd/system ] || HAS_SYSTEMD=''

control() {
    if [ -n "$HAS_SYSTEMD" ]; then run_live systemctl "$@"; else say "skipped, systemd does not run: systemctl $*"; fi
}

# Only a link in a folder of systemd's makes a unit start at boot; `disable` takes it away, and can without systemd running.
disable() {
    if [ -n "$HAS_SYSTEMD" ]; then
        run_live systemctl disable --now "$1"
    elif ! systemctl disable "$1"; then
        say "systemctl could not disable $1: look for it in /etc/systemd/system/*.wants"
    fi
}

if [ -z "$DRY_RUN$ROOT" ] && [ "$(id -u)" != 0 ]; then
    say "uninstall.sh: not root: run sudo scripts/uninstall.sh" >&2
    exit 1
fi

# First, and with the program still there: stopping relocks the door.
BEHIND="face-unlock-board.service face-unlock-link.service face-unlock-fleet.service face-unlock-page.socket face-unlock-page.service face-unlock-page-tls.socket face-unlock-page-tls.service"
for unit in face-unlock.service face-unlock-lock.service $BEHIND face-unlock-live.socket; do
    if [ -e "$ROOT/etc/systemd/system/$unit" ]; then
        disable "$unit"
    fi
    run rm -f "$ROOT/etc/systemd/system/$unit"
    run rm -rf "$ROOT/etc/systemd/system/$unit.d"
done
run rm -f "$ROOT/etc/systemd/system/face-unlock-live@.service"
control daemon-reload
run rm -f "$ROOT/etc/udev/rules.d/60-face-unlock.rules" "$ROOT/etc/sysusers.d/face-unlock.conf"
run rm -f "$ROOT/usr/local/bin/face-unlock" "$ROOT/usr/local/bin/face-unlock-enroll" "$ROOT/usr/local/bin/face-unlock-run"
run rm -f "$ROOT/usr/local/share/man/man1/face-unlock.1" \
    "$ROOT/usr/local/share/bash-completion/completions/face-unlock"
run_live udevadm control --reload || say "udev did not take the rules away: they are gone after the next start"
run rm -rf "$ROOT/run/face-unlock-lock" "$ROOT/run/face-unlock-board" "$ROOT/run/face-unlock-link" # the first one's unit leaves it
run rm -rf "$ROOT/opt/face-unlock"

if [ -n "$PURGE" ]; then
    run rm -rf "$ROOT/var/lib/face-unlock" "$ROOT/var/lib/face-unlock-link" "$ROOT/var/lib/face-unlock-page" "$ROOT/var/cache/face-unlock" "$ROOT/etc/face-unlock"
    run rm -f "$ROOT/etc/credstore.encrypted/gallery.key"
    for user in face-unlock-live face-unlock-page face-unlock-lock face-unlock face-unlock-link; do
        if [ -n "$DRY_RUN" ] || id "$user" >/dev/null 2>&1; then
            run_live userdel "$user" || say "user $user stays: sudo userdel $user says why"
        fi
    done
    say "removed, with the gallery, the configuration and the users"
else
    say "removed. Kept, and removed by --purge:"
    keep() { if [ -n "$DRY_RUN" ] || [ -e "$ROOT$1" ]; then say "  $ROOT$1  $2"; fi; }
    keep /var/lib/face-unlock "the gallery, its key, the audit"
    keep /var/lib/face-unlock-link "this door's certificate at the broker"
    keep /var/lib/face-unlock-page "what its status page shows to viewers"
    keep /etc/face-unlock "the configuration"
    keep /etc/credstore.encrypted/gallery.key "the sealed key"
    keep /var/cache/face-unlock "MediaPipe's networks"
    say "  the users face-unlock, face-unlock-lock, face-unlock-link, face-unlock-page and face-unlock-live"
fi
say "Not this script's: packages of apt (python3-venv, python3-lgpio, python3-picamera2 ...), backups elsewhere"
