#!/usr/bin/env bash
# Build a Debian image with this tree and boot it; the machine checks itself (inside.sh): make board [ARGS=build|boot]
#
#     scripts/board/image.sh [build|boot|all]
#
# Needs root, debootstrap, qemu-system-x86, swtpm and e2fsprogs (apt), and some 8 GB in FACE_UNLOCK_BOARDS. No KVM is asked for.
# gpio-sim is built from Debian's kernel source, for its kernel lacks it, and patched to keep an output after its owner
# died, as a Raspberry Pi does: without that a relock would never be tested.
# shellcheck disable=SC2016  # what stands in single quotes is for apt and for shells of the other machine
set -eu
case "${1:-}" in -h | --help) sed -n 2,8p "$0" | cut -c3-; exit ;; esac
cd "$(dirname "$0")/../.."
WHAT=${1:-all}
BOARDS=${FACE_UNLOCK_BOARDS:-${XDG_CACHE_HOME:-$HOME/.cache}/face-unlock-boards}
ROOT=$BOARDS/amd64 IMAGE=$BOARDS/board.img LOG=$BOARDS/board.log
PACKAGES=linux-image-amd64,linux-headers-amd64,linux-source,build-essential,systemd-sysv,udev,dbus,kmod,sudo,python3-venv
PACKAGES=$PACKAGES,ca-certificates,iproute2,procps,xz-utils,systemd-timesyncd,v4l2loopback-source,git,make,ifupdown,isc-dhcp-client
BOOT_S=3600 # emulation without KVM is slow

fail() { echo "board: $*" >&2; exit 1; }

check_host() {
    [ "$(id -u)" = 0 ] || fail "not root: sudo make board"
    for tool in debootstrap qemu-system-x86_64 swtpm mkfs.ext4; do
        command -v "$tool" >/dev/null || fail "no $tool: apt install debootstrap qemu-system-x86 swtpm e2fsprogs"
    done
}

in_root() { chroot "$ROOT" env LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

make_root() {
    [ ! -e "$ROOT/.made" ] || return 0
    rm -rf "$ROOT"
    mkdir -p "$ROOT"
    MIRROR=$(apt-get indextargets --format '$(SITE)' | head -n 1)
    debootstrap --include="$PACKAGES" trixie "$ROOT" "$MIRROR" >"$BOARDS/debootstrap.log" 2>&1 ||
        fail "debootstrap failed: see $BOARDS/debootstrap.log"
    make_modules >"$BOARDS/modules.log" 2>&1 || fail "a kernel module cannot be built: see $BOARDS/modules.log"
    touch "$ROOT/.made"
}

make_modules() {
    KERNEL=$(in_root sh -c 'basename /lib/modules/*-amd64')
    in_root sh -eu -c '
        mkdir -p /usr/src/sim && cd /usr/src/sim
        tar -xJf /usr/src/linux-source-*.tar.xz --strip-components=1 --wildcards "*/drivers/gpio/gpio-sim.c" \
            "*/drivers/gpio/gpiolib*.h" "*/kernel/irq/irq_sim.c" "*/drivers/gpio/dev-sync-probe.*" || true
        cp drivers/gpio/gpio-sim.c drivers/gpio/gpiolib*.h kernel/irq/irq_sim.c .
        # not exported to modules: the number says the same
        sed -i "s/handle_simple_irq(irq_to_desc(\([^)]*\)))/generic_handle_irq(\1)/" irq_sim.c
        # an output keeps its level when its owner dies
        sed -i "/^static void gpio_sim_free/,/^}/s/^\(\t.*value_map.*\)/\t\/\* kept \*\//" gpio-sim.c
        printf "obj-m := gpio_sim.o\ngpio_sim-y := gpio-sim.o irq_sim.o\n" >Makefile
        make -C "/lib/modules/$1/build" M="$PWD" modules
        make -C "/lib/modules/$1/build" M="$PWD" modules_install
        mkdir -p /usr/src/loopback && tar -xf /usr/src/v4l2loopback.tar.* -C /usr/src/loopback --strip-components=2
        make -C "/lib/modules/$1/build" M=/usr/src/loopback modules
        make -C "/lib/modules/$1/build" M=/usr/src/loopback modules_install
        depmod "$1"' sh "$KERNEL"
}

make_image() {
    rm -rf "$ROOT/src"
    mkdir -p "$ROOT/src"
    git archive HEAD | tar -x -C "$ROOT/src"
    cp -fL /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"
    printf 'auto lo\niface lo inet loopback\nallow-hotplug ens2 enp0s2\niface ens2 inet dhcp\niface enp0s2 inet dhcp\n' \
        >"$ROOT/etc/network/interfaces"
    echo board >"$ROOT/etc/hostname"
    cat >"$ROOT/etc/systemd/system/board-test.service" <<'END'
[Unit]
Description=The board checks itself, then goes off
After=multi-user.target
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
    rm -f "$IMAGE"
    truncate -s 8G "$IMAGE"
    mkfs.ext4 -q -F -d "$ROOT" "$IMAGE"
    cp -fL "$ROOT"/boot/vmlinuz-* "$BOARDS/vmlinuz"
    cp -fL "$ROOT"/boot/initrd.img-* "$BOARDS/initrd"
}

boot() {
    mkdir -p "$BOARDS/tpm"
    swtpm socket --tpm2 --tpmstate dir="$BOARDS/tpm" --ctrl type=unixio,path="$BOARDS/tpm/sock" --daemon --terminate
    timeout "$BOOT_S" qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 3072 -nographic -no-reboot \
        -drive file="$IMAGE",format=raw,if=virtio -nic user,model=virtio \
        -kernel "$BOARDS/vmlinuz" -initrd "$BOARDS/initrd" -append "root=/dev/vda rw console=ttyS0 quiet" \
        -chardev socket,id=tpm,path="$BOARDS/tpm/sock" -tpmdev emulator,id=tpm,chardev=tpm -device tpm-tis,tpmdev=tpm \
        -serial file:"$BOARDS/console.log" -serial file:"$LOG" -monitor none || fail "the machine did not go off by itself"
    cat "$LOG"
    grep -q "^board: all done" "$LOG" || fail "it did not come to the end: see $LOG and $BOARDS/console.log"
}

check_host
mkdir -p "$BOARDS"
[ "$WHAT" = boot ] || { make_root && make_image; }
[ "$WHAT" = build ] || boot
