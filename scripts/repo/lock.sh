#!/usr/bin/env bash
# Write requirements/constraints.txt anew: make lock  (needs uv; exact versions for CPython 3.10-3.14, x86-64 and aarch64)
set -eu
case "${1:-}" in -h | --help) sed -n 2p "$0" | cut -c3- && exit ;; esac
cd "$(dirname "$0")/../.."
uv=${UV:-uv}
out=requirements/constraints.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# uv ignores upper bounds of a package's Python range; backports.strenum 1.3 has one.
echo 'backports.strenum<1.3; python_version >= "3.11"' >"$work/bounds.txt"

"$uv" pip compile --quiet --universal --python-version 3.10 --constraint "$work/bounds.txt" \
    --no-emit-index-url --no-emit-find-links --no-header --no-annotate --output-file "$work/new.txt" \
    requirements/board.txt requirements/board-litert.txt requirements/test.txt requirements/train.txt requirements/display.txt
{
    echo "# Written by scripts/repo/lock.sh (make lock). Exact versions; what is installed is named in the other files of this folder."
    # Only Linux and CPython are served, and pip itself is the venv's business.
    grep -v -E "^pip==|== '(win32|emscripten)'|>= '3\.15'" "$work/new.txt" |
        sed -E "s/ and sys_platform != 'emscripten'//; s/ ; sys_platform != 'emscripten'//; s/ and implementation_name != 'PyPy'//; s/ ; platform_python_implementation != 'PyPy'//" |
        sed -E "s/ ; python_full_version < '3\.15'$//; s/ and python_full_version < '3\.15'//"
} >"$work/final.txt"
mv "$work/final.txt" "$out"
echo "$out: $(grep -c == "$out") versions"
