# `make demo` and `make test` do everything on a machine with Python 3.11 and make.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
REQUIREMENTS := requirements/bootstrap.txt requirements/dev.txt

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show what there is.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: demo
demo: $(READY) ## Run the main job end to end: enqueue, deliver, record.
	@$(BIN)/stashjobs demo

.PHONY: dev
dev: $(READY) ## Run the whole system on this machine until Ctrl-C.
	@$(BIN)/stashjobs dev

.PHONY: test
test: $(READY) check ## Run every check and every test.
	$(BIN)/python -m pytest -n 2

.PHONY: check
check: $(READY) ## Run the linter, the formatter, the type checker and the template's linter.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/cfn-lint template.yaml

.PHONY: format
format: $(READY) ## Format the code and mend what the linter can mend.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: lock
lock: $(READY) ## Pin the newest versions of all requirements, with hashes.
	cd requirements && UV_CUSTOM_COMPILE_COMMAND="make lock" ../$(BIN)/uv pip compile --quiet \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--upgrade bootstrap.in --output-file bootstrap.txt
	cd requirements && UV_CUSTOM_COMPILE_COMMAND="make lock" ../$(BIN)/uv pip compile --quiet \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--upgrade --all-extras --group ../pyproject.toml:dev ../pyproject.toml --output-file dev.txt

.PHONY: clean
clean: ## Remove the environment and everything that was made, also the local data.
	rm -rf $(VENV) .stashjobs .mypy_cache .pytest_cache .ruff_cache .hypothesis dist

# Every package is pinned with its hash. uv installs them in seconds; pip, which has the same
# guarantees, is the way where uv cannot reach the registry (it does not read pip.conf).
$(READY): $(REQUIREMENTS) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement requirements/bootstrap.txt
	$(BIN)/uv pip sync --quiet --system-certs --python $(BIN)/python --require-hashes $(REQUIREMENTS) \
		|| $(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline --editable .
	@touch $@

.PHONY: chaos
chaos: $(READY) ## Break everything while N jobs run, and count what is lost or doubled.
	@$(BIN)/python -m infra.local.chaos --jobs $(or $(N),2000) $(if $(SEED),--seed $(SEED))
