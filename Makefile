# The front door: every target is one call into Python. `make help` lists them.
PYTHON ?= python3
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit e2e kind kind-node lint fmt generate verify readme bench clean

help: ## list the targets
	@$(PYTHON) tools/bootstrap.py --help-targets Makefile

.venv/.ready: requirements-dev.lock tools/bootstrap.py
	@$(PYTHON) tools/bootstrap.py

setup: .venv/.ready ## install everything the other targets need

demo: .venv/.ready ## a small fleet with 14 days of history on a real control plane; KEEP=1 leaves it running
	@$(PY) -m testbed.demo

test: .venv/.ready ## lint, unit, property, contract, chart and end-to-end tests, kind included where it can run
	@$(PY) tools/test.py

unit: .venv/.ready ## the quick tests: no cluster, no Prometheus
	@$(PY) tools/test.py unit

e2e: .venv/.ready ## the tests on the local control plane and a real Prometheus
	@$(PY) tools/test.py e2e

kind: .venv/.ready ## the tests on kind, where Docker runs or `make kind-node` was done
	@$(PY) tools/test.py kind

kind-node: .venv/.ready ## a node image for kind where Docker cannot pull one: as root on Debian, 6 minutes once
	@$(PY) -m testbed.cluster.kind --build

lint: .venv/.ready ## ruff, mypy --strict, import contracts
	@$(PY) tools/test.py lint

fmt: .venv/.ready ## format and mend what ruff can
	@$(PY) tools/test.py fmt

generate: .venv/.ready ## rewrite crds/, manifests/, chart files and reference pages from their sources
	@$(PY) tools/generate.py

verify: .venv/.ready ## fail when a generated file is stale
	@$(PY) tools/generate.py --check

readme: .venv/.ready ## run the demo and place its output in README.md
	@$(PY) tools/readme.py

bench: .venv/.ready ## the campaigns whose figures stand in benchmarks/
	@$(PY) -m benchmarks

clean: ## remove what was built: .venv and .cache
	@$(PYTHON) tools/bootstrap.py --clean
