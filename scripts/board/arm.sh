#!/usr/bin/env bash
# The project on an arm64 Debian under emulation, once as a Cortex-A72 and once as an A76: make arm [ARGS="a72 tests"]
#
#     scripts/board/arm.sh [a72|a76|all] [setup|enroll|tests|demo|all]
#
# Needs root, Linux, debootstrap and qemu-user-static (apt), and some 6 GB in FACE_UNLOCK_BOARDS (~/.cache/face-unlock-boards);
# where there is uv (PyPI), it unpacks the packages, which is slow under emulation.
# A Raspberry Pi 4 is an A72: it lacks the LSE atomics of a Pi 5's A76, and MediaPipe's wheel ends there with SIGILL, so the
# Makefile takes another list of requirements. /proc/cpuinfo under emulation is the host's: a written one is bound over it.
# shellcheck disable=SC2016  # what stands in single quotes is for apt and for shells of the other machine
set -eu
case "${1:-}" in -h | --help) sed -n 2,9p "$0" | cut -c3-; exit ;; esac
cd "$(dirname "$0")/../.."
CORES=${1:-all} STEPS=${2:-all}
[ "$CORES" != all ] || CORES="a72 a76"
[ "$STEPS" != all ] || STEPS="setup enroll tests demo"
BOARDS=${FACE_UNLOCK_BOARDS:-${XDG_CACHE_HOME:-$HOME/.cache}/face-unlock-boards}
ROOT=$BOARDS/arm64
PACKAGES=python3,python3-venv,make,ca-certificates,libgl1,libglib2.0-0t64,libegl1,libgles2
TESTS="tests/vision/test_detect.py tests/vision/test_align.py tests/vision/test_embed.py tests/vision/test_pixels.py
    tests/gallery/test_gallery.py tests/lock"

say() { echo "$(date -u +%H:%M:%S) $*"; }
fail() { echo "arm: $*" >&2; exit 1; }

check_host() {
    [ "$(id -u)" = 0 ] || fail "not root: a root file system of another machine needs it: sudo make arm"
    command -v debootstrap >/dev/null || fail "no debootstrap: apt install debootstrap qemu-user-static binfmt-support"
    [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc ||
        fail "this machine does not let binfmt_misc be mounted, so no arm64 program can be run here"
    [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64 ||
        fail "qemu-aarch64 is not registered: apt install qemu-user-static binfmt-support"
}

# The mirror that this machine's own apt uses, so that no address stands here.
make_root() {
    [ ! -e "$ROOT/.made" ] || return 0
    MIRROR=$(apt-get indextargets --format '$(SITE)' | head -n 1)
    say "making $ROOT: Debian trixie, arm64"
    rm -rf "$ROOT"
    mkdir -p "$ROOT"
    debootstrap --arch arm64 --variant=minbase --include="$PACKAGES" trixie "$ROOT" "$MIRROR" >"$BOARDS/debootstrap.log" 2>&1 ||
        fail "debootstrap failed: see $BOARDS/debootstrap.log"
    touch "$ROOT/.made"
}

# One tree for each core: its virtual environment stays from run to run.
copy_tree() {
    mkdir -p "$ROOT/$1"
    git archive HEAD | tar -x -C "$ROOT/$1"
    cp -f /etc/resolv.conf "$ROOT/etc/resolv.conf"
    cp -fL /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"
}

# shellcheck disable=SC2086  # a list of words
cpuinfo() {
    FLAGS="fp asimd evtstrm aes pmull sha1 sha2 crc32" PART=0xd08
    [ "$1" = a72 ] || FLAGS="$FLAGS atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp" PART=0xd0b
    for number in 0 1 2 3; do
        printf 'processor\t: %s\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: %s\n\n' \
            "$number" "$FLAGS" "$PART"
    done >"$BOARDS/cpuinfo.$1"
}

# Run a command in the tree of a core, with that core's processor; what is mounted for it goes with its own name space.
within() {
    core=$1
    shift
    unshare --mount sh -c '
        set -e
        mount -t proc proc "$1/proc"
        mount --bind "$2" "$1/proc/cpuinfo"
        mount --rbind /dev "$1/dev"
        shift 2
        exec chroot "$@"' sh "$ROOT" "$BOARDS/cpuinfo.$core" "$ROOT" \
        env QEMU_CPU="cortex-$core" HOME=/home/owner LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        sh -c 'mkdir -p "$HOME"; cd "/$0"; exec "$@"' "$core" "$@"
}

# Under emulation pip is slow at unpacking: where this machine has uv, uv does it, and `make setup` finds it done. The two
# MediaPipe networks are copied from this user's cache.
fill() {
    mkdir -p "$ROOT/home/owner/.cache/face-unlock"
    cp -f "${XDG_CACHE_HOME:-$HOME/.cache}"/face-unlock/*.tflite "$ROOT/home/owner/.cache/face-unlock/" 2>/dev/null || true
    command -v uv >/dev/null || return 0
    [ -x "$ROOT/$1/.venv/bin/python" ] || within "$1" python3 -m venv .venv
    board="board"
    [ "$1" != a72 ] || board="board-litert"
    uv pip install --quiet --link-mode copy --only-binary :all: --python-platform aarch64-manylinux_2_36 --python-version 3.13 \
        --target "$ROOT/$1/.venv/lib/python3.13/site-packages" --constraint requirements/constraints.txt \
        --requirement "requirements/$board.txt" --requirement requirements/test.txt
}

step() {
    began=$(date +%s)
    case $2 in
        setup) fill "$1" && within "$1" make setup ;;
        enroll) within "$1" .venv/bin/python enroll.py --name Eileen --images tests/data/astronaut.jpg --no-sheet \
            --replace --gallery /tmp/"$1".db --config /dev/null ;;
        tests)
            # shellcheck disable=SC2086  # a list of words
            within "$1" .venv/bin/python -m pytest -q --timeout=1800 $TESTS ;;
        demo) within "$1" make demo ;;
        *) fail "expected setup, enroll, tests, demo or all, received $2" ;;
    esac || fail "$1: $2 failed after $(($(date +%s) - began)) s"
    say "$1: $2 done in $(($(date +%s) - began)) s"
}

check_host
mkdir -p "$BOARDS"
make_root
for core in $CORES; do
    case $core in a72 | a76) ;; *) fail "expected a72, a76 or all, received $core" ;; esac
    copy_tree "$core"
    cpuinfo "$core"
    say "$core: $(within "$core" uname -m), $(git rev-parse --short HEAD)"
    for each in $STEPS; do step "$core" "$each"; done
done
