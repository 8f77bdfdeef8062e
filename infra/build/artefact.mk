# How a folder that goes to Lambda is made; shared/Makefile and functions/Makefile include this, after
# they have set ROOT to the checkout.
#
# Wheels are chosen for Lambda's platform, and nothing that was compiled for it is run here, so the
# machine that builds may have any processor and any Python. The tests override PLATFORM and
# PYTHON_VERSION and build, by the same rules, something that they can run.

MAKEFLAGS += --no-print-directory

PLATFORM ?= aarch64-manylinux_2_28
PYTHON_VERSION ?= 3.13

REQUIREMENTS := $(ROOT)/requirements

# Bytecode is of use only to the Python that made it. Where that one is not installed, the sources
# go without, and Lambda compiles them in every cold start; with REQUIRE_LAMBDA_PYTHON=true, as in
# GitHub's workflows, that fails.
ifndef COMPILER
COMPILER := $(firstword $(shell \
	for each in python$(PYTHON_VERSION) $(HOME)/.pyenv/versions/$(PYTHON_VERSION).*/bin/python3 \
		$(HOME)/.local/share/uv/python/cpython-$(PYTHON_VERSION).*/bin/python3; do \
		"$$each" -c 'import sys; print(sys.executable)' 2>/dev/null; done; true))
endif

.PHONY: compiler
compiler:
	@echo $(COMPILER)

# $(call install,requirements.txt,folder)
define install
@command -v uv >/dev/null || { echo "uv is not on the PATH: run 'make build'" >&2; exit 1; }
@uv pip install --quiet --system-certs --link-mode copy --target "$(2)" \
	--python-platform $(PLATFORM) --python-version $(PYTHON_VERSION) \
	--only-binary :all: --no-deps --require-hashes --requirement "$(1)"
endef

# $(call finish,folder,where Lambda will have it)
# Leave out what only a person or an installer reads, then compile. Licences stay, and of a
# package's dist-info what importlib.metadata needs. The bytecode is not checked against its source,
# because a zip knows times by the even second only; the seed keeps two builds identical.
define finish
@find "$(1)" -type d \( -name __pycache__ -o -name tests -o -name test \) -prune -exec rm -rf {} +
@find "$(1)" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \
	-o -path '*.dist-info/RECORD' -o -path '*.dist-info/INSTALLER' -o -path '*.dist-info/REQUESTED' \
	-o -path '*.dist-info/WHEEL' -o -path '*.dist-info/direct_url.json' \
	-o -path '*.dist-info/uv_cache.json' \) -delete
@rm -rf "$(1)/bin" "$(1)/.lock"
@if [ -n "$(COMPILER)" ]; then \
	PYTHONHASHSEED=0 "$(COMPILER)" -m compileall -q --invalidation-mode unchecked-hash \
		-s "$(1)" -p "$(2)" "$(1)"; \
elif [ "$(REQUIRE_LAMBDA_PYTHON)" = true ] && [ "$(origin COMPILER)" != "command line" ]; then \
	echo "no Python $(PYTHON_VERSION) here, which REQUIRE_LAMBDA_PYTHON asks for: install it" >&2; \
	exit 1; \
else \
	echo "no Python $(PYTHON_VERSION) here: $(2) is not compiled, and its cold starts are slower"; \
fi
endef
