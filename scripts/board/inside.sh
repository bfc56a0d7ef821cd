#!/usr/bin/env bash
# Runs in the machine of image.sh, as root: the owner's page, from install.sh to uninstall.sh --purge, against made-up hardware.
#
#     scripts/board/inside.sh [STEP...]
#
# One line for each thing that was seen, "ok" or "FAILED"; it goes on after a failure where it can, and ends with "all done"
# where none failed. With steps, only these, as in the list at the end: so a machine that stands is used on. What the line of the
# lock did, with the times, stands in /run/board-line.
# shellcheck disable=SC2086,SC2317,SC2329  # the constants are words without blanks; a step is called by its name
set -u
case "${1:-}" in -h | --help) sed -n 2,8p "$0" | cut -c3-; exit ;; esac
cd "$(dirname "$0")/../.." || exit 1
BANK=/sys/kernel/config/gpio-sim/board LINE=5 LEVELS=/run/board-line PAUSE=/run/board-pause SOMEBODY=/run/board-somebody
PROGRAM=/opt/face-unlock CONFIG=/etc/face-unlock/config.toml FLEET=/var/lib/face-unlock/gallery.db.fleet
PYTHON=$PROGRAM/.venv/bin/python
FACE=tests/data/astronaut.jpg
FAILED=0
export TERM=dumb LC_ALL=C.UTF-8 MODEL_FILE=/run/board-model

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
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
level() { read -r LEVEL </sys/devices/platform/gpio-sim.0/gpiochip*/sim_gpio$LINE/value; }
is_high() { level && [ "$LEVEL" = 1 ]; }
is_low() { level && [ "$LEVEL" = 0 ]; }
# A fork is slow here: the shell waits by itself.
pause() {
    [ -p $PAUSE ] || mkfifo $PAUSE
    read -rt "$1" <>$PAUSE
    :
}

# wait_for SECONDS COMMAND...: until it succeeds; emulated seconds are long, so the limits are wide
wait_for() {
    until_s=$((SECONDS + $1))
    shift
    while ! "$@"; do
        [ $SECONDS -lt $until_s ] || return 1
        pause 0.05
    done
}
# step WORDS COMMAND...: one line for whether it succeeded
step() {
    words=$1 began=$(now_ms)
    shift
    if "$@"; then ok "$words ($((($(now_ms) - began) / 1000)) s)"; else broken "$words"; fi
}
is_active() { systemctl --quiet is-active "$@"; }
main_pid() { systemctl show -P MainPID "$1"; }
somebody() { touch $SOMEBODY; }
nobody() { rm -f $SOMEBODY; }
# said SINCE WORDS: a line of the recognizer's with these words, from then on
said() { journalctl -u face-unlock --no-pager -o cat --since "@$1" | grep -E "$2" | tail -n 1 | grep .; }

# In the background: each change of the line, in microseconds.
watch_line() {
    BEFORE=''
    while :; do
        level
        [ "$LEVEL" = "$BEFORE" ] || echo "${EPOCHREALTIME/./} $LEVEL" >>$LEVELS
        BEFORE=$LEVEL
        pause 0.01
    done
}

hardware() {
    printf 'Raspberry Pi 5 Model B Rev 1.0\0' >$MODEL_FILE
    modprobe gpio-sim || stop_here "gpio-sim: no module"
    mkdir -p "$BANK/bank0" || stop_here "gpio-sim: no configfs"
    echo 8 >"$BANK/bank0/num_lines"
    echo 1 >"$BANK/live" || stop_here "gpio-sim: the lines are not made"
    modprobe v4l2loopback video_nr=7 exclusive_caps=1 || stop_here "v4l2loopback"
    systemd-run --quiet --unit=board-line "$PWD/scripts/board/inside.sh" watch_line
    wait_for 300 sh -c 'ip route | grep -q default' || stop_here "no network"
    ok "$(uname -r), systemd $(systemctl --version | awk 'NR == 1 { print $2 }'), lines on $(chip), camera at /dev/video7"
}
chip() { echo "/dev/$(cat "$BANK/bank0/chip_name")"; }

install() {
    began=$(now_ms)
    scripts/install.sh || stop_here "install.sh"
    ok "installed ($((($(now_ms) - began) / 1000)) s)"
}

# The camera needs the program's Python.
camera() {
    is_active board-film && return
    nobody
    systemd-run --quiet --unit=board-film --property=Restart=always \
        $PYTHON "$PWD/scripts/board/film.py" /dev/video7 "$PWD/$FACE" --while $SOMEBODY
    wait_for 300 sh -c 'systemctl show -P MainPID board-film | grep -v "^0$" && sleep 20' >/dev/null
}

set_key() { sed -i -E "s|^# ?$1 = .*|$1 = $2|; s|^$1 = .*|$1 = $2|" $CONFIG; }
# A photograph opens no door that was not told to let it; and a frame takes a second where a board takes a fiftieth.
configure() {
    set_key driver '"gpiochip"'
    set_key chip "\"$(chip)\""
    set_key line $LINE
    set_key source '"/dev/video7"'
    set_key unproven '"allow"'
    set_key mode '"passive"'
    set_key max_frame_age_s 10.0
    set_key track_gap_s 5.0
    set_key kind '"litert"'
    set_key stall_timeout_s 8.0
    sed -i '/^\[status\]/,/^\[/s|^# *serial_port = .*|serial_port = "/dev/ttyS0"|' $CONFIG
    # An emulated start takes minutes where a board takes seconds, and so do the first frames.
    for unit in face-unlock:300 face-unlock-lock:60 face-unlock-link:300 face-unlock-fleet:600; do
        mkdir -p "/etc/systemd/system/${unit%:*}.service.d"
        printf '[Service]\nTimeoutStartSec=900\nWatchdogSec=%s\n' "${unit#*:}" \
            >"/etc/systemd/system/${unit%:*}.service.d/emulated.conf"
    done
    systemctl daemon-reload
    ok "configured"
}

verified() {
    ! systemd-analyze verify /etc/systemd/system/face-unlock*.service /etc/systemd/system/face-unlock*.socket 2>&1 |
        grep -v 'emulated.conf' | grep face-unlock
}
units() {
    step "units are what systemd reads without a word" verified
    for file in /etc/systemd/system/face-unlock*.service /etc/systemd/system/face-unlock*.socket; do
        unit=$(basename "$file")
        state=$(systemctl show -P LoadState "${unit/@/@x}")
        [ "$state" = loaded ] || broken "$unit: $state"
        case $unit in
            *.service) ok "$unit: $state, exposure $(systemd-analyze security --no-pager "${unit/@/@x}" | awk '/Overall/ { print $(NF-2), $(NF-1) }')" ;;
            *) ok "$unit: $state" ;;
        esac
    done
}

enrolled() {
    command install -m 644 $FACE /tmp/face.jpg && face-unlock enroll eileen --images /tmp/face.jpg --no-sheet
}
# modes PATH MODE OWNER: what install.sh promises
modes() {
    found=$(stat -c '%a %U:%G' "$1")
    [ "$found" = "$2 $3" ] || { echo "board: $1: expected $2 $3, found $found"; return 1; }
}
private() {
    modes $CONFIG 640 root:face-unlock && modes /var/lib/face-unlock 700 face-unlock:face-unlock &&
        modes /var/lib/face-unlock/gallery.db.key 600 face-unlock:face-unlock &&
        modes "$(chip)" 660 root:gpio && ! id -nG face-unlock | grep -qw gpio && id -nG face-unlock-lock | grep -qw gpio
}
enroll() {
    step "enrolled" enrolled
    step "files, devices and groups are as promised" private
}

ready() {
    camera
    step "READY" systemctl start face-unlock
    is_active face-unlock-lock || broken "the lock process was not started by the recognizer"
}

last_pulse() { tail -n 2 $LEVELS | awk '{ at[NR] = $1 } END { printf "%.2f s", (at[2] - at[1]) / 1e6 }'; }
grant() {
    somebody
    wait_for 400 is_high || { broken "the line did not go high"; nobody; return 1; }
    nobody
    wait_for 100 is_low || { broken "the line stayed high"; return 1; }
    pause 1
    ok "one grant: the line was high for $(last_pulse)"
}

refused() {
    face-unlock change eileen --access disabled && began=$(date +%s) && somebody &&
        wait_for 400 said "$began" 'refused.*disabled' && pause 15 && is_low && nobody &&
        wait_for 200 said "$began" 'approach.*disabled'
    held=$?
    nobody
    face-unlock change eileen --access face && return $held
}
refusal() { step "somebody whose rules say no is not let in, and the line says why" refused; }

doctor() {
    face-unlock doctor
    ok "the doctor's exit code beside a running door: $?"
    is_low || broken "the doctor moved the bolt"
}
records() {
    step "the audit is whole" face-unlock audit verify
    step "a backup" face-unlock backup create /var/lib/face-unlock/door.backup --no-passphrase
}

costs() { ok "$1: $(($(systemctl show -P MemoryCurrent "$1") / 1048576)) MiB now, $(($(systemctl show -P MemoryPeak "$1") / 1048576)) MiB at most"; }
answers() {
    $PYTHON -c 'import socket, sys
page = socket.socket(socket.AF_UNIX)
page.settimeout(300)
page.connect("/run/face-unlock-page.sock")
page.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
answer = b"".join(iter(lambda: page.recv(65536), b"")).decode()
print(answer.splitlines()[0], len(answer), "bytes")
sys.exit(not ("200 OK" in answer and "eileen" in answer))'
}
pages() {
    step "the status page's socket" systemctl enable --now face-unlock-page.socket
    step "the status page shows who is enrolled, over the Unix socket" answers
    costs face-unlock-page
    step "the page of an enrollment starts as a user of its own" live
}
# A page for an enrollment: its address is printed, and nobody comes.
live() {
    rm -f /tmp/live.log
    systemctl stop face-unlock
    timeout 400 face-unlock enroll visitor --page --page-at 127.0.0.1:8080 </dev/null >/tmp/live.log 2>&1 &
    wait_for 300 grep -q '^open ' /tmp/live.log
    held=$?
    unit=$(systemctl list-units --plain --no-legend 'face-unlock-live@*' | awk 'NR == 1 { print $1 }')
    if [ -n "$unit" ]; then
        costs "$unit"
        ps -o user:20= -p "$(main_pid "$unit")" | grep -w face-unlock-live || held=1
    else
        held=1
        cat /tmp/live.log
    fi
    kill %% && wait %%
    wait_for 60 sh -c '! pgrep -u face-unlock-live' || held=1
    systemctl start face-unlock
    return $held
}

# docs/owner/many_doors.md: this board is keeper, broker and door
joined() {
    face-unlock fleet init --host 127.0.0.1 &&
        command install -d -o mosquitto -g mosquitto -m 700 /etc/mosquitto/face-unlock &&
        command install -o mosquitto -g mosquitto -m 600 $FLEET/broker/* /etc/mosquitto/face-unlock/ &&
        command install -m 644 systemd/mosquitto/face-unlock.conf /etc/mosquitto/conf.d/ &&
        systemctl restart mosquitto && face-unlock fleet add-door front &&
        $PYTHON $PROGRAM/scripts/fleet.py join $FLEET/front.door && rm $FLEET/front.door &&
        sed -i 's|^\[link\]|[link]\nsocket = "/run/face-unlock-link/link.sock"\nname = "front"|' $CONFIG &&
        systemctl enable face-unlock-link face-unlock-fleet &&
        systemctl restart face-unlock-link face-unlock-fleet face-unlock
}
link_keys() {
    modes /var/lib/face-unlock-link 700 face-unlock-link:face-unlock-link &&
        modes /var/lib/face-unlock-link/client.key 600 face-unlock-link:face-unlock-link &&
        modes $FLEET 700 face-unlock:face-unlock
}
link() {
    step "joined a fleet: link and fleet started" joined
    step "connected to a broker" wait_for 300 sh -c 'journalctl -u face-unlock-link --no-pager -o cat | grep -q connected'
    step "keys of link and keeper are private" link_keys
    costs face-unlock-link
    costs face-unlock-fleet
    step "viewers' page: its socket" systemctl enable --now face-unlock-page-tls.socket
    step "viewers' page: a viewer sees it, somebody without a certificate does not" viewed
    costs face-unlock-page-tls
}
viewed() {
    password=$(face-unlock fleet viewer anna | sed -n 's/.*the password \(.*\), then.*/\1/p')
    openssl pkcs12 -in $FLEET/anna.p12 -passin "pass:$password" -nodes -out /tmp/anna.pem || return 1
    $PYTHON - <<'END'
import ssl, sys, urllib.request
def status(certificate):
    context = ssl.create_default_context(cafile="/var/lib/face-unlock-page/ca.pem")
    context.check_hostname = False
    if certificate:
        context.load_cert_chain(certificate)
    request = urllib.request.Request("https://127.0.0.1:8443/", headers={"Host": "front.local:8443"})
    try:
        return urllib.request.urlopen(request, context=context, timeout=300).status
    except OSError as error:
        return str(error)
seen = status("/tmp/anna.pem"), status(None)
print(seen)
sys.exit(not (seen[0] == 200 and seen[1] != 200))
END
}

# The line is low soon after a process dies or stands still in mid-pulse, whichever it is, and the service comes back.
death() {
    set_key pulse_s 30.0
    systemctl restart face-unlock-lock face-unlock
    for unit in face-unlock face-unlock-lock; do
        for signal in KILL STOP; do break_off $unit $signal; done
    done
    set_key pulse_s 5.0
    systemctl restart face-unlock-lock face-unlock
}
break_off() {
    unit=$1 signal=$2
    somebody
    wait_for 400 is_high || { broken "the line did not go high before SIG$signal of $unit"; nobody; return; }
    pid=$(main_pid "$unit") began=$(now_ms)
    kill -"$signal" "$pid"
    nobody
    if wait_for 25 is_low; then
        ok "SIG$signal of $unit in mid-pulse of 30 s: locked after $(($(now_ms) - began)) ms"
    else
        broken "SIG$signal of $unit in mid-pulse left the line high"
    fi
    # a stopped process is ended by the watchdog
    wait_for 400 came_back "$unit" "$pid" || broken "$unit did not come back after SIG$signal"
    journalctl -u "$unit" --no-pager -o cat --since "@$((began / 1000))" | grep -iE 'watchdog|killed|status=' | head -n 3
    wait_for 400 is_active face-unlock || broken "face-unlock is not running"
}
came_back() {
    now=$(main_pid "$1")
    [ "$now" != "$2" ] && [ "$now" != 0 ] && is_active "$1"
}

# The same where no frame is fast enough to open: the recognizer's place at the bolt is taken by a program that only asks.
bolt() {
    systemctl stop face-unlock board-film
    asked KILL face-unlock-ask whole
    set_key pulse_s 30.0
    systemctl restart face-unlock-lock
    for signal in KILL STOP; do
        for unit in face-unlock-ask face-unlock-lock; do asked $signal $unit; done
    done
    set_key pulse_s 5.0
    systemctl restart face-unlock-lock
}
# asked SIGNAL UNIT [whole]: a pulse, and in its midst a signal; a whole one comes to its end first
asked() {
    systemd-run --quiet --collect --unit=face-unlock-ask --uid=face-unlock --gid=face-unlock $PYTHON "$PWD/scripts/board/ask.py"
    wait_for 120 is_high || { broken "no pulse before SIG$1 of $2"; systemctl stop face-unlock-ask; return; }
    [ -z "${3:-}" ] || wait_for 60 is_low
    pid=$(main_pid "$2") began=$(now_ms)
    kill -"$1" "$pid"
    wait_for 28 is_low || broken "SIG$1 of $2 left the line high"
    ok "SIG$1 of $2${3:+ after its pulse}: low $(($(now_ms) - began)) ms later; high for $(last_pulse)"
    kill -KILL "$(main_pid face-unlock-ask)" 2>/dev/null
    wait_for 200 is_active face-unlock-lock || broken "face-unlock-lock did not come back"
}

update() {
    step "updated while it ran" scripts/install.sh
    is_active face-unlock || broken "the door does not run after an update"
    step "a failed update leaves the door locked" failed_update
    step "updated after a failed one" scripts/install.sh
    step "started by hand" systemctl start face-unlock-lock face-unlock
}
failed_update() {
    chattr +i $PROGRAM/LICENSE
    scripts/install.sh
    code=$?
    chattr -i $PROGRAM/LICENSE
    [ $code != 0 ] && is_low && ! is_active face-unlock face-unlock-lock
}

# docs/owner/secrets.md, "A TPM, another medium"
sealed() {
    mkdir -p /etc/credstore.encrypted &&
        systemd-creds encrypt --with-key=tpm2 --name=gallery.key /var/lib/face-unlock/gallery.db.key \
            /etc/credstore.encrypted/gallery.key &&
        for unit in face-unlock face-unlock-fleet; do
            command install -D -m 644 systemd/sealed-key.conf /etc/systemd/system/$unit.service.d/sealed-key.conf
        done &&
        systemctl daemon-reload && systemctl restart face-unlock && systemctl try-restart face-unlock-fleet &&
        shred -u /var/lib/face-unlock/gallery.db.key && face-unlock list && face-unlock keys show
}
seal() {
    step "the key sealed by the TPM" sealed
    grant
}

uninstalled() {
    scripts/uninstall.sh --purge || return 1
    left=$(find / -xdev \( -path /proc -o -path /sys -o -path "$PWD" -o -path /tmp -o -path /usr/src -o -path /src -o -path /home \) -prune -o \
        -name '*face-unlock*' -print)
    [ -z "$left" ] || { echo "board: left: $left"; return 1; }
    ! getent passwd face-unlock face-unlock-lock face-unlock-link face-unlock-page face-unlock-live &&
        ! systemctl list-units --all | grep face-unlock
}
uninstall() {
    journalctl -u 'face-unlock*' --no-pager -o cat | grep -iE 'traceback|permission|not permitted|denied' | sort | uniq -c
    systemctl stop board-film
    step "uninstalled, nothing left" uninstalled
    is_low || broken "the line is high after it"
}

ALL=$#
[ $ALL -gt 0 ] || set -- hardware install configure units enroll ready grant refusal doctor records pages link death update seal uninstall
for name in "$@"; do "$name"; done
[ $FAILED = 0 ] && [ $ALL = 0 ] && echo "board: all done"
exit $((FAILED > 0))
