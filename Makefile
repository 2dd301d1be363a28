# Each target does its own set-up in .venv; a second run finds it there.
#
#   make unit                  the tests that take seconds
#   make functional WORKERS=1  tests one after the other
#   make demo   ARGS=--keep    leave the demo running
#   make test   ARGS='-k rbd'  a part of the tests
#   PYTHON=python3.12 make ... another Python
#   make bench  ARGS=--short  a few ratios, patched to stock, in two minutes
#   make chaos  ARGS='--seeds 7'  a history of snapshots and faults
#   make twin   ARGS='--seed 7'   configurations, with stock Nova and patched
#   make cloud  PATCHED=no     with a stock nova-compute
#   make on DISTRO=trixie ARGS='unit demo'  targets on another Debian, as root
#   make nightly ARGS=trixie   what takes too long for each change, or a part

PYTHON ?= python3
ARGS ?=

CONSTRAINTS = tests/constraints/release-2026.2.txt
REQUIREMENTS = tests/requirements.txt tests/lint-requirements.txt \
	tests/docs/requirements.txt doc/requirements.txt
CEPH_REQUIREMENTS = tests/requirements.txt tests/servers/requirements.txt
BIN = .venv/bin
READY = .venv/ready

# Debian's bindings of Ceph and libvirt are built for Debian's own Python: what
# needs them has a virtualenv of its own for that one.
CEPH_BIN = .venv-ceph/bin
CEPH_READY = .venv-ceph/ready
CEPH_BINDINGS = $(addprefix /usr/lib/python3/dist-packages/, \
	rados*.so rbd*.so)
E2E_CONSTRAINTS = tests/constraints/e2e-2026.2.txt
E2E_REQUIREMENTS = tests/e2e/requirements.txt
E2E_BIN = .venv-e2e/bin
E2E_READY = .venv-e2e/ready
E2E_BINDINGS = $(CEPH_BINDINGS) $(addprefix /usr/lib/python3/dist-packages/, \
	libvirt*.py libvirtmod*.so)
DIST_BIN = .venv-dist/bin
DIST_READY = .venv-dist/ready
DIST_REQUIREMENTS = tests/dist/requirements.txt
SBOM = build/nova-multistore.cdx.json
DISTRO ?= trixie
IMAGES_TYPE ?= qcow2
PATCHED ?= yes

# Some tests measure time: more workers than idle cores make them fail.
WORKERS ?= $(shell nproc)

# Run pytest, with 1 on native threads and with 0 on eventlet. It is no failure
# if ARGS selects nothing.
pytest = OS_NOVA_DISABLE_EVENTLET_PATCHING=$(1) $(2)/python \
	-m $(or $(4),pytest) $(3) $(ARGS) $(if $(ARGS),|| [ $$? = 5 ])

# Tests that share a cloud run one after the other. pytest-xdist does not work
# on eventlet, and does not share Ceph: there, each file is a job of its own.
side_by_side = $(if $(filter-out 1,$(WORKERS)),-n $(WORKERS) --dist loadscope)
jobs = $(MAKE) -s -j$(WORKERS) -Otarget
CEPH_TESTS = $(wildcard tests/ceph/test_*.py)
# The other servers share one, as their clouds are small.
SERVERS = ceph|servers
EVENTLET = $(shell grep -l mark.eventlet tests/functional/test_*.py)

# Not "make" by its own name: "make -n" runs the lines that have it.
again = $(MAKE) -s

# Install without compiling all modules, most of which are not used. Those that
# are used are compiled once.
export PYTHONDONTWRITEBYTECODE =
install = $(1)/pip install -q --disable-pip-version-check --no-compile

# Test releases, each in a virtualenv of its own.
RELEASES = $(patsubst tests/constraints/%.txt,%, \
	$(wildcard tests/constraints/release-*.txt))
tox = $(BIN)/tox $(1) -q $(2:%=-e %) -- --workers $(WORKERS) $(3)

# Make a target that needs qemu-img, where that is.
unless_missing = if command -v qemu-img >/dev/null; then $(again) $(1); fi

# Run a recipe's commands; say at the end which Debian packages are missing.
run = status=0; { $(1); } || status=$$?; .ci/packages report $(2); exit $$status

# Run the demo or the benchmarks, with Ceph where its packages are.
with_ceph = if .ci/packages has ceph; then \
	$(MAKE) -s $(CEPH_READY) && $(CEPH_BIN)/python $(1); else \
	$(MAKE) -s $(READY) && $(BIN)/python $(1); fi

# Put Debian's bindings into a virtualenv. They are copied, not linked: what
# looks into a virtualenv, a formatter say, may write there.
bind = site=$$($(1)/python -c \
	'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	mkdir -p $$site/debian && cp $(2) $$site/debian && \
	echo debian > $$site/debian.pth

.PHONY: balanced bench ceph ceph-eventlet chaos clean cloud cloud-compute \
	cloud-down deb demo dist docs e2e functional functional-eventlet lint \
	nightly on packages packages-docs packages-e2e packages-releases packages-venv \
	releases releases-part sbom servers-threads test test-ceph test-docs \
	test-servers twin unit upstream

demo: packages
	@$(call run,$(call with_ceph,-m tests.demo $(ARGS)))

test: packages $(READY)
	@$(call run,$(again) unit && $(call unless_missing,functional) \
		&& $(call unless_missing,functional-eventlet) \
		&& if .ci/packages has docs; then $(again) test-docs; fi \
		&& if .ci/packages has ceph; then $(again) test-ceph; fi)

unit: $(READY)
	$(call pytest,1,$(BIN),tests/unit $(side_by_side))

functional: packages $(READY)
	$(call pytest,1,$(BIN),tests/functional $(side_by_side))

# Nova runs on native threads or on eventlet; what does not differ between the
# two is not marked.
functional-eventlet: packages $(READY)
	$(call pytest,0,$(BIN),$(EVENTLET) -- -m eventlet,tests.files \
		--workers $(WORKERS))

test-docs: packages-docs $(READY)
	$(call pytest,1,$(BIN),tests/docs)

test-ceph: ceph $(CEPH_READY)
	$(jobs) ceph-eventlet $(CEPH_TESTS:%=ceph-threads-%) \
		$$(! .ci/packages has '$(SERVERS)' || echo servers-threads)

test-servers: packages $(CEPH_READY)
	@.ci/packages has '$(SERVERS)' \
		|| { .ci/packages report '$(SERVERS)'; exit 1; }
	$(MAKE) -s servers-threads

servers-threads:
	$(call pytest,1,$(CEPH_BIN),tests/servers)

ceph-threads-tests/ceph/%:
	$(call pytest,1,$(CEPH_BIN),tests/ceph/$*)

ceph-eventlet:
	$(call pytest,0,$(CEPH_BIN),tests/ceph -m eventlet)

# All releases, and the table of them in the documentation.
releases: packages-releases $(READY)
	@$(call run,$(call tox,run,$(RELEASES),$(ARGS)); status=$$?; $(BIN)/python -m \
		tests.releases table $(RELEASES:%=.tox/%/result.json) \
		>doc/source/releases.csv && (exit $$status),releases)

# Some tests on the oldest release and on one in the middle; "make test" has
# the newest.
releases-part: packages-releases $(READY)
	@$(call run,$(call tox,run-parallel -p all -o, \
		release-2023.1 release-2025.1,--part),releases)

upstream: packages $(READY)
	OS_NOVA_DISABLE_EVENTLET_PATCHING=1 $(BIN)/python -m tests.upstream

cloud: $(E2E_READY)
	@$(E2E_BIN)/python -m tests.e2e up --images-type $(IMAGES_TYPE) \
		--patched $(PATCHED)

cloud-compute:
	@$(E2E_BIN)/python -m tests.e2e compute --images-type $(IMAGES_TYPE) \
		--patched $(PATCHED) $(ARGS)

cloud-down:
	@[ ! -e .cloud.json ] || $(E2E_BIN)/python -m tests.e2e down

e2e: $(E2E_READY)
	@$(E2E_BIN)/python -m pytest tests/e2e $(ARGS)

# Other targets, on another release of Debian.
on:
	@.ci/on $(DISTRO) $(ARGS)

# Other Debians, all releases, and what runs for hours.
nightly:
	@.ci/nightly $(ARGS)

# What is published: the sdist and the wheel of the last commit.
dist: $(DIST_READY)
	@.ci/dist $(DIST_BIN)/python
	$(DIST_BIN)/python -m pytest --confcutdir tests/dist tests/dist $(ARGS)

# The Debian packages, in a root that "make on" has made.
deb:
	@tests/dist/debian

# What an installation of that wheel brings in, as CycloneDX has it.
sbom: $(DIST_READY)
	rm -rf build/sbom
	$(DIST_BIN)/python -m venv --without-pip build/sbom
	$(DIST_BIN)/pip --python build/sbom/bin/python install -q \
		--disable-pip-version-check --no-compile dist/*.whl
	$(DIST_BIN)/cyclonedx-py environment --output-reproducible \
		--output-file $(SBOM) build/sbom/bin/python

chaos: packages
	@$(call run,$(call with_ceph,-m tests.chaos $(ARGS)))

twin: packages
	@$(call run,$(call with_ceph,-m tests.twin $(ARGS)))

# Three glance-api behind HAProxy, and the documentation's table of them.
balanced: packages $(CEPH_READY)
	@.ci/packages has '$(SERVERS)' \
		|| { .ci/packages report '$(SERVERS)'; exit 1; }
	OS_NOVA_DISABLE_EVENTLET_PATCHING=1 $(CEPH_BIN)/python -W ignore \
		-m tests.servers.balanced $(ARGS)

bench: packages
	@$(call run,$(call with_ceph,-m benchmarks $(ARGS)))

lint: $(READY) docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/reno -q lint
	$(BIN)/shellcheck devstack/* .ci/* tests/dist/debian
	$(BIN)/shellcheck -s sh doc/source/*/*.sh debian/*.p*
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows \
		.github/workflows/*.yaml

docs: packages-docs $(READY)
	@$(call run,$(BIN)/sphinx-build -q -n -W --keep-going -b html doc/source \
		doc/build/html)

$(READY): $(CONSTRAINTS) $(REQUIREMENTS) pyproject.toml setup.cfg | $(BIN)/pip
	$(call install,$(BIN)) -c $(CONSTRAINTS) $(REQUIREMENTS:%=-r %) -e .
	touch $@

$(BIN)/pip: | packages-venv
	$(PYTHON) -m venv .venv

$(DIST_READY): $(DIST_REQUIREMENTS) | packages-venv
	$(PYTHON) -m venv .venv-dist
	$(call install,$(DIST_BIN)) -r $(DIST_REQUIREMENTS)
	touch $@

packages:
	@.ci/packages

packages-docs:
	@.ci/packages docs

packages-releases:
	@.ci/packages releases

packages-venv:
	@.ci/packages venv

ceph: packages
	@.ci/packages has ceph || { .ci/packages report; exit 1; }

$(CEPH_READY): $(CONSTRAINTS) $(CEPH_REQUIREMENTS) setup.cfg | $(CEPH_BIN)/pip
	$(call install,$(CEPH_BIN)) -c $(CONSTRAINTS) \
		$(CEPH_REQUIREMENTS:%=-r %) -e .
	$(call bind,$(CEPH_BIN),$(CEPH_BINDINGS))
	touch $@

$(CEPH_BIN)/pip: | packages
	/usr/bin/python3 -m venv .venv-ceph

$(E2E_READY): $(E2E_CONSTRAINTS) $(E2E_REQUIREMENTS) setup.cfg \
		| $(E2E_BIN)/pip
	$(E2E_BIN)/pip install -q --disable-pip-version-check \
		-c $(E2E_CONSTRAINTS) -r $(E2E_REQUIREMENTS) -e .
	$(call bind,$(E2E_BIN),$(E2E_BINDINGS))
	touch $@

$(E2E_BIN)/pip: | packages-e2e
	/usr/bin/python3 -m venv .venv-e2e

packages-e2e:
	@[ "$$(id -u)" = 0 ] || { \
		echo 'The whole OpenStack has to be started as root.' >&2; exit 1; }
	@.ci/packages e2e

clean: cloud-down
	rm -rf .roots .venv .venv-ceph .venv-dist .venv-e2e .tox build dist \
		doc/build releasenotes/build .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
