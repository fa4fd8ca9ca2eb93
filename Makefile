# `make demo` and `make test` need Python 3.12 or newer, make and PyPI; nothing else.
# Arguments go through ARGS, for example: make demo ARGS=--exit · make test ARGS="tests/runs -q"

.DEFAULT_GOAL := help
ARGS ?=
# Of `make fuzz`: for how long damaged uploads are tried, before the other properties are.
FUZZ_SECONDS ?= 600
# So many tests at a time, file by file; most of them wait for something.
PROCESSES ?= 3

# The newest usable of these; name another with `make PYTHON=/path/to/python …`.
PYTHON ?= $(shell for python in python3.13 python3.14 python3.12 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && command -v "$$python" && break; \
	done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input

.PHONY: help demo up test lint format bench fuzz screens docs-access lock clean

help:
	@echo "make demo     start everything and run the example's suite (ARGS=--exit stops after the run)"
	@echo "make up       start everything"
	@echo "make test     pass the tests"
	@echo "make lint     check form, types, layers and templates (migrations: make test)"
	@echo "make format   put code and templates into their form"
	@echo "make bench    measure what is promised, each as a ratio; ARGS=… goes to every script"
	@echo "make fuzz     look for inputs that break readers and the plain core, at length (FUZZ_SECONDS=60 for less)"
	@echo "make screens  take screenshots of every page"
	@echo "make docs-access  write the table of rights anew"
	@echo "make lock     resolve the dependencies anew"
	@echo "make clean    remove .venv and caches; data in .itdash stays"

demo: $(VENV)/runtime.stamp
	@$(BIN)/itdash demo $(ARGS)

up: $(VENV)/runtime.stamp
	@$(BIN)/itdash up $(ARGS)

test: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest --numprocesses=$(PROCESSES) --dist=loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	find templates -name '*.html' -print0 | xargs -0 $(BIN)/djade --check --target-version 6.1
	$(BIN)/djlint templates --lint --quiet

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	find templates -name '*.html' -print0 | xargs -0 $(BIN)/djade --target-version 6.1

bench: $(VENV)/dev.stamp
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script" $(ARGS); done

fuzz: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.runs.ingestion.fuzzing $(FUZZ_SECONDS)
	@$(BIN)/python -m pytest --hypothesis-profile=fuzz $$(grep -rl "^from hypothesis" tests) -k "not reference" $(ARGS)

screens: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.browser.screens $(ARGS)

docs-access: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest tests/runs/web/test_access_table.py --write-docs -q $(ARGS)

lock: $(VENV)/dev.stamp
	$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --group build --extra s3 pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --group dev --extra s3 pyproject.toml -c requirements.lock \
		-o requirements-dev.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info

# --- installation: only when the lock changed ---------------------------------------------------------

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "itdash needs Python 3.12 or newer and found none. Install it, or name it: make PYTHON=/path/to/python …" >&2; \
		exit 1; \
	fi
	@"$(PYTHON)" -m venv $(VENV) || { \
		rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; \
	}

$(VENV)/runtime.stamp: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) …"
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# A superset of the runtime's lock, with the same versions.
$(VENV)/dev.stamp: requirements-dev.lock requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV), with what tests need …"
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/runtime.stamp
