# face-unlock: `make demo` on a fresh machine with Python 3.10 or newer shows everything at work. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python of 3.10 to 3.14 that can make a virtual environment; `make PYTHON=/path/to/python3.12 demo` overrides.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14 python3.10; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' 2>/dev/null && echo "$$python" && break; done)

PIP := -m pip install --disable-pip-version-check --quiet --constraint requirements/constraints.txt
RUN := .venv/bin/python
TRAIN := .venv-train/bin/python
# MediaPipe's wheel ends the process on ARMv8.0 (Raspberry Pi 3, 4, Zero 2 W): there the same network runs on LiteRT alone.
BOARD := $(shell [ "$$(uname -m)" = aarch64 ] && ! grep -qw atomics /proc/cpuinfo && echo board-litert || echo board)
LIBRARY := $(if $(filter board,$(BOARD)),mediapipe.tasks.python.vision,cv2)
FUZZED := tests/project/test_fuzz.py tests/lock/server/test_packets.py
LOCKED := requirements/constraints.txt requirements/$(BOARD).txt requirements/test.txt

# Python's byte code is kept: the tests start the programs hundreds of times, and each would compile the product anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-train prove prove-long check format benchmark evaluate arm board lock clean mosquitto chromium homeassistant

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: .venv/ready ## make .venv with what the board, the tests and the checks need, and fetch the two MediaPipe networks

demo: .venv/ready ## enroll one person; a stranger, a print, a screen and that person try a (mock) lock; write demo.png
	$(RUN) scripts/demo.py $(ARGS)

test: .venv/ready ## test everything that runs on the board
	$(RUN) -m pytest -n 8 --dist worksteal $(ARGS)

test-train: .venv-train/ready ## test training and export (CPU torch)
	OMP_NUM_THREADS=1 $(TRAIN) -m pytest -m train -n 2 --dist loadfile $(ARGS)

prove: .venv/ready ## the proof in short, more fuzzing and some mutants (some minutes)
	set -e; $(RUN) scripts/prove/fail_secure.py --faults 48 --whole 8 --cuts 8 --pulse 3.5 --slack 1 --again --quiet & faults=$$!; \
	trap "kill $$faults 2>/dev/null || true" EXIT; \
	FUZZ_EXAMPLES=300 $(RUN) -m pytest -q -n 2 --timeout=0 $(FUZZED); \
	$(RUN) scripts/prove/mutants.py --sample 24 $(ARGS); \
	trap - EXIT; wait $$faults

prove-long: .venv/ready # the long proof, the long fuzzing and every mutant (hours; on a machine that does nothing else)
	$(RUN) scripts/prove/fail_secure.py --faults 500 --whole 80 --cuts 0 --quiet
	FUZZ_EXAMPLES=4000 $(RUN) -m pytest -s --timeout=0 $(FUZZED)
	$(RUN) scripts/prove/mutants.py $(ARGS)

check: .venv/ready ## lint, format, types, import rules
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	.venv/bin/lint-imports
	$(RUN) scripts/repo/check_tree.py

format: .venv/ready ## format and fix what can be fixed
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

benchmark: .venv/ready ## measure speed and size of this machine
	$(RUN) scripts/benchmark.py $(ARGS)

evaluate: .venv/ready ## measure accuracy on LFW: make evaluate ARGS="--lfw FOLDER"
	$(RUN) scripts/evaluate.py $(ARGS)

arm: # try the project on an emulated arm64, as a Raspberry Pi 4 and a Pi 5 (root; an hour): make arm ARGS="a72 tests"
	scripts/board/arm.sh $(ARGS)

board: # build a Debian image and go through the owner's page in it, against made-up hardware (root; an hour)
	scripts/board/image.sh $(ARGS)

lock: ## choose the exact versions anew (needs uv)
	scripts/repo/lock.sh

clean: ## remove the virtual environments and caches; galleries and weights stay
	rm -rf .venv .venv-train .pytest_cache .ruff_cache .mypy_cache .import_linter_cache

# The broker of the tests in tests/link and tests/fleet; without it they are skipped. Root and apt; not started here.
mosquitto:
	@command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || { apt-get update && apt-get install -y --no-install-recommends mosquitto; }

# The browser of the tests in tests/page; without it they are skipped.
chromium:
	@command -v chromium >/dev/null || { apt-get update && apt-get install -y --no-install-recommends chromium fonts-liberation; }

# A real Home Assistant, which wants a Python and an environment of its own: make homeassistant HASS=/path/to/hass
homeassistant: .venv/ready
	HASS=$(HASS) $(RUN) -m pytest -s tests/link/test_homeassistant.py

# A stamp each: the second `make` of the day starts at once, a changed requirement installs anew.
.venv/ready: $(LOCKED) scripts/fetch_models.py
	@test -n "$(PYTHON)" || { echo "make: no Python 3.10 to 3.14 with venv found: apt install python3-venv, or make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up .venv with $(PYTHON) (some minutes once)"
	@test -x $(RUN) || $(PYTHON) -m venv .venv
	@$(RUN) $(PIP) --requirement requirements/$(BOARD).txt --requirement requirements/test.txt
	@$(RUN) -c "import $(LIBRARY)" >/dev/null || { \
		echo "make: $(LIBRARY) cannot load (above): apt install libgl1 libglib2.0-0 libegl1 libgles2" >&2; exit 1; }
	@$(RUN) scripts/fetch_models.py
	@touch $@

.venv-train/ready: $(LOCKED) requirements/train.txt scripts/fetch_models.py
	@test -n "$(PYTHON)" || { echo "make: no Python 3.10 to 3.14 with venv found: apt install python3-venv, or make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up .venv-train with $(PYTHON) (some minutes once)"
	@test -x $(TRAIN) || $(PYTHON) -m venv .venv-train
	@$(TRAIN) $(PIP) --requirement requirements/$(BOARD).txt --requirement requirements/test.txt --requirement requirements/train.txt
	@$(TRAIN) scripts/fetch_models.py
	@touch $@
