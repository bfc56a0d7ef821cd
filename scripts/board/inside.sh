#!/usr/bin/env bash
# Runs in the machine of image.sh: the owner's page, from install.sh to uninstall.sh --purge, against made-up hardware.
#
# One line for each step that held; the first that does not ends it with exit code 1.
set -u
case "${1:-}" in -h | --help) sed -n 2,4p "$0" | cut -c3-; exit ;; esac
cd /src || exit 1
BANK=/sys/kernel/config/gpio-sim/board LINE=5
PROGRAM=/opt/face-unlock

ok() { echo "board: ok: $*"; }
fail() {
    echo "board: FAILED: $*"
    journalctl -u face-unlock -u face-unlock-lock -n 40 --no-pager
    exit 1
}
level() { cat /sys/devices/platform/gpio-sim.*/gpiochip*/sim_gpio$LINE/value; }
main_pid() { systemctl show -P MainPID "$1"; }

# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
    until_s=$(($(date +%s) + $1))
    shift
    while ! "$@"; do
        [ "$(date +%s)" -lt "$until_s" ] || return 1
        sleep 0.05
    done
}
is_high() { [ "$(level)" = 1 ]; }
is_low() { [ "$(level)" = 0 ]; }

make_hardware() {
    modprobe gpio-sim && mount -t configfs configfs /sys/kernel/config 2>/dev/null
    mkdir -p "$BANK/bank0" || fail "gpio-sim: no module, or no configfs"
    echo 8 >"$BANK/bank0/num_lines"
    echo 1 >"$BANK/live" || fail "gpio-sim: the lines are not made"
    CHIP=/dev/$(cat "$BANK/bank0/chip_name")
    modprobe v4l2loopback video_nr=7 exclusive_caps=1 || fail "v4l2loopback"
    ok "made-up lines on $CHIP, camera at /dev/video7"
}

install_program() {
    MODEL_FILE=/tmp/model
    printf 'Raspberry Pi 5 Model B Rev 1.0\0' >"$MODEL_FILE"
    export MODEL_FILE
    scripts/install.sh || fail "install.sh"
    sed -i -E "s|^# ?driver = .*|driver = \"gpiochip\"|; s|^# ?chip = .*|chip = \"$CHIP\"|; s|^# ?line = .*|line = $LINE|" \
        /etc/face-unlock/config.toml
    sed -i -E 's|^# ?source = .*|source = "/dev/video7"|; s|^# ?unproven = .*|unproven = "allow"|; s|^# ?mode = .*|mode = "passive"|' \
        /etc/face-unlock/config.toml
    ok "installed"
}

film() { $PROGRAM/.venv/bin/python scripts/board/film.py /dev/video7 "$1" >/dev/null 2>&1 & FILM=$!; sleep 2; }

grant() {
    film "$1"
    wait_for 120 is_high || fail "the line did not go high"
    began=$(date +%s%N)
    [ -z "${2:-}" ] || return 0
    wait_for 30 is_low || fail "the line stayed high"
    ok "one grant, the line was high for $((($(date +%s%N) - began) / 1000000)) ms"
    kill "$FILM"
}

# The line is low soon after a process dies or stands still in mid-pulse, whichever it is.
break_off() {
    for unit in face-unlock face-unlock-lock; do
        for signal in KILL STOP; do
            grant tests/data/astronaut.jpg broken
            kill -"$signal" "$(main_pid $unit)"
            wait_for 40 is_low || fail "SIG$signal of $unit in mid-pulse left the line high"
            kill "$FILM"
            ok "SIG$signal of $unit in mid-pulse: locked"
            wait_for 120 systemctl --quiet is-active $unit || fail "$unit did not come back"
        done
    done
}

make_hardware
install_program
install -m 644 tests/data/astronaut.jpg /var/lib/face-unlock/astronaut.jpg
face-unlock enroll eileen --images /var/lib/face-unlock/astronaut.jpg --no-sheet || fail "enroll"
ok "enrolled"
systemctl start face-unlock-lock face-unlock || fail "the services do not start"
ok "READY"
grant tests/data/astronaut.jpg
face-unlock doctor
is_low || fail "the doctor moved the bolt"
ok "the doctor ran beside the door"
break_off
scripts/install.sh || fail "update while it runs"
systemctl --quiet is-active face-unlock || fail "the door does not run after an update"
ok "updated while it ran"
scripts/install.sh --wheel /nonexistent && fail "an update without its models succeeded"
wait_for 60 is_low || fail "a failed update left the line high"
ok "a failed update left the door locked"
scripts/uninstall.sh --purge || fail "uninstall"
if [ -e /opt/face-unlock ] || [ -e /var/lib/face-unlock ]; then fail "purge left something"; fi
ok "uninstalled"
echo "board: all done"
