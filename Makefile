# Each target makes the virtualenv that it needs; a second run finds it there. What is
# more than a line is a program in .ci/, which says what it takes.
#
#   ARGS     for the program that a target runs: make test ARGS='-k rbd'
#   PYTHON   makes .venv: make unit PYTHON=python3.12
#   WORKERS  how many files are tested at a time: some tests measure time, and more of
#            them than idle cores make them fail
#   DISTRO   for "on", and IMAGES_TYPE and PATCHED for "cloud"

ARGS ?=
PYTHON ?= python3
WORKERS ?= $(shell nproc)
DISTRO ?= trixie
IMAGES_TYPE ?= qcow2
PATCHED ?= yes
export ARGS PYTHON WORKERS

# The tests that differ between native threads and eventlet.
eventlet = $$(grep -rl --include='test_*.py' mark.eventlet $(1))
servers = $$(! .ci/packages has 'ceph|servers' || echo tests/servers)
e2e = .ci/venv e2e -m
.PHONY: $(shell sed -nE 's/^([a-z0-9-]+):.*/\1/p' Makefile)

help: ## what there is to make
	@awk -F ':.*## ' 'NF == 2 && /^[a-z]/ { printf "%-20s %s\n", $$1, $$2 }' Makefile

demo: ## what lands where: stock Nova and patched
	@.ci/python -m tests.demo $(ARGS)
test: ## all tests for which the Debian packages are here
	@.ci/test
unit: ## those that take seconds
	@.ci/pytest tests threads tests/unit
functional: ## those on a real Glance and Nova's code
	@.ci/packages
	@.ci/pytest tests threads tests/functional
functional-eventlet: ## those that differ on eventlet
	@.ci/packages
	@.ci/pytest tests eventlet $(call eventlet,tests/functional)
test-docs: ## the pages in a browser, and their snippets
	@.ci/packages docs
	@.ci/pytest tests threads tests/docs
test-ceph: ## those on a real Ceph, and those of test-servers
	@.ci/pytest ceph threads tests/ceph/test_*.py $(servers)
	@.ci/pytest ceph eventlet $(call eventlet,tests/ceph)
test-servers: ## Swift, S3, uWSGI and HAProxy
	@.ci/venv ceph
	@.ci/packages need 'ceph|servers'
	@.ci/pytest ceph threads tests/servers
e2e: ## a whole OpenStack, as root
	@$(e2e) pytest tests/e2e $(ARGS)

lint: docs ## style, types, documentation, scripts
	@.ci/lint
docs: ## the documentation, in doc/build/html
	@.ci/packages docs && .ci/venv tests
	@.ci/packages after '' .venv/bin/sphinx-build -q -n -W --keep-going -b html \
		doc/source doc/build/html

cloud: ## start a whole OpenStack, as root
	@$(e2e) tests.e2e up --images-type $(IMAGES_TYPE) --patched $(PATCHED)
cloud-compute: ## restart its nova-compute
	@$(e2e) tests.e2e compute --images-type $(IMAGES_TYPE) --patched $(PATCHED) $(ARGS)
cloud-down: ## end it
	@[ ! -e .cloud.json ] || .venv-e2e/bin/python -m tests.e2e down

bench: ## what it costs; ARGS=--short takes two minutes
	@.ci/python -m benchmarks $(ARGS)
chaos: ## a history of snapshots and faults; ARGS='--seeds 7'
	@.ci/python -m tests.chaos $(ARGS)
deltas: ## many delta copies, with faults; ARGS='--copies 100 --seed 7'
	@OS_NOVA_DISABLE_EVENTLET_PATCHING=1 .ci/venv ceph -W ignore -m tests.ceph.deltas $(ARGS)
twin: ## configurations, with stock Nova and patched; ARGS='--seed 7'
	@.ci/python -m tests.twin $(ARGS)
balanced: ## a glance-api in trouble behind HAProxy
	@.ci/venv ceph
	@.ci/packages need 'ceph|servers'
	@OS_NOVA_DISABLE_EVENTLET_PATCHING=1 .venv-ceph/bin/python -W ignore \
		-m tests.servers.balanced $(ARGS)
upstream: ## Nova's own tests, with stock Nova and patched
	@.ci/packages && .ci/venv tests
	@OS_NOVA_DISABLE_EVENTLET_PATCHING=1 .venv/bin/python -m tests.upstream
releases: ## tests on eight releases of Nova; ARGS=--part is some, on the oldest
	@.ci/packages releases && .ci/venv tests
	@.ci/packages after releases .ci/releases $(ARGS)
on: ## targets on another Debian, as root: make on DISTRO=sid ARGS='demo unit'
	@.ci/on $(DISTRO) $(ARGS)
nightly: ## what takes too long for each change; ARGS=trixie is a part
	@.ci/nightly $(ARGS)

dist: ## the sdist and the wheel of the last commit
	@.ci/venv dist
	@.ci/dist .venv-dist/bin/python
	@.venv-dist/bin/python -m pytest --confcutdir tests/dist tests/dist $(ARGS)
sbom: ## what the wheel's installation brings in
	@.ci/venv dist
	@.ci/sbom build/nova-multistore.cdx.json
deb: ## the Debian packages; for "make on"
	@tests/dist/debian
deb-cloud: deb ## the same with Debian's own OpenStack
	@tests/dist/debian_cloud
clean: cloud-down ## remove all that was made
	rm -rf .roots .venv* .tox build dist doc/build releasenotes/build
	rm -rf .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
