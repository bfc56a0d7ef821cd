#!/bin/sh
# sudo scripts/install.sh [--dry-run] [--no-apt] [--wheel FILE]
#
# Installs face-unlock on Raspberry Pi OS (Bookworm, Trixie; 64 bit) or Jetson Linux (JetPack 6): packages, the
# program in /opt/face-unlock, its user, its devices, its unit. A second run brings an installation up to date; the
# configuration and the gallery are left as they are.
#
#   --dry-run     print each command, do nothing; works anywhere: what is no board is shown a Raspberry Pi's commands
#   --no-apt      leave the system's packages alone; pip still needs a package index
#   --wheel FILE  take MediaPipe's networks from this mediapipe 0.10.18 wheel
#
# Tests and image builders: FACE_UNLOCK_ROOT is put before every path; then nothing of the running system is touched.
set -eu
umask 022 # the service reads what root writes here

usage() { sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p;}' "$0"; }
say() { printf '%s\n' "$*"; }
fail() { say "install.sh: $*" >&2; exit 1; }

DRY_RUN='' APT=yes WHEEL=''
while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) DRY_RUN=yes ;;
        --no-apt) APT='' ;;
        --wheel)
            [ $# -gt 1 ] || fail "--wheel: expected a file"
            [ -f "$2" ] || fail "--wheel $2: no such file: expected the mediapipe 0.10.18 wheel"
            WHEEL=$2
            shift
            ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
ROOT=${FACE_UNLOCK_ROOT:-}
APP=$ROOT/opt/face-unlock
ETC=$ROOT/etc/face-unlock
CACHE=$ROOT/var/cache/face-unlock
PYTHON=${PYTHON:-python3}

# Where the board is looked up.
OS_RELEASE=${OS_RELEASE:-/etc/os-release}
MODEL_FILE=${MODEL_FILE:-/proc/device-tree/model}
CPUINFO=${CPUINFO:-/proc/cpuinfo}
MACHINE=${MACHINE:-$(uname -m)}

run() {
    if [ -n "$DRY_RUN" ]; then say "+ $*"; else "$@"; fi
}

# What acts on the running system, and so not below another root.
run_live() {
    if [ -n "$ROOT" ] && [ -z "$DRY_RUN" ]; then say "skipped below $ROOT: $*"; else run "$@"; fi
}

# What can act on another root as well, by its --root; an image builder is root.
run_in_root() {
    if [ -z "$ROOT" ]; then run "$@"; return 0; fi
    if [ -z "$DRY_RUN" ] && [ "$(id -u)" != 0 ]; then say "skipped below $ROOT, for it needs root: $*"; return 0; fi
    TOOL=$1
    shift
    run "$TOOL" --root="$ROOT" "$@"
}

detect_board() {
    [ -r "$OS_RELEASE" ] || [ -n "$DRY_RUN" ] || fail "$OS_RELEASE: cannot be read: is this a Linux with systemd?"
    # shellcheck source=/dev/null
    CODENAME=$(if [ -r "$OS_RELEASE" ]; then . "$OS_RELEASE"; fi; say "${VERSION_CODENAME:-unknown}")
    MODEL=''
    [ ! -r "$MODEL_FILE" ] || MODEL=$(tr -d '\000' <"$MODEL_FILE")
    case $MODEL in
        *Raspberry*) BOARD=raspberrypi ;;
        *Jetson* | *NVIDIA*) BOARD=jetson ;;
        *)
            if [ -n "$DRY_RUN" ]; then
                say "no Raspberry Pi and no Jetson: these are the commands of a Raspberry Pi 5 with trixie"
                MODEL='a Raspberry Pi 5, as a preview' BOARD=raspberrypi CODENAME=trixie MACHINE=preview
                return 0
            fi
            fail "board '${MODEL:-unknown}': expected a Raspberry Pi or a Jetson; elsewhere run it from its checkout (README.md), or preview it with --dry-run"
            ;;
    esac
    case $BOARD/$CODENAME in
        raspberrypi/bookworm | raspberrypi/trixie | jetson/jammy | jetson/noble) ;;
        *) fail "$BOARD with '$CODENAME': expected Raspberry Pi OS bookworm or trixie, or Jetson Linux on jammy or noble" ;;
    esac
    case $MACHINE in
        aarch64 | arm64 | x86_64) ;;
        *) fail "machine $MACHINE: expected a 64-bit system: install the 64-bit image of the board" ;;
    esac
}

choose_requirements() {
    # The mediapipe wheel aborts on an ARM core without LSE atomics (Raspberry Pi 3, 4, Zero 2 W): ask before it is loaded.
    REQUIREMENTS=board.txt
    case $MACHINE in
        aarch64 | arm64) grep -qw atomics "$CPUINFO" || REQUIREMENTS=board-litert.txt ;;
    esac
}

install_packages() {
    PACKAGES="python3-venv"
    if [ "$BOARD" = raspberrypi ]; then
        # From apt, because libcamera and lgpio must fit the system and have no wheels for every Python.
        PACKAGES="$PACKAGES python3-picamera2 python3-libcamera python3-lgpio"
    fi
    if [ "$REQUIREMENTS" = board.txt ]; then
        case $CODENAME in
            trixie | noble) GLIB=libglib2.0-0t64 ;;
            *) GLIB=libglib2.0-0 ;;
        esac
        PACKAGES="$PACKAGES libgl1 $GLIB libegl1 libgles2"
    fi
    [ -n "$APT" ] || return 0
    run_live apt-get update
    # shellcheck disable=SC2086  # a list of words
    run_live env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $PACKAGES
}

check_python() {
    [ -n "$DRY_RUN" ] && return 0
    "$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' ||
        fail "$PYTHON: expected Python 3.10 to 3.14: set PYTHON=/path/to/python3.11 and try again"
}

# A running door would load half of the old program and half of the new one; stopped, it is locked.
# The recognizer first: then nobody asks the bolt any more.
# The link and the fleet start only at a door that joined one (face-unlock fleet join).
UNITS="face-unlock.service face-unlock-lock.service"
LINKED="face-unlock-link.service face-unlock-fleet.service"
# The status page is asked for at its socket, which the owner enables; an enrollment asks for its page at a socket too,
# which is the recognizer's alone, and behind which nothing runs until then.
PAGE="face-unlock-page.socket face-unlock-page.service face-unlock-page-tls.socket face-unlock-page-tls.service"
LIVE="face-unlock-live.socket"
stop_service() {
    RUNNING=''
    if [ -n "$DRY_RUN" ]; then say "+ systemctl stop $UNITS (what is running)"; fi
    if [ -z "$DRY_RUN$ROOT" ]; then
        for unit in $UNITS $LINKED; do
            case $(systemctl is-active "$unit") in
                active | activating | reloading) RUNNING="$RUNNING $unit" ;;
            esac
        done
    fi
    if [ -n "$RUNNING" ]; then
        trap tell_that_it_is_stopped EXIT
        trap 'exit 130' INT
        trap 'exit 143' HUP TERM
        # shellcheck disable=SC2086  # a list of words
        run systemctl stop $RUNNING
    fi
}

# On exit, from the stop to the start.
tell_that_it_is_stopped() {
    say "install.sh: failed: the service is stopped and the door locked: run the installer again, then" \
        "sudo systemctl start face-unlock-lock face-unlock" >&2
}

copy_program() {
    run mkdir -p "$APP/models"
    for part in device scripts systemd requirements docs; do
        run rm -rf "$APP/$part"
        run cp -R "$HERE/$part" "$APP/$part"
    done
    run rm -rf "$APP/models/weights"
    run cp -R "$HERE/models/weights" "$APP/models/weights"
    for file in enroll.py unlock.py README.md LICENSE; do
        if [ -f "$HERE/$file" ]; then run install -m 644 "$HERE/$file" "$APP/$file"; fi
    done
    # root owns it and others read it, whatever umask and owner the checkout had
    for part in device models scripts systemd requirements docs; do
        run chmod -R u=rwX,go=rX "$APP/$part"
    done
    run_live chown -R root:root "$APP"
}

make_venv() {
    # Without the system's packages there is neither lgpio nor picamera2 in it.
    if grep -qsi '^include-system-site-packages *= *false' "$APP/.venv/pyvenv.cfg"; then
        run rm -rf "$APP/.venv"
        MAKE_VENV=yes
    elif [ ! -x "$APP/.venv/bin/python" ]; then
        MAKE_VENV=yes
    fi
    if [ -n "${MAKE_VENV:-}" ]; then
        run "$PYTHON" -m venv --system-site-packages "$APP/.venv"
    fi
    run "$APP/.venv/bin/python" -m pip install --disable-pip-version-check --quiet \
        --constraint "$APP/requirements/constraints.txt" --requirement "$APP/requirements/$REQUIREMENTS"
    # The service may not write here, so its byte code is made now.
    run "$APP/.venv/bin/python" -m compileall -q "$APP/device" "$APP/unlock.py" "$APP/enroll.py"
}

fetch_models() {
    run mkdir -p "$CACHE"
    run chmod 755 "$CACHE"
    set -- "$APP/.venv/bin/python" "$APP/scripts/fetch_models.py"
    [ -z "$WHEEL" ] || set -- "$@" --wheel "$WHEEL"
    run env FACE_UNLOCK_CACHE="$CACHE" "$@"
}

install_user() {
    run install -D -m 644 "$HERE/systemd/face-unlock.sysusers" "$ROOT/etc/sysusers.d/face-unlock.conf"
    # The file is named: systemd then refuses a line that it cannot read, instead of passing over it.
    run_in_root systemd-sysusers "$ROOT/etc/sysusers.d/face-unlock.conf"
    # Up to 0.1.0 the recognizer moved the bolt itself.
    if [ -n "$DRY_RUN" ]; then
        say "+ gpasswd --delete face-unlock gpio (if it is a member)"
    elif [ -z "$ROOT" ] && id -nG face-unlock | grep -qw gpio; then
        gpasswd --delete face-unlock gpio
    fi
    run install -D -m 644 "$HERE/systemd/60-face-unlock.rules" "$ROOT/etc/udev/rules.d/60-face-unlock.rules"
    run_live udevadm control --reload
    run_live udevadm trigger --subsystem-match=gpio --subsystem-match=dma_heap
    # As the unit's StateDirectory: here already, so that the first enrollment can come before the first start.
    run mkdir -p "$ROOT/var/lib/face-unlock"
    run chmod 700 "$ROOT/var/lib/face-unlock"
    run_live chown face-unlock:face-unlock "$ROOT/var/lib/face-unlock"
    # What `fleet join` writes there as root is then the link's own, and the page's.
    run mkdir -p "$ROOT/var/lib/face-unlock-link"
    run chmod 700 "$ROOT/var/lib/face-unlock-link"
    run_live chown face-unlock-link:face-unlock-link "$ROOT/var/lib/face-unlock-link"
    run mkdir -p "$ROOT/var/lib/face-unlock-page"
    run chmod 700 "$ROOT/var/lib/face-unlock-page"
    run_live chown face-unlock-page:face-unlock-page "$ROOT/var/lib/face-unlock-page"
}

install_config() {
    if [ -e "$ETC/config.toml" ]; then
        say "kept: $ETC/config.toml"
        return 0
    fi
    # 640: a camera's address may hold a password
    run install -D -m 640 "$HERE/systemd/config.example.toml" "$ETC/config.toml"
    run sed -i -E 's|^#? *gallery *=.*|gallery = "/var/lib/face-unlock/gallery.db"|' "$ETC/config.toml"
    if [ "$BOARD" = jetson ]; then
        run sed -i -E 's|^#? *driver *=.*|driver = "gpiochip"|' "$ETC/config.toml"
    fi
    run_live chown root:face-unlock "$ETC/config.toml"
}

# Commands for any folder. The contact sheet lands beside the gallery, where only the service's user reads, and that user
# need not be able to enter the folder the command is typed in. With a sealed key only systemd can hand it over. The
# doctor alone may read the journal, where each visit has its line. A door joins a fleet as root, for it writes into the
# folders of link and page as well; its file lies in the folder the command is typed in.
# shellcheck disable=SC2016  # what stands in single quotes is for the commands and their shells
install_commands() {
    write_command face-unlock "COMMAND ...: all that an owner does, face-unlock --help" /opt/face-unlock/scripts/face_unlock.py
    run install -D -m 644 "$HERE/systemd/face-unlock.1" "$ROOT/usr/local/share/man/man1/face-unlock.1"
    run install -D -m 644 "$HERE/systemd/face-unlock.bash" \
        "$ROOT/usr/local/share/bash-completion/completions/face-unlock"
    write_command face-unlock-enroll "--name NAME | --list | --remove NAME: enroll.py" /opt/face-unlock/enroll.py
    write_command face-unlock-run "audit.py verify | backup.py ... | gallery_keys.py ...: one of scripts/" \
        '/opt/face-unlock/scripts/"$script"' 'script=${1:?expected audit.py, backup.py or gallery_keys.py}; shift'
}

write_command() {
    COMMAND=$ROOT/usr/local/bin/$1
    if [ -n "$DRY_RUN" ]; then say "+ write $COMMAND"; return 0; fi
    mkdir -p "$ROOT/usr/local/bin"
    cat >"$COMMAND" <<END
#!/bin/sh
# $1 $2, as the service's user, in its folder; what it caches there nobody else reads
JOIN=
if [ "\${1:-} \${2:-}" = "fleet join" ]; then JOIN=\$PWD; fi
cd /
${4:-:}
JOURNAL=
if [ "\${1:-}" = doctor ]; then JOURNAL=systemd-journal; fi
KEY=/etc/credstore.encrypted/gallery.key
if [ -e "\$KEY" ]; then
    if [ -t 0 ]; then HOW=--pty; else HOW=--pipe; fi
    WHO=root
    if [ -z "\$JOIN" ]; then WHO=face-unlock; fi
    exec sudo systemd-run --quiet --wait --collect "\$HOW" --uid="\$WHO" --gid="\$WHO" \\
        --working-directory="\${JOIN:-/var/lib/face-unlock}" --property=UMask=0077 \\
        \${JOURNAL:+--property=SupplementaryGroups="\$JOURNAL"} \\
        --property="LoadCredentialEncrypted=gallery.key:\$KEY" /opt/face-unlock/.venv/bin/python $3 "\$@"
fi
if [ -n "\$JOURNAL" ]; then
    set -- env HOME=/var/lib/face-unlock setpriv --reuid=face-unlock --regid=face-unlock \\
        --groups="\$(id -G face-unlock | tr ' ' ,),\$JOURNAL" /opt/face-unlock/.venv/bin/python $3 "\$@"
    exec sudo sh -c 'umask 077 && cd /var/lib/face-unlock && exec "\$@"' sh "\$@"
fi
if [ -n "\$JOIN" ]; then
    cd "\$JOIN" || exit
    exec sudo sh -c 'umask 077 && exec "\$@"' sh /opt/face-unlock/.venv/bin/python $3 "\$@"
fi
exec sudo -u face-unlock sh -c 'umask 077 && cd /var/lib/face-unlock && exec "\$@"' sh \\
    /opt/face-unlock/.venv/bin/python $3 "\$@"
END
    chmod 755 "$COMMAND"
}

# The key (0600, the service's) before the first enrollment; templates of release 0.1.0 do not stay in the clear.
# shellcheck disable=SC2016
seal_gallery() {
    [ -e "$ROOT/etc/credstore.encrypted/gallery.key" ] && return 0
    run_live runuser -u face-unlock -- sh -c 'umask 077 && cd /var/lib/face-unlock && exec "$@"' sh \
        "$APP/.venv/bin/python" "$APP/scripts/gallery_keys.py" seal
}

install_service() {
    # the board's is started by the recognizer
    for unit in $UNITS $LINKED $PAGE $LIVE face-unlock-live@.service face-unlock-board.service; do
        run install -D -m 644 "$HERE/systemd/$unit" "$ROOT/etc/systemd/system/$unit"
    done
    run_live systemctl daemon-reload
    run_live systemctl try-restart face-unlock-page.service face-unlock-page-tls.service
    # shellcheck disable=SC2086  # a list of words
    run_in_root systemctl enable $UNITS $LIVE
    run_live systemctl restart $LIVE
    if [ -n "$DRY_RUN" ]; then say "+ systemctl start $UNITS (what was running)"; fi
    if [ -n "$RUNNING" ]; then
        trap - EXIT
        # shellcheck disable=SC2086  # a list of words
        run systemctl start $RUNNING
    fi
}

detect_board
choose_requirements
say "board: $MODEL ($CODENAME, $MACHINE), requirements: $REQUIREMENTS"
[ -n "$DRY_RUN$ROOT" ] || [ "$(id -u)" = 0 ] || fail "not root: run sudo scripts/install.sh"
install_packages
check_python
stop_service
copy_program
make_venv
install_user
fetch_models
install_config
install_commands
seal_gallery
install_service
say "installed. Next:"
say "  edit /etc/face-unlock/config.toml (lock.pin, camera.source)"
say "  face-unlock enroll NAME           (face-unlock --help lists the rest)"
say "  face-unlock-enroll --name NAME    (the same)"
say "  sudo systemctl start face-unlock; journalctl -fu face-unlock"
say "  a page with the door's state, if you want one: docs/owner/status.md"
