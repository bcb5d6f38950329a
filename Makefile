# The table of contents of this repository: `make` or `make help`.
# A fresh machine needs Python 3.11 or later and make; everything else comes from the lock files, checked by hash.

VENV   := .venv
BIN    := $(VENV)/bin
TESTS  ?= tests
ARGS   ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check lint types imports spec bench bench-large docs exchanges lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start everything on this machine: PostgreSQL, Redis, API, projector, worker
	@$(BIN)/ledger up $(ARGS)

test: $(VENV)/.dev ## every test (TESTS=tests/api ARGS="-k name" for some)
	@$(BIN)/python -m pytest $(TESTS) $(ARGS)

check: lint types imports ## style, types, direction of imports, architecture
	@$(BIN)/python -m pytest -q tests/architecture

lint: $(VENV)/.dev ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

imports: $(VENV)/.dev ## import-linter: who may import whom
	@$(BIN)/lint-imports

spec: $(VENV)/.dev ## the rules only: specs and properties, no services, seconds
	@$(BIN)/python -m pytest -q tests/specs tests/properties $(ARGS)

bench: $(VENV)/.dev ## commands per second, projections, rebuild: a few minutes
	@$(BIN)/python -m benchmarks $(ARGS)

bench-large: $(VENV)/.dev ## the same over a large log: half an hour and some gigabytes
	@$(BIN)/python -m benchmarks --large $(ARGS)

docs: $(VENV)/.dev ## write docs/reference anew from the code
	@$(BIN)/python docs/generate.py

exchanges: $(VENV)/.dev ## play docs/exchanges against a ledger, write their pages of docs/reference anew
	@$(BIN)/python docs/record.py

# UPGRADE=1 moves every pin to the newest version that pyproject.toml allows; without it only what changed there moves.
COMPILE = UV_SYSTEM_CERTS=1 $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-header --python-version 3.11 \
          --group environment --quiet $(if $(UPGRADE),--upgrade)
lock: $(VENV)/.dev ## write requirements.lock and requirements-dev.lock anew (UPGRADE=1 for newer versions)
	@$(COMPILE) --output-file requirements.lock
	@$(COMPILE) --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## remove the environment and caches; .ledger (the data) stays
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ── The environment ──────────────────────────────────────────────────────────────────────────────────────────────────
# One .venv. requirements-dev.lock holds the same versions as requirements.lock and more, so `make run` after
# `make test` keeps what is there. The stamps make the second start free.

$(VENV)/.run: requirements.lock pyproject.toml
	$(call install,requirements.lock)

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)

# The first Python that is new enough and can make environments; an interpreter that is there but does not start
# (a pyenv shim, say) is passed over.
define find_python
for p in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
    if "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
        python="$$p"; break; \
    fi; \
done; \
if [ -z "$${python:-}" ]; then \
    echo "make: no Python 3.11 or later with venv found (Debian: apt-get install python3 python3-venv); name one with PYTHON=..." >&2; \
    exit 1; \
fi
endef

# uv, at the version and hashes of the lock, installs the rest; pip does it where uv cannot (slower, same hashes).
# uv does not read pip's configuration, so an index or certificates set there are handed on; the machine's own
# certificates are tried first, as pip does, because a company's proxy is known to them alone.
UV_INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes

define install
@set -eu; \
if ! $(BIN)/python -c 'import pip' >/dev/null 2>&1; then \
    $(find_python); \
    rm -rf $(VENV); \
    "$$python" -m venv $(VENV); \
fi; \
pip="$(BIN)/python -m pip --disable-pip-version-check --quiet --no-input"; \
index="$${PIP_INDEX_URL:-$$($$pip config get global.index-url 2>/dev/null || true)}"; \
if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; fi; \
cert="$${PIP_CERT:-$$($$pip config get global.cert 2>/dev/null || true)}"; \
if [ -n "$$cert" ]; then export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$cert}"; fi; \
awk '/^uv==/ {p = 1; print; next} p && !/^ / {exit} p' $(1) > $(VENV)/uv.txt; \
if $$pip install --require-hashes --no-deps -r $(VENV)/uv.txt \
   && { UV_SYSTEM_CERTS=1 $(UV_INSTALL) -r $(1) 2>/dev/null || $(UV_INSTALL) -r $(1); }; then :; else \
    echo "make: uv could not install $(1); installing with pip" >&2; \
    $$pip install --require-hashes -r $(1); \
fi; \
$$pip install --no-build-isolation --no-deps --no-index --editable .; \
touch $@
endef
