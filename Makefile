# Two commands do everything on a fresh machine: make demo, make test.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
# Most tests wait for timers of routers and kernels. Four at a time work too, and take 12 minutes on two processors instead of 17.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal
ROUTER ?= bird
KERNELS ?= 6.1
export PYTHON

.PHONY: help setup build kube demo test lint format test-unit test-kube test-root test-kernels figures bench bench-scale bench-kube bench-watch lock clean root-only

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing, build .venv and the BPF objects
	@scripts/bootstrap.sh

build: setup ## the same as setup: it ends with the BPF objects
	@ls -l datapath/build

demo: root-only setup ## run the main job in network namespaces (ROUTER=bird or frr)
	@$(BIN)/lockstep demo --router $(ROUTER)

kube: setup ## build the kube-apiserver, etcd and helm of the tests (once)
	@scripts/kube.sh

test: root-only setup lint kube ## check the code and run all tests, then the packet tables on Debian's two kernels
	@LOCKSTEP_SEQUENCES=5000 $(PYTEST) tests
	@tests/kernels/run.sh --tables 6.1 6.12

lint: ## ruff, mypy, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: ## let ruff rewrite the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

test-unit: setup ## tests that need no root and no API server
	@$(PYTEST) tests -m 'not root and not lab and not kube'

test-kube: root-only setup kube ## tests with a real kube-apiserver and etcd
	@$(PYTEST) tests -m kube

test-root: root-only setup kube ## tests with network namespaces, BPF and real routers
	@$(PYTEST) tests -m 'root or lab'

test-kernels: root-only setup ## more datapath tests in virtual machines (KERNELS="6.1 6.12")
	@tests/kernels/run.sh $(KERNELS)

figures: root-only setup ## the promise in figures, as a table and in figures.json (DOCS=1 writes docs/figures.md)
	@$(BIN)/python -m tests.figures $(if $(DOCS),--docs)

bench: root-only setup ## what a packet costs, a route, and an idle agent, as a table and in bench.json (less than 4 minutes)
	@$(BIN)/python -m tests.bench

bench-scale: root-only setup ## how costs grow with size: charts and data in docs/performance (1 to 5 minutes)
	@$(BIN)/python -m tests.bench.scale

bench-kube: setup kube ## 10,000 Services with 100,000 endpoints in a real API server: first sync, memory, latency
	@$(BIN)/python -m tests.kube.bench

bench-watch: setup kube ## what one agent's watches cost a real API server with 1,000 Nodes, in events and bytes
	@$(BIN)/python -m tests.kube.watch_traffic

lock: ## compile the locks again (UPGRADE=1 takes newer versions)
	@scripts/lock.sh $(if $(UPGRADE),--upgrade)

clean: ## remove what was built
	@$(MAKE) --no-print-directory -C datapath clean
	@rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find announcer bgpd datapath tests -name __pycache__ -type d -prune -exec rm -rf {} +

root-only:
	@[[ $$(id -u) == 0 ]] || { echo "lockstep: this needs root (network namespaces, BPF); as a user: make test-unit" >&2; exit 1; }
