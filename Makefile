# `make demo` and `make test` do everything on a machine with Python 3.11 and make.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
REQUIREMENTS := requirements/bootstrap.txt requirements/dev.txt
# SAM's command has an environment of its own: it is heavy, and its pins are not ours.
SAM_VENV := .venv-deploy
SAM_READY := $(SAM_VENV)/.ready
SAM := SAM_CLI_TELEMETRY=0 PATH="$(CURDIR)/$(BIN):$(PATH)" $(SAM_VENV)/bin/sam

# checkov and pip-audit likewise; only `make audit` needs them.
AUDIT_VENV := .venv-audit
AUDIT_READY := $(AUDIT_VENV)/.ready

# What the benchmarks compare with; only `make bench` needs it.
BENCH_VENV := .venv-bench
BENCH_READY := $(BENCH_VENV)/.ready
BENCHMARKS := cold_start cold_far delivery stack enqueue batches growth cleanup export_memory settings_read

# uv needs a cache that it can write to; where it is on a read-only mount, it gets one here.
UV_CACHE := $(shell each="$${UV_CACHE_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/uv}"; \
	until [ -e "$$each" ]; do each=$$(dirname "$$each"); done; \
	[ -d "$$each" ] && [ -w "$$each" ] || echo "$$each")
ifneq ($(UV_CACHE),)
export UV_CACHE_DIR := $(CURDIR)/$(VENV)/.uv-cache
$(info $(UV_CACHE) cannot be written to, so packages are kept in $(UV_CACHE_DIR); \
	set UV_CACHE_DIR to keep them elsewhere.)
endif

# Where it is set, every process compiles anew what it imports: the tests take twice as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show what there is.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: demo
demo: $(READY) ## Run the main job end to end: enqueue, deliver, record.
	@$(BIN)/stashjobs demo

.PHONY: dev
dev: $(READY) ## Run the whole system on this machine until Ctrl-C (ARGS="--port 0").
	@$(BIN)/stashjobs dev $(ARGS)

.PHONY: test
test: $(READY) $(SAM_READY) check ## Run every check and every test.
	$(BIN)/python -m pytest -n 3 --dist loadfile

.PHONY: test-long
test-long: $(READY) ## Try properties with twenty times as many examples as in make test.
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -n 2 tests/property \
		tests/integration/cleanup_old_data/test_cleaner_crashes.py \
		tests/integration/process_stripe_webhook/test_processing_order.py

.PHONY: check
check: $(READY) ## Run the linters of code, types, imports and templates.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/cfn-lint

.PHONY: audit
audit: $(AUDIT_READY) $(READY) ## Look for what is unsafe in the templates (.checkov.yaml says what is allowed), and for advisories and regions.
	@BC_SKIP_MAPPING=TRUE $(AUDIT_VENV)/bin/checkov --config-file .checkov.yaml \
		--file template.yaml $(wildcard infra/*.yaml)
	@$(BIN)/python -m infra.build.advisories $(AUDIT_VENV)/bin/pip-audit
	@$(BIN)/python -m infra.build.regions $(BIN)/cfn-lint

.PHONY: build
build: $(READY) $(SAM_READY) ## Build what goes to AWS: the layer and every function, and their sizes.
	@$(SAM) validate --lint --region us-east-1
	@$(SAM) build --parallel
	@$(BIN)/python -m infra.build.report .aws-sam/build

.PHONY: release
release: $(READY) ## Make the wheel and the sdist in dist/, twice, and compare them.
	@rm -rf dist
	@for each in again out; do $(BIN)/python -m hatchling build --directory dist/$$each || exit 1; done
	@for each in dist/out/*; do cmp $$each dist/again/$${each##*/} || exit 1; done
	@rm -r dist/again && mv dist/out/* dist && rmdir dist/out

.PHONY: bench
bench: $(READY) $(BENCH_READY) ## Measure it beside others; NAME picks one of them, ARGS are its own.
	@for each in $(or $(NAME),$(BENCHMARKS)); do \
		PATH="$(CURDIR)/$(BIN):$(PATH)" $(BIN)/python -m benchmarks.$$each $(ARGS) || exit 1; \
	done

.PHONY: format
format: $(READY) ## Format the code and mend what the linter can mend.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: reference
reference: $(READY) ## Make docs/reference.md anew, from docstrings and the OpenAPI document.
	@$(BIN)/python docs/make_reference.py

# The layer has what every job needs; a function adds what its extra in pyproject.toml names, less
# what the layer and Lambda's runtime have. dev.txt constrains both: deployed is what was tested.
# Traces: add otel. Reports to Sentry: add sentry. Then make lock-layer build (docs/monitoring.md).
LAYER_EXTRAS := worker encryption
FUNCTION_EXTRAS := api:api export_data:export generate_report:report \
	process_stripe_webhook:stripe send_email:email
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" ../$(BIN)/uv pip compile --quiet --system-certs $(UPGRADE) \
	--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate

.PHONY: upgrade
upgrade: ## Pin the newest versions of all requirements, with hashes.
	@$(MAKE) lock UPGRADE=--upgrade

.PHONY: lock
lock: $(READY) ## Pin what pyproject.toml and requirements/*.in ask for; a pin that still fits stays.
	cd requirements && $(COMPILE) bootstrap.in --output-file bootstrap.txt
	cd requirements && $(COMPILE) deploy.in --output-file deploy.txt
	cd requirements && $(COMPILE) audit.in --output-file audit.txt
	cd requirements && $(COMPILE) --all-extras --group ../pyproject.toml:dev ../pyproject.toml \
		--output-file dev.txt
	@$(MAKE) lock-layer

.PHONY: lock-layer
lock-layer: $(READY) ## Pin what is deployed, in the versions that were tested.
	cd requirements && $(COMPILE) bench.in --constraint dev.txt --output-file bench.txt
	cd requirements && $(COMPILE) $(addprefix --extra ,$(LAYER_EXTRAS)) ../pyproject.toml \
		--constraint dev.txt --output-file layer.txt
	cd requirements && for each in $(FUNCTION_EXTRAS); do \
		$(COMPILE) --extra $${each#*:} ../pyproject.toml \
			--constraint dev.txt --constraint layer.txt --excludes runtime.txt \
			$$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' layer.txt) \
			--output-file functions/$${each%:*}.txt || exit 1; \
	done

.PHONY: clean
clean: ## Remove the environment and everything that was made, also the local data.
	rm -rf $(VENV) $(SAM_VENV) $(AUDIT_VENV) $(BENCH_VENV) .aws-sam .stashjobs .mypy_cache .pytest_cache .ruff_cache .hypothesis dist

# Over an environment of another Python, venv makes one that does not start: --clear.
# Every package is pinned with its hash. uv installs them in seconds; pip, which has the same
# guarantees, is the way where uv cannot reach the registry (it does not read pip.conf).
$(READY): $(REQUIREMENTS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is not: install one" \
			"(on Debian: apt-get install -y python3 python3-venv), or name it: make PYTHON=python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement requirements/bootstrap.txt
	$(BIN)/uv pip sync --quiet --system-certs --python $(BIN)/python --require-hashes $(REQUIREMENTS) \
		|| $(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline --editable .
	@touch $@

$(SAM_READY): requirements/deploy.txt | $(READY)
	$(BIN)/python -m venv --clear --without-pip $(SAM_VENV)
	$(BIN)/uv pip sync --quiet --system-certs --python $(SAM_VENV)/bin/python --require-hashes $< \
		|| $(BIN)/python -m pip --python $(SAM_VENV)/bin/python install --quiet --require-hashes \
			--requirement $<
	@touch $@

$(BENCH_READY): requirements/bench.txt | $(READY)
	$(BIN)/python -m venv --clear --without-pip $(BENCH_VENV)
	$(BIN)/uv pip sync --quiet --system-certs --python $(BENCH_VENV)/bin/python --require-hashes $< \
		|| $(BIN)/python -m pip --python $(BENCH_VENV)/bin/python install --quiet --require-hashes \
			--requirement $<
	@touch $@

$(AUDIT_READY): requirements/audit.txt | $(READY)
	$(BIN)/python -m venv --clear --without-pip $(AUDIT_VENV)
	$(BIN)/uv pip sync --quiet --system-certs --python $(AUDIT_VENV)/bin/python --require-hashes $< \
		|| $(BIN)/python -m pip --python $(AUDIT_VENV)/bin/python install --quiet --require-hashes \
			--requirement $<
	@touch $@

.PHONY: soak
soak: $(READY) ## Keep the local system under load for MINUTES, and see what grows.
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),5)

.PHONY: chaos
chaos: $(READY) ## Break everything while N jobs run, and count what is lost or doubled.
	@$(BIN)/python -m infra.local.chaos --jobs $(or $(N),2000) $(if $(SEED),--seed $(SEED))
