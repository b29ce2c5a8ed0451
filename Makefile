# The two commands a newcomer needs are `make demo` and `make test`.

VENV := .venv
BIN := $(VENV)/bin
# The newest Python there is, from 3.11 on.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)

# Processes that test side by side; most of their time they wait.
TESTERS ?= 4

.PHONY: demo test test-postgres test-slow test-slow-postgres test-crm faults fuzz lint types bench bench-docs clean

demo: $(VENV)/run.stamp
	@$(BIN)/python -m plugin.sandbox.demo $(if $(EXIT),--exit) $(if $(CRM),--crm $(CRM))

test: lint types
	@$(BIN)/pytest -q -m "not slow and not crm" -n $(TESTERS)

# What uses a database, once more on PostgreSQL: a private server, where its binaries are found.
test-postgres: $(VENV)/dev.stamp
	@$(BIN)/pytest -q -m "not slow and not crm" -n $(TESTERS) --database postgresql

test-slow: $(VENV)/dev.stamp
	@$(BIN)/pytest -q -m slow -n $(TESTERS)

# Those that use a database, once more on PostgreSQL; where the worker dies between two calls to the
# CRM the database makes no difference, where it dies at a commit it does.
test-slow-postgres: $(VENV)/dev.stamp
	@$(BIN)/pytest -q -m slow -n $(TESTERS) --database postgresql -k "not killed_at_any_call"

# Real processes, seeded faults, and nothing lost, doubled or stuck afterwards: docs/reliability.md
faults: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.faults --seeds $(or $(SEEDS),150)

# Against a real CRM, which is installed for it under instance/ (Python 3.12 or newer).
test-crm: $(VENV)/dev.stamp
	@$(BIN)/pytest -q -m crm tests/crm

# Coverage-guided, in an environment of its own; SECONDS for each target, TARGET one of them.
fuzz: $(VENV)/dev.stamp instance/fuzz/stamp
	@FUZZ_TIMES=20 $(BIN)/pytest -q -n 2 tests/fuzz
	@instance/fuzz/venv/bin/python -m tests.fuzz.fuzz_parse all $(or $(SECONDS),60) $(TARGET)

instance/fuzz/stamp: requirements-dev.txt | $(VENV)/bin/python
	@$(PYTHON) -m venv instance/fuzz/venv
	@instance/fuzz/venv/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt \
		"atheris>=3,<4"
	@touch $@

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

types: $(VENV)/dev.stamp
	@$(BIN)/mypy

bench: $(VENV)/dev.stamp
	@$(BIN)/python -m bench

# What `make bench` found, as docs/performance.md with its pictures.
bench-docs: $(VENV)/bench.stamp
	@$(BIN)/python -m bench --write-docs

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed" \
		"(Debian: apt-get install python3 python3-venv)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(VENV)/bin/python
	@echo "Setting up the environment …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt | $(VENV)/bin/python
	@echo "Setting up the test environment …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/run.stamp

$(VENV)/bench.stamp: requirements-bench.txt | $(VENV)/dev.stamp
	@echo "Setting up the drawing environment …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

clean:
	rm -rf $(VENV) instance .mypy_cache .ruff_cache .pytest_cache .hypothesis
