# make demo        segment the bundled clip by words
# make test        run all tests
# make test-quick  run those that neither start Ray nor compute for long, while one edits
# make chaos       kill and stop processes of a service in a random order, of SEED, for SECONDS and
#                  until KILLS of them were killed
# make archive-proof  kill what builds an index, RUNS times from SEED, and compare the indexes
# make fuzz        try requests, journal entries, frames and records made up of SEED, for SECONDS
# make check       format, lint, types and what may import what
# make wheel       build maskstream and, for machines that only talk to a service, maskstream-client
#
# Each makes the virtual environment it needs and keeps it for as long as pyproject.toml and
# constraints.txt stay the same. Variables: PYTHON (3.11 or newer), VENV, JOBS (test processes side by
# side; many of them wait most of the time, so more than there are processors), PYTEST_ARGS, and
# pip's own, such as PIP_INDEX_URL.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
JOBS ?= 3
SEED ?= 0
SECONDS ?= 60
RUNS ?= 20
KILLS ?= 50
DEMO_CLIP ?= pipeline/assets/demo.mp4
DEMO_OUT ?= demo-output

BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick chaos archive-proof fuzz check format bench clean venv venv-dev wheel client-wheel

help:
	@sed -n 's/^# //p' Makefile | sed -n '1,/^Each/p' | sed '$$d'

# $(1): name of the stamp, $(2): extras to install. The stamp is a copy of what says what to install,
# so that its content decides and not its age.
WANTED := pyproject.toml constraints.txt
define ensure_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old: Python 3.11 or newer is needed (set PYTHON=...)"; exit 1; }
	@cat $(WANTED) | cmp -s - $(VENV)/.$(1).stamp || { \
		set -e; \
		test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
		echo "installing into $(VENV) (once)"; \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".$(2)"; \
		cat $(WANTED) >$(VENV)/.$(1).stamp; \
	}
endef

venv:
	@cat $(WANTED) | cmp -s - $(VENV)/.dev.stamp || $(MAKE) --no-print-directory venv-run

.PHONY: venv-run
venv-run:
	$(call ensure_venv,run,)

venv-dev:
	$(call ensure_venv,dev,[dev])

demo: venv
	$(BIN)/maskstream segment $(DEMO_CLIP) --checkpoint tiny --out $(DEMO_OUT) --overwrite \
		--text "dog face" --text "足球" --text "airplane"
	@echo
	@echo "overlay video and results are in $(DEMO_OUT):"
	@ls -1 $(DEMO_OUT) | sed 's|^|  $(DEMO_OUT)/|'

# What pip cannot install: the tests' own Redis server and browser, and the font of the clips that are
# drawn.
PACKAGES := $(if $(shell command -v redis-server),,redis-server) \
	$(if $(shell command -v chromium),,chromium) \
	$(if $(wildcard /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf),,fonts-noto-color-emoji)
ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: system
system:
ifneq ($(strip $(PACKAGES)),)
	@command -v apt-get >/dev/null || { \
		echo "please install what Debian calls $(strip $(PACKAGES)); tests need it"; exit 1; }
	$(ROOT) apt-get update -qq
	$(ROOT) env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null
endif

# What runs beside what, and in which order, says tests/conftest.py.
PYTEST := $(BIN)/python -m pytest --numprocesses=$(JOBS) --no-loadscope-reorder

test: venv-dev system
	$(PYTEST) $(PYTEST_ARGS)

test-quick: venv-dev system
	$(PYTEST) -m "not cluster and not long" $(PYTEST_ARGS)

chaos: venv-dev system
	$(BIN)/python -m tests.chaos --seed $(SEED) --seconds $(SECONDS) --kills $(KILLS) $(if $(OUT),--out $(OUT))

archive-proof: venv-dev
	$(BIN)/python -m tests.archive_proof --seed $(SEED) --runs $(RUNS) $(if $(OUT),--out $(OUT))

fuzz: venv-dev
	$(BIN)/python -m tests.fuzz --seed $(SEED) --seconds $(SECONDS)

check: venv-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

format: venv-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Left over from an earlier build, a file that is gone since would be packed again.
wheel: venv-dev client-wheel
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .

client-wheel: venv-dev
	rm -rf packaging/client/build
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist \
		./packaging/client

bench: venv-dev
	$(BIN)/python -m benchmarks.model

clean:
	rm -rf $(VENV) $(DEMO_OUT) dist build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
