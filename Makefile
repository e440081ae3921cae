# Everything a contributor runs. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Python 3.13 where it runs, otherwise the newest that is new enough.
PYTHON ?= $(shell for p in python3.13 $(HOME)/.pyenv/versions/3.13.*/bin/python3.13 python3.12 python3.11 python3; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then command -v $$p; break; fi; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Compiled once, even where images switch that off: the tests start the program some hundred times.
export PYTHONDONTWRITEBYTECODE :=
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
CHAOS_ARGS ?=
FUZZ_ARGS ?=
SBOM_ARGS ?=
SCALE_ARGS ?=
SWEEP_ARGS ?= --stride 7
VERIFY_ARGS ?=
SOURCES := poller tests benchmarks
PYTEST = $(BIN)/python -m pytest --dist worksteal -n
# The rooms that are covered to the last branch, by tests of their own. Following every branch makes Python half
# as fast, so the other tests are followed by the line, which costs next to nothing where Python can do it itself.
WHOLE := tests/store tests/delivery tests/cli/test_inspect.py \
	$(patsubst %,tests/test_%.py,diff events kinds model pacing plan retry rules)
LINES := $(addprefix --ignore=,$(WHOLE))

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed, and none was found on PATH" >&2; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# pip keeps what is already there, so the two stamps share one environment.
$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | $(BIN)/python
	@echo "installing the locked runtime dependencies"
	@$(PIP) install --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "installing the locked development dependencies"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# What the checkers of deploy/ need comes on top of that, at the same versions where they share something.
$(VENV)/.verify: requirements/verify.txt $(VENV)/.dev
	@echo "installing the locked checkers"
	@$(PIP) install --require-hashes -r requirements/verify.txt
	@touch $@

.PHONY: install
install: $(VENV)/.runtime ## install bedrock-poller into .venv

.PHONY: demo
demo: $(VENV)/.runtime ## see it work, without AWS (DEMO_ARGS="--for 20s --jobs 50")
	@$(BIN)/bedrock-poller demo $(DEMO_ARGS)

.PHONY: test
test: $(VENV)/.dev ## run the tests and check the coverage floors (TEST_ARGS="-k webhook")
ifdef TEST_ARGS
	@$(PYTEST) 3 $(TEST_ARGS)
else
	@rm -f .coverage.*
	@COVERAGE_FILE=.coverage.branches $(PYTEST) 1 -m "not long" --cov --cov-branch --cov-report= $(WHOLE) >.coverage.told 2>&1 & others=$$!; \
		export COVERAGE_FILE=.coverage.lines COVERAGE_CORE=$$($(BIN)/python -c \
			'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")'); \
		$(PYTEST) 3 -m "not long" --cov --cov-report= $(LINES); status=$$?; \
		wait $$others || status=1; cat .coverage.told; exit $$status
	@$(BIN)/python tests/coverage_floors.py .coverage.branches .coverage.lines
endif

.PHONY: test-long
test-long: $(VENV)/.dev ## run the tests that take longest: sweeps, a storm, the benchmark in small
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m long $(TEST_ARGS)

.PHONY: check
check: $(VENV)/.dev ## lint, types, import layers, spelling and wording
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tests.prose
	@$(BIN)/hadolint Dockerfile

.PHONY: audit
audit: $(VENV)/.dev ## audit the locked dependencies, offline: pins, hashes, licenses
	@$(BIN)/python tests/audit.py

# In an environment of its own, because pip-audit brings a pip and other packages that nothing else needs.
$(VENV)/.audit: requirements/audit.txt | $(BIN)/python
	@echo "installing the locked pip-audit"
	@$(PYTHON) -m venv --clear $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/audit.txt
	@touch $@

.PHONY: vulnerabilities
vulnerabilities: $(VENV)/.audit ## look up known vulnerabilities of what is shipped and builds it; needs a network
	@$(VENV)/audit/bin/pip-audit --strict --progress-spinner off --vulnerability-service osv --disable-pip --require-hashes \
		-r requirements/runtime.txt -r requirements/postgres.txt -r requirements/build.txt

# With nothing but the locked build tools, and nothing of the caller's: what tests need takes no part in a release.
.PHONY: dist
dist: ## build the wheel and the sdist in an environment of their own
	@rm -rf build dist
	@$(PYTHON) -m venv build/environment
	@build/environment/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/build.txt
	@build/environment/bin/python -I -m hatchling build

.PHONY: sbom
sbom: $(VENV)/.verify ## the software bill of materials in CycloneDX (SBOM_ARGS="--output sbom.json")
	@$(BIN)/python -m tests.sbom $(SBOM_ARGS)

.PHONY: bench
bench: $(VENV)/.dev ## measure speed against rivals, about an hour (BENCH_ARGS="--only scans")
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

.PHONY: bench-scale
bench-scale: $(VENV)/.dev ## thousands of targets on 1, 2 and 4 replicas, half an hour (SCALE_ARGS="--targets 1000")
	@$(BIN)/python -m benchmarks.scale --output benchmarks/SCALE.md $(SCALE_ARGS)

.PHONY: chaos
chaos: $(VENV)/.dev ## a random storm against the daemon (CHAOS_ARGS="--for 10m --seed 7")
	@$(BIN)/python -m tests.chaos.storm $(CHAOS_ARGS)

.PHONY: chaos-replicas
chaos-replicas: $(VENV)/.dev ## the same against several replicas on PostgreSQL (CHAOS_ARGS="--for 10m --seed 7")
	@$(BIN)/python -m tests.chaos.replicas $(CHAOS_ARGS)

.PHONY: faults
faults: $(VENV)/.dev ## inject every fault of docs/faults.md, and print what became of each
	@$(BIN)/python tests/faults.py

.PHONY: fuzz
fuzz: $(VENV)/.dev ## try every parser of what strangers send (FUZZ_ARGS="--for 1h --seed 7")
	@$(BIN)/python -m tests.fuzz.run $(FUZZ_ARGS)

.PHONY: sweep
sweep: $(VENV)/.dev ## kill it, or make it fail, at every 7th step (SWEEP_ARGS="--stride 1" for every one)
	@$(BIN)/python -m tests.chaos.sweep $(SWEEP_ARGS)

.PHONY: verify-deploy
verify-deploy: $(VENV)/.verify ## check all of deploy/ with the tools its users would check it with (VERIFY_ARGS="-k helm")
	@$(BIN)/python -m pytest tests/verify $(VERIFY_ARGS)

.PHONY: manifests
manifests: $(VENV)/.verify ## generate deploy/kubernetes and the chart's copies of rules, dashboard and schema
	@$(BIN)/python -m tests.verify.manifests

.PHONY: prometheus-e2e
prometheus-e2e: $(VENV)/.dev ## daemons, a real Prometheus and faults: does each alert fire, has each panel data
	@$(BIN)/python -m tests.verify.prometheus_e2e

.PHONY: docs
docs: $(VENV)/.dev ## write what is generated: tables of docs/, config/, the chart's copy, the role's template
	@$(BIN)/python -m tests.docs.generate
	@$(BIN)/bedrock-poller schema > config/schema.json
	@$(BIN)/python -m tests.deploy.chart

.PHONY: format
format: $(VENV)/.dev ## format and fix what can be fixed
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

.PHONY: lock
lock: ## resolve requirements/*.txt from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		pyproject.toml -o requirements/runtime.txt
	printf 'hatchling>=1.27\neditables\n' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url -c requirements/runtime.txt - -o requirements/build.txt
	printf 'psycopg[binary]>=3.3,<4\n' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url -c requirements/runtime.txt - -o requirements/postgres.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		-c requirements/runtime.txt -c requirements/postgres.txt pyproject.toml --extra postgres --group dev --no-strip-extras -o requirements/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		-c requirements/dev.txt --group verify -o requirements/verify.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--group audit -o requirements/audit.txt

.PHONY: clean
clean: ## remove the environment and everything generated
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
