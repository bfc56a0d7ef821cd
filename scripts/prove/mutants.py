"""Change one thing at a time in what decides and locks, and see whether a test notices.

    python scripts/prove/mutants.py --sample 40 --wing lock        a sample of one wing
    python scripts/prove/mutants.py --file device/lock/budget.py   every mutant of one file
    python scripts/prove/mutants.py --list --wing lock             what would be tried

A mutant is the program with one comparison, sum, number, condition or call changed. It runs in a copy of the tree, with
the tests of its file. One that no test notices is a survivor: it needs a test, or a reason in survivors.toml why the
program is as good with it. Exits with 1 at a survivor without a reason.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: F401  what the tests import, once for all of them
import hypothesis  # noqa: F401
import numpy  # noqa: F401
import pytest

from device.config import tomllib
from device.programs import Parser

WINGS = ("decide", "access", "lock", "vault", "journal")
OWN = ("device", "enroll", "models", "scripts", "tests", "unlock")
REASONS = Path(__file__).with_name("survivors.toml")
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", "runs")
# Where the tests of a file are not in the file of its name.
TESTS = {
    "device/decide/backoff.py": [
        "tests/decide/test_refusals.py",
        "tests/decide/test_backoff_file.py",
        "tests/access/test_lockout.py",
    ],
    "device/decide/backoff_file.py": ["tests/decide/test_backoff_file.py", "tests/access/test_lockout.py"],
    "device/decide/decider.py": ["tests/decide"],
    "device/decide/fused_score.py": ["tests/decide/test_liveness_votes.py"],
    "device/decide/stillness.py": ["tests/decide/test_posters.py", "tests/decide/test_liveness_votes.py"],
    "device/decide/moves.py": ["tests/decide/test_challenge.py", "tests/decide/test_turns.py"],
    "device/decide/challenge.py": ["tests/decide/test_challenge.py", "tests/decide/test_turns.py"],
    "device/access/admission.py": ["tests/access"],
    "device/access/pin_entry.py": ["tests/access/test_pin.py"],
    "device/vault/files.py": ["tests/vault/test_files.py"],
    "device/vault/anchor.py": ["tests/vault/test_kept.py"],
    "device/vault/generation.py": ["tests/vault/test_kept.py"],
    "device/vault/board.py": ["tests/vault/test_board.py", "tests/vault/test_board_identity.py"],
    "device/journal/audit.py": ["tests/journal"],
    "device/journal/events.py": ["tests/journal"],
    "device/journal/status.py": ["tests/journal"],
    "device/lock/server.py": [
        "tests/lock/server",
        "tests/lock/test_lockd.py",
        "tests/lock/panel/test_outputs.py",
    ],
    "device/lock/gpio.py": ["tests/lock/test_bolt.py", "tests/lock/test_bolt_process.py"],
    "device/lock/gpiochip.py": ["tests/lock/test_gpiochip.py"],
    "device/lock/claim.py": ["tests/lock/test_relock.py"],
    "device/lock/drivers.py": ["tests/lock/test_relock.py", "tests/lock/test_bolt.py"],
    "device/lock/panel/keypad.py": ["tests/lock/panel"],
    "device/lock/panel/outputs.py": ["tests/lock/panel", "tests/lock/test_front.py"],
    "device/lock/panel/switches.py": [
        "tests/lock/panel/test_switches.py",
        "tests/lock/server/test_switches.py",
    ],
    "device/lock/door.py": ["tests/lock/test_door.py", "tests/lock/server"],
    "device/lock/bolt.py": [
        "tests/lock/test_bolt.py",
        "tests/lock/test_bolt_process.py",
        "tests/lock/server",
    ],
}
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
SUMS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the `step`-th node of a file's tree, the number and text of its line, its code before and after."""

    file: str
    step: int
    part: int
    number: int
    line: str
    was: str
    becomes: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}: {self.line}: {self.was}  ->  {self.becomes}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is known by in survivors.toml, wherever its line moves."""
        return self.file, self.line, self.was, self.becomes


def mutants_of(file: str, text: str) -> list[Mutant]:
    """List every mutant of a source text."""
    tree = ast.parse(text)
    silent = {id(node) for part in _silent(tree) for node in ast.walk(part)}
    found = []
    for step, node in enumerate(list(ast.walk(tree))):
        for part in range(_parts(node) if id(node) not in silent else 0):
            other = copy.deepcopy(node)
            _change(other, part)
            was, becomes = (ast.unparse(each).splitlines()[0] for each in (node, other))
            line = text.splitlines()[node.lineno - 1].strip()
            found.append(Mutant(file, step, part, node.lineno, line, was, becomes))
    return found


def mutated(text: str, mutant: Mutant) -> str:
    """Return the source with one mutant's change; comments are lost."""
    tree = ast.parse(text)
    for step, node in enumerate(ast.walk(tree)):
        if step == mutant.step:
            _change(node, mutant.part)
            break
    return ast.unparse(ast.fix_missing_locations(tree))


def _silent(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what no behaviour hangs on: annotations, texts of errors, imports  for the type checker."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield from filter(
                None,
                [
                    node.returns,
                    *(each.annotation for each in ast.walk(node.args) if isinstance(each, ast.arg)),
                ],
            )
            yield from node.decorator_list
        elif isinstance(node, ast.ClassDef):
            yield from node.decorator_list
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation
        elif (
            isinstance(node, ast.JoinedStr | ast.Raise)
            or ast.unparse(getattr(node, "test", ast.Constant(0))) == "TYPE_CHECKING"
        ):
            yield node


def _parts(node: ast.AST) -> int:
    """Return how many changes there are of one node."""
    if isinstance(node, ast.Compare):
        return len(node.ops)
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return int(type(node.op) in SUMS)
    if isinstance(node, ast.Constant):
        return int(type(node.value) in (bool, int, float))
    if isinstance(node, ast.Expr):  # a call for its effect
        return int(isinstance(node.value, ast.Call))
    if isinstance(node, ast.UnaryOp):
        return int(isinstance(node.op, ast.Not))
    return int(isinstance(node, ast.BoolOp | ast.If | ast.IfExp | ast.While))


def _change(node: ast.AST, part: int) -> None:
    match node:
        case ast.Compare():
            node.ops[part] = COMPARED[type(node.ops[part])]()
        case ast.BinOp() | ast.AugAssign():
            node.op = SUMS[type(node.op)]()
        case ast.Constant(value=bool(value)):
            node.value = not value
        case ast.Constant(value=value):
            node.value = value + 1 if isinstance(value, int) else 2 * value + 0.1
        case ast.Expr():
            node.value = ast.Constant(...)
        case ast.BoolOp():
            node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        case ast.UnaryOp():
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
        case ast.If() | ast.IfExp() | ast.While():
            node.test = ast.UnaryOp(ast.Not(), node.test)


def drawn(mutant: Mutant, seed: int) -> str:
    """Return where a mutant stands in the draw of a seed: an edit elsewhere draws no others."""
    return hashlib.sha256("\n".join([str(seed), *mutant.key]).encode()).hexdigest()


def tests_of(file: str) -> list[str]:
    """Return the tests that have to notice a mutant of a file."""
    path = Path(file)
    folder = "/".join(["tests", *path.parts[1:-1]])
    same = f"{folder}/test_{path.stem}.py"
    return TESTS.get(file) or ([same] if (ROOT / same).is_file() else [folder])


def fault_of(tree: Path, tests: list[str], limit_s: float, *, is_sound: bool = False) -> str:
    """Run tests in a copy of the tree, and say what failed, "" for nothing; one that hangs has noticed.

    They run in a fork of this process: what takes long to import is there already. Byte code is written for the sound
    tree alone: that of a mutant could be taken for the next one's.
    """
    out = tree / "tests.out"
    if not (child := os.fork()):
        _run_tests(tree, tests, out, is_sound)
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            told = out.read_text(encoding="utf-8", errors="replace")
            return (told[-3000:] or f"ended by {status}") if status else ""
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return f"no end within {limit_s:.0f} s"


def _run_tests(tree: Path, tests: list[str], out: Path, is_sound: bool) -> None:
    """Run tests in this process, which is a fork, and end it."""
    code = 99
    try:
        os.setsid()
        written = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(written, 1)
        os.dup2(written, 2)
        os.chdir(tree)
        os.environ["PYTHONPATH"] = str(tree)
        if not is_sound:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = not is_sound
        sys.path[:] = [str(tree), *(each for each in sys.path if each != str(ROOT))]
        for name in [each for each in sys.modules if each.partition(".")[0] in OWN]:
            del sys.modules[name]
        importlib.invalidate_caches()
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
        sys.stdout.flush()
    finally:
        os._exit(code)


def noticed_by(fault: str) -> str:
    """Return the first test that failed."""
    failed = [line.split(" - ")[0] for line in fault.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failed[0] if failed else fault.splitlines()[-1] if fault else ""


def reasons() -> dict[tuple[str, ...], str]:
    """Read why known survivors are let live."""
    listed = tomllib.loads(REASONS.read_text(encoding="utf-8")).get("survivor", [])
    return {(each["file"], each["line"], each["was"], each["becomes"]): each["why"] for each in listed}


def try_all(mutants: list[Mutant]) -> list[Mutant]:
    """Run each mutant, and return those that no test noticed."""
    survivors: list[Mutant] = []
    sound: dict[tuple[str, ...], float] = {}  # tests that pass without a mutant, and the seconds they take
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT, symlinks=True)
        for number, mutant in enumerate(mutants, 1):
            tests = tests_of(mutant.file)
            if tuple(tests) not in sound:
                began_s = time.monotonic()
                # Twice: a busy machine may fail a test that a mutant does not.
                if all(fault := fault_of(tree, tests, 1800, is_sound=True) for _ in range(2)):
                    raise SystemExit(f"{fault}\n{' '.join(tests)}: fail without any mutant: mend them first")
                sound[tuple(tests)] = time.monotonic() - began_s
            path, text = tree / mutant.file, (ROOT / mutant.file).read_text(encoding="utf-8")
            path.write_text(mutated(text, mutant), encoding="utf-8")
            fault = fault_of(tree, tests, 60 + 5 * sound[tuple(tests)])
            path.write_text(text, encoding="utf-8")
            survivors += [] if fault else [mutant]
            told = f"noticed {mutant}   by {noticed_by(fault)}" if fault else f"SURVIVED {mutant}"
            print(f"{number}/{len(mutants)} {told}", flush=True)
    return survivors


def main(arguments: list[str] | None = None) -> int:
    """Try mutants, and return 1 if one survived that has no reason to."""
    parser = Parser(prog="mutants.py", description=main.__doc__)
    parser.add_argument("--wing", choices=WINGS, action="append", help="of device/; default: all five")
    parser.add_argument(
        "--file", action="append", metavar="PATH", help="a file of device/, in place of a wing"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="try so many, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=1, help="of that draw")
    parser.add_argument("--list", action="store_true", help="say what would be tried, and try nothing")
    args = parser.parse_args(arguments)
    files = args.file or [
        str(path.relative_to(ROOT))
        for wing in args.wing or WINGS
        for path in sorted((ROOT / "device" / wing).rglob("*.py"))
    ]
    mutants = [each for file in files for each in mutants_of(file, (ROOT / file).read_text(encoding="utf-8"))]
    if args.sample is not None and args.sample < len(mutants):
        mutants = sorted(mutants, key=lambda each: drawn(each, args.seed))[: args.sample]
    if args.list:
        print(*mutants, sep="\n")
        return 0
    known, survivors = reasons(), try_all(mutants)
    unargued = [each for each in survivors if each.key not in known]
    for each in survivors:
        print(f"survivor {each}: {known.get(each.key, 'NO REASON: needs a test')}")
    print(
        f"{len(mutants)} mutants, {len(mutants) - len(survivors)} noticed, {len(unargued)} survivors without a reason"
    )
    return 1 if unargued else 0


if __name__ == "__main__":
    sys.exit(main())
