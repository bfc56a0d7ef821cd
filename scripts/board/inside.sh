#!/usr/bin/env bash
# Runs in the machine of image.sh: the owner's page, from install.sh to uninstall.sh --purge, against made-up hardware.
#
# One line for each step, "ok" or "FAILED"; it goes on after a failure where it can, and ends with "all done" where none failed.
set -u
case "${1:-}" in -h | --help) sed -n 2,4p "$0" | cut -c3-; exit ;; esac
cd /src || exit 1
BANK=/sys/kernel/config/gpio-sim/board LINE=5
PROGRAM=/opt/face-unlock CONFIG=/etc/face-unlock/config.toml
FACE=tests/data/astronaut.jpg
FAILED=0 FILM=''
export TERM=dumb LC_ALL=C.UTF-8

ok() { echo "board: ok: $*"; }
broken() {
    echo "board: FAILED: $*"
    FAILED=$((FAILED + 1))
    systemctl --no-pager --lines 0 status face-unlock face-unlock-lock | grep -E 'Active|Process|Status'
    journalctl -u face-unlock -u face-unlock-lock -n 25 --no-pager -o short-monotonic
}
stop_here() {
    broken "$*"
    exit 1
}
level() { cat /sys/devices/platform/gpio-sim.*/gpiochip*/sim_gpio$LINE/value; }
main_pid() { systemctl show -P MainPID "$1"; }
is_high() { [ "$(level)" = 1 ]; }
is_low() { [ "$(level)" = 0 ]; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# wait_for SECONDS COMMAND...: until it succeeds; emulated seconds are long, so the limits are wide
wait_for() {
    until_s=$(($(date +%s) + $1))
    shift
    while ! "$@"; do
        [ "$(date +%s)" -lt "$until_s" ] || return 1
        sleep 0.05
    done
}
# step WORDS -- COMMAND...: one line for whether it succeeded
step() {
    words=$1 began=$(now_ms)
    shift
    if "$@"; then ok "$words ($((($(now_ms) - began) / 1000)) s)"; else broken "$words"; fi
}

make_hardware() {
    modprobe gpio-sim || stop_here "gpio-sim: no module"
    mkdir -p "$BANK/bank0" || stop_here "gpio-sim: no configfs"
    echo 8 >"$BANK/bank0/num_lines"
    echo 1 >"$BANK/live" || stop_here "gpio-sim: the lines are not made"
    CHIP=/dev/$(cat "$BANK/bank0/chip_name")
    modprobe v4l2loopback video_nr=7 exclusive_caps=1 || stop_here "v4l2loopback"
    ok "$(uname -r), systemd $(systemctl --version | awk 'NR == 1 { print $2 }'), lines on $CHIP, camera at /dev/video7"
}

configure() {
    sed -i -E "s|^# ?driver = .*|driver = \"gpiochip\"|; s|^# ?chip = .*|chip = \"$CHIP\"|; s|^# ?line = .*|line = $LINE|
        s|^# ?source = .*|source = \"/dev/video7\"|; s|^# ?unproven = .*|unproven = \"allow\"|; s|^# ?mode = .*|mode = \"passive\"|
        s|^# ?max_frame_age_s = .*|max_frame_age_s = 10.0|; s|^# ?false_accepts_per_approach = .*|false_accepts_per_approach = 0.0005|" $CONFIG
    sed -i '/^\[status\]/,/^\[/s|^# *serial_port = .*|serial_port = "/dev/ttyS0"|' $CONFIG
    # An emulated start takes minutes where a board takes seconds.
    for unit in face-unlock face-unlock-lock; do
        mkdir -p /etc/systemd/system/$unit.service.d
        printf '[Service]\nTimeoutStartSec=900\n' >/etc/systemd/system/$unit.service.d/emulated.conf
    done
    systemctl daemon-reload
}

# modes PATH MODE OWNER: what install.sh promises
modes() {
    found=$(stat -c '%a %U:%G' "$1")
    [ "$found" = "$2 $3" ] || { echo "board: $1: expected $2 $3, found $found"; return 1; }
}
private() {
    modes $CONFIG 640 root:face-unlock && modes /var/lib/face-unlock 700 face-unlock:face-unlock &&
        modes /var/lib/face-unlock/gallery.db.key 600 face-unlock:face-unlock &&
        modes "$CHIP" 660 root:gpio && ! id -nG face-unlock | grep -qw gpio && id -nG face-unlock-lock | grep -qw gpio
}
verified() {
    ! systemd-analyze verify /etc/systemd/system/face-unlock*.service /etc/systemd/system/face-unlock*.socket 2>&1 |
        grep -v 'emulated.conf' | grep face-unlock
}

film_on() {
    $PROGRAM/.venv/bin/python scripts/board/film.py /dev/video7 "$FACE" >/tmp/film.log 2>&1 &
    FILM=$!
}
film_off() {
    kill "$FILM" 2>/dev/null
    wait "$FILM" 2>/dev/null
}

grant() {
    film_on
    wait_for 300 is_high || { broken "the line did not go high"; film_off; return 1; }
    began=$(now_ms)
    wait_for 60 is_low || { broken "the line stayed high"; film_off; return 1; }
    ok "one grant, the line was high for $(($(now_ms) - began)) ms"
    film_off
}

refusal() {
    face-unlock change eileen --access disabled || return 1
    film_on
    wait_for 300 sh -c "journalctl -u face-unlock --no-pager -o cat -n 30 | grep -q disabled"
    held=$?
    is_low || held=1
    film_off
    face-unlock change eileen --access face || return 1
    return $held
}

# The line is low soon after a process dies or stands still in mid-pulse, whichever it is, and the service comes back.
break_off() {
    for unit in face-unlock face-unlock-lock; do
        for signal in KILL STOP; do
            film_on
            wait_for 300 is_high || { broken "the line did not go high before SIG$signal of $unit"; film_off; continue; }
            pid=$(main_pid $unit) began=$(now_ms)
            kill -"$signal" "$pid"
            if wait_for 180 is_low; then
                ok "SIG$signal of $unit in mid-pulse: locked after $(($(now_ms) - began)) ms"
            else
                broken "SIG$signal of $unit in mid-pulse left the line high"
            fi
            film_off
            # a stopped process is ended by the watchdog
            wait_for 400 came_back $unit "$pid" || broken "$unit did not come back after SIG$signal"
            wait_for 400 systemctl --quiet is-active face-unlock || broken "face-unlock is not running"
        done
    done
}
came_back() {
    now=$(main_pid "$1")
    [ "$now" != "$2" ] && [ "$now" != 0 ] && systemctl --quiet is-active "$1"
}

page() {
    systemctl start face-unlock-page.socket &&
        $PROGRAM/.venv/bin/python -c 'import socket
page = socket.socket(socket.AF_UNIX)
page.settimeout(300)
page.connect("/run/face-unlock-page.sock")
page.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
print(page.recv(4096).decode(errors="replace").splitlines()[0])' | grep " 200 "
}

# docs/owner/secrets.md, "A TPM, another medium"
seal_key() {
    mkdir -p /etc/credstore.encrypted &&
        systemd-creds encrypt --with-key=tpm2 --name=gallery.key /var/lib/face-unlock/gallery.db.key \
            /etc/credstore.encrypted/gallery.key &&
        install -D -m 644 systemd/sealed-key.conf /etc/systemd/system/face-unlock.service.d/sealed-key.conf &&
        systemctl daemon-reload && systemctl restart face-unlock && shred -u /var/lib/face-unlock/gallery.db.key &&
        face-unlock list
}

failed_update() {
    chattr +i $PROGRAM/LICENSE
    scripts/install.sh
    code=$?
    chattr -i $PROGRAM/LICENSE
    [ $code != 0 ] && is_low && ! systemctl --quiet is-active face-unlock face-unlock-lock
}

uninstalled() {
    scripts/uninstall.sh --purge || return 1
    left=$(find / -xdev \( -path /proc -o -path /sys -o -path /src -o -path /tmp -o -path /usr/src \) -prune -o \
        -name '*face-unlock*' -print)
    [ -z "$left" ] || { echo "board: left: $left"; return 1; }
    ! getent passwd face-unlock face-unlock-lock face-unlock-link face-unlock-page && ! systemctl list-units --all | grep face-unlock
}

make_hardware
wait_for 300 sh -c 'ip route | grep -q default' || stop_here "no network"
printf 'Raspberry Pi 5 Model B Rev 1.0\0' >/tmp/model
export MODEL_FILE=/tmp/model
scripts/install.sh || stop_here "install.sh"
ok "installed"
configure
step "units are what systemd reads without a word" verified
install -m 644 "$FACE" /tmp/face.jpg
step "enrolled" face-unlock enroll eileen --images /tmp/face.jpg --no-sheet
step "files, devices and groups are as promised" private
film_on
step "READY" systemctl start face-unlock
film_off
systemctl --quiet is-active face-unlock-lock || broken "the lock process was not started by the recognizer"
grant
step "somebody whose rules say no is not let in" refusal
film_on
face-unlock doctor
ok "the doctor's exit code beside a running door: $?"
film_off
is_low || broken "the doctor moved the bolt"
step "the audit is whole" face-unlock audit verify
step "a backup" face-unlock backup create /var/lib/face-unlock/door.backup --no-passphrase
step "the status page" page
break_off
step "updated while it ran" scripts/install.sh
systemctl --quiet is-active face-unlock || broken "the door does not run after an update"
step "a failed update leaves the door locked" failed_update
step "updated after a failed one" scripts/install.sh
step "started by hand" systemctl start face-unlock-lock face-unlock
step "the key sealed by the TPM" seal_key
grant
journalctl -u face-unlock -u face-unlock-lock --no-pager -o cat | grep -iE 'traceback|permission|not permitted|denied' | sort | uniq -c
step "uninstalled, nothing left" uninstalled
[ $FAILED = 0 ] && echo "board: all done"
