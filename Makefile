# Everything runs in .venv, which is made here. `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo demo-clean test check format docs benchmarks clean-hosts
SHELL := /bin/sh
BIN := .venv/bin
# The stamps carry a digest of pyproject.toml: a changed dependency installs again, a touched file does not.
DIGEST := $(shell cksum pyproject.toml | cut -d' ' -f1)
INSTALLED := .venv/.installed-$(DIGEST)
TOOLS := .venv/.tools-$(DIGEST)
TEST_PACKAGES := pg_ctlcluster=postgresql cc=build-essential
HOST_PACKAGES := runc=runc podman=podman debootstrap=debootstrap ssh-keygen=openssh-client
# For example: make test PYTEST_ARGS='-m "not hosts"'
# Three at a time: the tests wait for hosts as much as they compute. A file stays with one worker, for its fixtures, and those
# that take long come first.
PYTEST_ARGS ?= --numprocesses 3 --dist loadfile --no-loadscope-reorder

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

$(INSTALLED):
	@.ci/make-venv ""
	@rm -f .venv/.installed-*
	@touch $@

$(TOOLS):
	@.ci/make-venv dev
	@rm -f .venv/.installed-* .venv/.tools-*
	@touch $@ $(INSTALLED)

demo: $(INSTALLED) ## a tenant and its site on this machine: previewed, applied, served
	@$(BIN)/python -m wcp360.cli.demo

demo-clean: $(INSTALLED) ## remove what the demo made, and nothing else
	@$(BIN)/python -m wcp360.cli.demo --clean

.PHONY: ready-for-tests
ready-for-tests: $(TOOLS)
	@command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1 || .ci/ensure-packages $(HOST_PACKAGES) || true
	@.ci/ensure-packages $(TEST_PACKAGES) || true
	@$(BIN)/python tests/hosts/hosts.py collections >/dev/null
	@if $(BIN)/python tests/hosts/hosts.py doctor; then $(BIN)/python tests/hosts/hosts.py build; fi

test: ready-for-tests ## all tests; makes real hosts where it can and says what it leaves out where it cannot
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest $(PYTEST_ARGS)

# Hours, where nothing is said: WCP360_SOAK_MINUTES=60 draws for so long, WCP360_SOAK_SEQUENCES=20 is a short one, WCP360_SEED
# repeats one. SOAK_ARGS="-n 2 --dist load tests/property" runs the parts of one campaign side by side.
soak: ready-for-tests ## the long random campaigns; prints their seeds and writes docs/soak.md
	@PATH="$(CURDIR)/$(BIN):$$PATH" WCP360_SOAK=1 $(BIN)/python -m pytest -m soak -s $(SOAK_ARGS)

CHECKS := check-format check-lint check-types check-imports check-yaml check-ansible
.PHONY: $(CHECKS)
check: $(CHECKS) ## format, lint, types, import contracts, YAML, Ansible (with -k: all of them, even after a failure)

check-format: $(TOOLS)
	$(BIN)/ruff format --check --quiet .

check-lint: $(TOOLS)
	$(BIN)/ruff check --quiet .

check-types: $(TOOLS)
	$(BIN)/mypy wcp360

check-imports: $(TOOLS)
	$(BIN)/lint-imports

check-yaml: $(TOOLS)
	$(BIN)/yamllint --strict .

check-ansible: $(TOOLS)
	@$(BIN)/python tests/hosts/hosts.py collections >/dev/null
	ANSIBLE_COLLECTIONS_PATH="$(CURDIR)/.ansible/collections" PATH="$(CURDIR)/$(BIN):$$PATH" NO_COLOR=1 $(BIN)/ansible-lint --offline

format: $(TOOLS) ## put the code into the project's format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(TOOLS) ## write docs/operations.md and the tables of the roles anew from the declarations
	$(BIN)/python -m wcp360.api.docs > docs/operations.md
	$(BIN)/python -m tests.ecosystem.role_tables

benchmarks: ready-for-tests ## measure, and write docs/benchmarks.md (BENCH='change scale' for some of them)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/run.py $(BENCH)

clean-hosts: ## remove every test host that this checkout started
	@python3 tests/hosts/hosts.py down --all
