.DEFAULT_GOAL := help
.PHONY: help book test claims lab lint bench lock clean

PY := .venv/bin/python
export PYTHON

# the same networks are compiled many times over: keep JAX's machine code between uses
JAX_CACHE := JAX_COMPILATION_CACHE_DIR="$(CURDIR)/_build/.jax_cache" \
	JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.2
# at quick budget PyTensor would compile for longer than it computes: let it call NumPy instead
NUMPY := PYTENSOR_FLAGS="$${PYTENSOR_FLAGS:+$$PYTENSOR_FLAGS,}linker=py,optimizer_excluding=fusion,blas__ldflags="

help:  ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 8

book: .venv/.ready  ## execute every chapter and build _build/html/index.html
	@echo "book: executing the chapters that changed and building _build/html (first time about 30 minutes)"
	@$(JAX_CACHE) $(PY) tools/build_book.py

test: .venv/.ready  ## unit tests and every chapter at quick budget
	@echo "test: unit tests and every chapter at quick budget (about 10 minutes)"
	@BNNBOOK_FAST=1 $(JAX_CACHE) $(NUMPY) $(PY) -m pytest -n 2 --dist load --maxschedchunk 1 \
		--nbmake --nbmake-timeout=1200 --durations=10 book/chapters tests

SEEDS ?= 3
claims: .venv/.ready  ## every chapter's claims at full budget under SEEDS seeds (hours)
	@echo "claims: every chapter at full budget, $(SEEDS) times (book/claims.csv)"
	@$(JAX_CACHE) $(PY) tools/run_claims.py --seeds $(SEEDS)

lab: .venv/.ready  ## open the chapters in JupyterLab
	@echo "lab: starting JupyterLab (stop it with Ctrl-C)"
	@.venv/bin/jupyter lab --notebook-dir=book/chapters

lint: .venv/.ready  ## formatting, lint and types
	@echo "lint: ruff and mypy (under a minute)"
	@$(PY) -m ruff format --check . && $(PY) -m ruff check . && $(PY) -m mypy

bench: .venv/.ready  ## side-by-side timings against peers
	@echo "bench: timings against peers (about 15 minutes; leave the machine alone)"
	@$(PY) -m benchmarks

lock: .venv/.ready  ## renew requirements.lock from pyproject.toml
	@echo "lock: resolving every dependency for all platforms (seconds)"
	@$(PY) -m uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
		--python-version 3.12 --all-extras --upgrade pyproject.toml --output-file requirements.lock

clean:  ## remove the built book and its execution cache
	@rm -rf _build

.venv/.ready: requirements.lock pyproject.toml tools/setup.sh
	@sh tools/setup.sh
