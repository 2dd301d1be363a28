# Each target does its own set-up in .venv; a second run finds it there.
#
#   make demo   ARGS=--keep    leave the demo running
#   make test   ARGS='-k rbd'  a part of the tests
#   PYTHON=python3.12 make ... another Python

PYTHON ?= python3
ARGS ?=

CONSTRAINTS = tests/constraints/2026.2.txt
REQUIREMENTS = tests/requirements.txt tests/lint-requirements.txt \
	doc/requirements.txt
BIN = .venv/bin
READY = .venv/ready

# Run a recipe's commands; say at the end which Debian packages are missing.
run = status=0; { $(1); } || status=$$?; .ci/packages report; exit $$status

.PHONY: bench clean demo docs lint packages test upstream

demo: $(READY)
	@$(call run,$(BIN)/python -m tests.demo $(ARGS))

# Nova runs on native threads or on eventlet: the functional tests run on both.
test: $(READY)
	@$(call run,OS_NOVA_DISABLE_EVENTLET_PATCHING=1 \
		$(BIN)/python -m pytest $(ARGS) \
		&& { ! command -v qemu-img >/dev/null \
		|| OS_NOVA_DISABLE_EVENTLET_PATCHING=0 \
		$(BIN)/python -m pytest tests/functional $(ARGS); })

upstream: $(READY)
	OS_NOVA_DISABLE_EVENTLET_PATCHING=1 $(BIN)/python -m tests.upstream

bench: $(READY)
	@$(call run,$(BIN)/python -m benchmarks $(ARGS))

lint: $(READY) docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/reno -q lint

docs: $(READY)
	$(BIN)/sphinx-build -q -n -W --keep-going -b html doc/source doc/build/html

$(READY): $(CONSTRAINTS) $(REQUIREMENTS) pyproject.toml setup.cfg | $(BIN)/pip
	$(BIN)/pip install -q --disable-pip-version-check -c $(CONSTRAINTS) \
		$(REQUIREMENTS:%=-r %) -e .
	touch $@

$(BIN)/pip: | packages
	$(PYTHON) -m venv .venv

packages:
	@.ci/packages

clean:
	rm -rf .venv .tox build dist doc/build releasenotes/build \
		.mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
