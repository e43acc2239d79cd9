# What a person types; the scripts in ci/ do the work. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# One build at a time: cargo uses all cores by itself.
.NOTPARALLEL:

CARGO := ci/cargo.sh
# The same features and the same profile everywhere, so that nothing is compiled twice.
ONE_BUILD := --workspace --features flotilla/failpoints

# make demo DIR=… ARGS=…, make check NAME=…, make bench PROFILE=… REV=… ROUNDS=…,
# make image KIND=…, make loadtest LOADS=…, make chaos ROW=…, make sim SEEDS=…
DIR ?=
ARGS ?=
NAME ?=
PROFILE ?= seed-tables
LOADS ?= spike burst
REV ?=
ROW ?=
SEEDS ?= 0..1000
ROUNDS ?= 3
KIND ?= prebuilt

.PHONY: help
help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## installs the Debian packages and tools that are missing (root)
	@ci/setup.sh build test checks lint

.PHONY: setup-build
setup-build:
	@ci/setup.sh build

.PHONY: build
build: setup-build ## builds bin/flotilla with debug assertions and failpoints
	@# The small test target makes cargo unify features as `make test` does; both share every dependency.
	$(CARGO) build $(ONE_BUILD) --bin flotilla --test tidy
	@ci/install.sh debug

.PHONY: release
release: setup-build ## builds bin/flotilla for production, without failpoints
	$(CARGO) build --release --package flotilla
	@ci/install.sh release

.PHONY: demo
demo: build ## starts one supernode and two clusters of three nodes here; DIR=, ARGS=
	bin/flotilla dev up --live $(if $(DIR),--dir "$(DIR)") $(ARGS)

.PHONY: test
test: ## builds what it needs and runs all tests
	@ci/setup.sh build test
	$(CARGO) test --doc $(ONE_BUILD) --quiet
	$(CARGO) nextest run $(ONE_BUILD) $(ARGS)

.PHONY: sim
sim: ## runs simulations of a cluster, each from a seed: SEEDS=FROM..TO
	@ci/setup.sh build test
	SIM_SEEDS="$(SEEDS)" $(CARGO) nextest run $(ONE_BUILD) -E "binary(seeds)" --no-fail-fast $(ARGS)

.PHONY: lint
lint: fmt-check clippy tidy shell monitoring-check manifests docs deny ## all of fmt-check, clippy, tidy, shell, monitoring-check, manifests, docs, deny

.PHONY: fmt
fmt: ## formats the Rust code
	cargo fmt --all

.PHONY: fmt-check
fmt-check: ## checks the format of the Rust code
	cargo fmt --all --check

.PHONY: clippy
clippy: setup-build ## runs clippy; a warning is an error
	$(CARGO) clippy $(ONE_BUILD) --all-targets -- -D warnings

.PHONY: tidy
tidy: ## checks layers, file budgets, headers, links and words
	$(CARGO) xtask tidy

.PHONY: manifests
manifests: ## checks the manifests, the chart and the Dockerfile; needs no cluster
	@ci/setup.sh lint
	@ci/manifests.sh

.PHONY: image
image: ## builds the image flotilla:0.1.0 from bin/flotilla with podman; KIND=full compiles everything in it (root)
	@ci/setup.sh containers
	@ci/image.sh "$(KIND)"

.PHONY: shell
shell: ## checks scripts, units and the compose file, and that some test runs each command of the manual
	@ci/setup.sh lint
	shellcheck .ci/run ci/*.sh tests/checks/*.sh tests/checks/lib/*.sh tests/chaos/*.sh tests/chaos/lib/*.sh tests/chaos/rows/*.sh k8s/*.sh
	python3 -m compileall -q ci tests/checks tests/chaos tests/containers
	PYTHONPATH=tests/checks/lib:tests/chaos/lib PYTHONDONTWRITEBYTECODE=1 python3 tests/checks/operations.py static
	@ci/units.sh
	$$(ci/tool.sh compose-python) ci/compose.py examples/compose.yaml >/dev/null

.PHONY: docs
docs: setup-build ## builds the API documentation; a broken link is an error
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc $(ONE_BUILD) --no-deps --document-private-items

.PHONY: deny
deny: ## checks licenses, banned crates and sources of all dependencies
	@ci/setup.sh lint
	$$(ci/tool.sh cargo-deny) --log-level error check --hide-inclusion-graph licenses bans sources

.PHONY: monitoring
monitoring: ## writes what is made of alert rules and dashboards, and checks all of k8s/monitoring
	@ci/monitoring.sh write check

.PHONY: monitoring-check
monitoring-check:
	@ci/monitoring.sh check

.PHONY: checks
checks: ## lists the named checks of a running deployment
	@ci/check.sh list

.PHONY: check
check: ## runs one named check against bin/flotilla: NAME=
	@ci/check.sh run "$(NAME)"

.PHONY: checks-ci
checks-ci: ## runs the named checks that CI runs
	@ci/check.sh ci

.PHONY: chaos-short
chaos-short: build ## kills, pauses, partitions and power cuts, each row at its short size, and what each must find (root)
	@ci/setup.sh checks
	@tests/chaos/run.sh short

.PHONY: chaos
chaos: build ## one row of it at its full size: ROW=
	@ci/setup.sh checks
	@tests/chaos/run.sh row "$(ROW)" full

.PHONY: chaos-long
chaos-long: build ## all rows at their full size, hours of it; goes on where it was interrupted, writes docs/RELIABILITY.md
	@ci/setup.sh checks
	@tests/chaos/run.sh long

.PHONY: bench
bench: setup-build ## compares this revision with the last, or REV=, under a load profile: PROFILE=, ROUNDS=
	@REV="$(REV)" ROUNDS="$(ROUNDS)" ci/bench.sh "$(PROFILE)" $(ARGS)

.PHONY: loadtest
loadtest: release ## sends load profiles to a fresh deployment held to one core, into reports/: LOADS=, ARGS=, SERVER_CPUS=
	@ci/setup.sh checks
	@ci/loadtest.sh $(LOADS)

.PHONY: clean
clean: ## removes bin/ and our build output; the RocksDB archive stays
	@ci/clean.sh
