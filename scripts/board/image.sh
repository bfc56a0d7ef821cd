#!/usr/bin/env bash
# Build a Debian image with this tree and boot it; the machine checks itself (inside.sh): make board [ARGS=build|boot|shell]
#
#     scripts/board/image.sh [build|boot|shell|all]
#
# shell boots the same machine for somebody who types: it stays on, user pi is logged in at FACE_UNLOCK_BOARDS/shell.sock
# (socat -,raw,echo=0 UNIX:...), its disk is kept, and the commands savevm and loadvm at monitor.sock keep its whole state.
#
# Needs root, mmdebstrap, qemu-system-x86, qemu-utils, swtpm and e2fsprogs (apt), and some 12 GB in FACE_UNLOCK_BOARDS. No KVM is asked for.
# gpio-sim is built from Debian's kernel source, for its kernel lacks it, and patched to keep an output after its owner
# died, as a Raspberry Pi does: without that a relock would never be tested.
# shellcheck disable=SC2016  # what stands in single quotes is for apt and for shells of the other machine
set -eu
case "${1:-}" in -h | --help) sed -n 2,11p "$0" | cut -c3-; exit ;; esac
cd "$(dirname "$0")/../.."
WHAT=${1:-all}
BOARDS=${FACE_UNLOCK_BOARDS:-${XDG_CACHE_HOME:-$HOME/.cache}/face-unlock-boards}
ROOT=$BOARDS/amd64 IMAGE=$BOARDS/board.img LOG=$BOARDS/board.log WHEELS=$BOARDS/wheels
PACKAGES=linux-image-amd64,linux-headers-amd64,linux-source,v4l2loopback-source,build-essential,xz-utils,make,kmod
PACKAGES=$PACKAGES,init,systemd-sysv,udev,dbus,iproute2,procps,sudo,ca-certificates,tpm2-tools
PACKAGES=$PACKAGES,python3-venv,python3-libcamera,libgl1,libglib2.0-0t64,libegl1,libgles2
BOOT_S=7200 # emulation without KVM is slow

say() { echo "$(date -u +%H:%M:%S) $*"; }
fail() { echo "board: $*" >&2; exit 1; }

check_host() {
    [ "$(id -u)" = 0 ] || fail "not root: sudo make board"
    for tool in mmdebstrap qemu-system-x86_64 qemu-img swtpm mkfs.ext4; do
        command -v "$tool" >/dev/null || fail "no $tool: apt install mmdebstrap qemu-system-x86 qemu-utils swtpm e2fsprogs"
    done
}

in_root() { chroot "$ROOT" env LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

make_root() {
    [ ! -e "$ROOT/.made" ] || return 0
    say "making $ROOT: Debian trixie, amd64"
    rm -rf "$ROOT"
    MIRROR=$(apt-get indextargets --format '$(SITE)' | head -n 1)
    mmdebstrap --variant=apt --dpkgopt=force-unsafe-io --include="$PACKAGES" trixie "$ROOT" "$MIRROR" >"$BOARDS/root.log" 2>&1 ||
        fail "mmdebstrap failed: see $BOARDS/root.log"
    touch "$ROOT/.made"
}

make_modules() {
    [ ! -e "$ROOT/.modules" ] || return 0
    say "making the kernel modules"
    in_root sh -eu -c '
        kernel=$(basename /lib/modules/*-amd64)
        build=/lib/modules/$kernel/build
        mkdir -p /usr/src/sim /usr/src/loopback
        cd /usr/src/sim
        tar -xJf /usr/src/linux-source-*.tar.xz --strip-components=3 --wildcards "*/drivers/gpio/gpio-sim.c" "*/kernel/irq/irq_sim.c"
        # not exported to modules: the number says the same
        sed -i "s/handle_simple_irq(irq_to_desc(\([^)]*\)))/generic_handle_irq(\1)/" irq_sim.c
        # an output keeps its level when its owner dies
        sed -i "s/test_bit(offset, chip->pull_map));/test_bit(offset, chip->value_map));/" gpio-sim.c
        grep -q "test_bit(offset, chip->value_map));" gpio-sim.c
        printf "obj-m := gpio_sim.o\ngpio_sim-y := gpio-sim.o irq_sim.o\n" >Makefile
        tar -xf /usr/src/v4l2loopback.tar.* -C /usr/src/loopback
        for folder in /usr/src/sim $(dirname "$(find /usr/src/loopback -name v4l2loopback.c)"); do
            make -C "$build" M="$folder" modules
            make -C "$build" M="$folder" modules_install
        done
        depmod "$kernel"' >"$BOARDS/modules.log" 2>&1 || fail "a kernel module cannot be built: see $BOARDS/modules.log"
    touch "$ROOT/.modules"
}

# The board's pip would take minutes for each of these, unpacking TLS in an emulator; the index stays in use for the rest.
get_wheels() {
    [ ! -e "$WHEELS/.made" ] || return 0
    say "getting the wheels"
    rm -rf "$WHEELS" "$ROOT/usr/src/requirements"
    mkdir -p "$WHEELS" "$ROOT/usr/src/wheels"
    cp -R requirements "$ROOT/usr/src/requirements"
    cp -fL /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"
    rm -f "$ROOT/etc/resolv.conf"
    cp -fL /etc/resolv.conf "$ROOT/etc/resolv.conf"
    in_root sh -eu -c '
        python3 -m venv /usr/src/pip
        cd /usr/src/wheels
        /usr/src/pip/bin/pip download --constraint /usr/src/requirements/constraints.txt --requirement /usr/src/requirements/board.txt
        /usr/src/pip/bin/pip download --no-deps --only-binary=:all: --platform manylinux2014_x86_64 --python-version 3.11 "$1"
        rm -rf /usr/src/pip' sh "mediapipe==$(sed -n 's/^MEDIAPIPE_VERSION = "\(.*\)".*/\1/p' device/vision/assets.py)" \
        >"$BOARDS/wheels.log" 2>&1 || fail "the wheels cannot be had: see $BOARDS/wheels.log"
    cp "$ROOT"/usr/src/wheels/* "$WHEELS/"
    touch "$WHEELS/.made"
}

# Raspberry Pi OS has them, Debian has not: empty packages of their names, so that install.sh is run as it is.
make_empty_packages() {
    for name in python3-picamera2 python3-lgpio; do
        mkdir -p "$ROOT/usr/src/$name/DEBIAN"
        printf '%s\n' "Package: $name" "Version: 0" "Architecture: all" "Maintainer: board <root@localhost>" \
            "Description: empty" >"$ROOT/usr/src/$name/DEBIAN/control"
        in_root sh -c 'cd /usr/src && dpkg-deb --build "$1" && dpkg -i "$1.deb"' sh $name >"$BOARDS/packages.log"
    done
}

make_image() {
    say "making $IMAGE, $(git rev-parse --short HEAD)"
    rm -rf "$ROOT/src"
    mkdir -p "$ROOT/src"
    git archive HEAD | tar -x -C "$ROOT/src"
    mkdir -p "$ROOT/usr/src/wheels"
    cp "$WHEELS"/* "$ROOT/usr/src/wheels/"
    printf '[global]\nfind-links = /usr/src/wheels\n' >"$ROOT/etc/pip.conf"
    cp -fL /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"
    echo board >"$ROOT/etc/hostname"
    printf "127.0.0.1 localhost\n127.0.1.1 board\n" >"$ROOT/etc/hosts"
    rm -f "$ROOT/etc/resolv.conf"
    echo "nameserver 10.0.2.3" >"$ROOT/etc/resolv.conf"
    make_owner
    mkdir -p "$ROOT/etc/systemd/network"
    printf '[Match]\nType=ether\n[Network]\nDHCP=ipv4\n' >"$ROOT/etc/systemd/network/any.network"
    cat >"$ROOT/etc/systemd/system/board-test.service" <<'END'
[Unit]
Description=The board checks itself, then goes off
After=multi-user.target
ConditionKernelCommandLine=board.test
[Service]
Type=oneshot
ExecStart=/src/scripts/board/inside.sh
ExecStopPost=/bin/systemctl poweroff --no-block
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
END
    mkdir -p "$ROOT/etc/systemd/system/multi-user.target.wants"
    ln -sf ../board-test.service "$ROOT/etc/systemd/system/multi-user.target.wants/"
    ln -sf /usr/lib/systemd/system/systemd-networkd.service "$ROOT/etc/systemd/system/multi-user.target.wants/"
    rm -f "$IMAGE"
    truncate -s 8G "$IMAGE"
    mkfs.ext4 -q -F -d "$ROOT" "$IMAGE"
    cp -fL "$ROOT"/boot/vmlinuz-* "$BOARDS/vmlinuz"
    cp -fL "$ROOT"/boot/initrd.img-* "$BOARDS/initrd"
}

# The first user of a Raspberry Pi: pi, in group adm, with sudo. The installer is told what board it is on.
make_owner() {
    in_root sh -c 'id pi >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --groups adm,sudo pi'
    printf 'Defaults env_keep += "MODEL_FILE"\npi ALL=(ALL) NOPASSWD: ALL\n' >"$ROOT/etc/sudoers.d/pi"
    chmod 440 "$ROOT/etc/sudoers.d/pi"
    printf 'Raspberry Pi 5 Model B Rev 1.0\0' >"$ROOT/etc/board-model"
    echo 'export MODEL_FILE=/etc/board-model' >"$ROOT/etc/profile.d/board.sh"
    cat >"$ROOT/etc/systemd/system/board-shell@.service" <<'END'
[Unit]
Description=Where pi types, at %I
ConditionPathExists=/dev/%I
[Service]
ExecStart=/bin/su --login pi
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/%I
Environment=TERM=dumb
Restart=always
END
    for console in hvc0 hvc1; do
        ln -sf ../board-shell@.service "$ROOT/etc/systemd/system/multi-user.target.wants/board-shell@$console.service"
    done
}

# machine DISK KERNEL_WORDS QEMU_OPTION...: ttyS0 is the door's serial log, ttyS1 the console and what inside.sh says.
machine() {
    DISK=$1 WORDS=$2
    shift 2
    mkdir -p "$BOARDS/tpm"
    swtpm socket --tpm2 --tpmstate dir="$BOARDS/tpm" --ctrl type=unixio,path="$BOARDS/tpm/sock" --daemon --terminate
    qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 3072 -display none -no-reboot \
        -drive file="$DISK",format=qcow2,if=virtio,cache=unsafe -nic user,model=virtio \
        -kernel "$BOARDS/vmlinuz" -initrd "$BOARDS/initrd" \
        -append "root=/dev/vda rw console=ttyS1 quiet systemd.mask=serial-getty@ttyS1.service systemd.mask=serial-getty@hvc0.service $WORDS" \
        -chardev socket,id=tpm,path="$BOARDS/tpm/sock" -tpmdev emulator,id=tpm,chardev=tpm -device tpm-tis,tpmdev=tpm \
        -serial file:"$BOARDS/serial.log" -serial file:"$LOG" "$@"
}

# make_disk NAME: what is written goes there, and the image stays bare.
make_disk() {
    rm -f "$BOARDS/$1"
    qemu-img create -q -f qcow2 -b "$IMAGE" -F raw "$BOARDS/$1"
}

open_shell() {
    [ -e "$BOARDS/shell.qcow2" ] || make_disk shell.qcow2
    say "booting: socat -,raw,echo=0 UNIX:$BOARDS/shell.sock"
    machine "$BOARDS/shell.qcow2" "" -monitor unix:"$BOARDS/monitor.sock",server=on,wait=off -device virtio-serial \
        -chardev socket,id=shell,path="$BOARDS/shell.sock",server=on,wait=off -device virtconsole,chardev=shell \
        -chardev socket,id=second,path="$BOARDS/second.sock",server=on,wait=off -device virtconsole,chardev=second
}

boot() {
    make_disk boot.qcow2
    say "booting"
    ended=0
    export -f machine
    export BOARDS LOG
    timeout "$BOOT_S" bash -c 'machine "$1" board.test -monitor none' bash "$BOARDS/boot.qcow2" || ended=$?
    [ "$ended" = 0 ] || fail "the machine did not go off by itself: see $LOG"
    grep -a "^board: " "$LOG" || true
    grep -aq "^board: all done" "$LOG" || fail "it did not come to the end: see $LOG"
    for event in started granted refused unlocked locked; do
        grep -aq "\"event\": \"$event\"" "$BOARDS/serial.log" || fail "the serial log has no $event: see $BOARDS/serial.log"
    done
    ! grep -aq similarity "$BOARDS/serial.log" || fail "a similarity on the serial log: see $BOARDS/serial.log"
    say "done"
}

check_host
mkdir -p "$BOARDS"
case $WHAT in build | boot | shell | all) ;; *) fail "expected build, boot, shell or all, received $WHAT" ;; esac
if [ "$WHAT" = build ] || [ "$WHAT" = all ]; then
    make_root
    make_modules
    get_wheels
    make_empty_packages
    make_image
fi
case $WHAT in boot | all) boot ;; shell) open_shell ;; esac
