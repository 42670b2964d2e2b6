# Everything here installs what it needs first (by apt, which takes root, and by cargo).
# Once that is there, `demo` runs as any user.
# Written for Debian 12 and Ubuntu 24.04; not yet run on Ubuntu. `e2e` and `bench`
# need Debian 12 and refuse elsewhere.

.DEFAULT_GOAL := help
.PHONY: help setup demo lint test fuzz-smoke e2e soak package bench bench-archive

help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15

setup: ## Install all that the other targets need
	scripts/setup

# Built as the tests are, so that nothing is compiled twice.
demo: ## The time machine, shown on a pool in a file (FOLDER=… leaves it there)
	scripts/setup demo
	cargo build --workspace --all-features --locked --bins --example demo
	"$${CARGO_TARGET_DIR:-target}/debug/examples/demo" $(if $(FOLDER),'$(FOLDER)')

lint: ## Formatting, clippy and documentation; a warning is an error
	scripts/setup lint
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	cargo clippy --package terrarium-core --no-default-features --locked -- -D warnings
	@echo "planners without anything asynchronous:"
	! cargo tree --locked --package terrarium-core --no-default-features --edges normal --prefix none | grep -E '^(tokio|hyper|mio|aws[a-z-]*) '
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps --locked

# All features, so that dependencies are compiled once for this and for e2e; the
# tests of the guest are left out, they refuse to run here.
test: ## The fast tests: everything that needs no virtual machine (ARGS: for nextest)
	scripts/setup test
	cargo nextest run --workspace --all-features --locked -E 'not binary_id(testbed::e2e)' $(ARGS)
	cargo test --workspace --all-features --locked --doc
	cargo build --workspace --all-features --locked --bins
	scripts/wheel

fuzz-smoke: ## Each fuzz target for half a minute (ARGS: for fuzz/smoke, as -t 600 stream)
	scripts/setup fuzz
	fuzz/smoke $(ARGS)

# The tests that take most of an hour under emulation, SIGKILL before every step, run in
# `make soak`.
SOAK := --skip killed::

e2e: ## The tests in the virtual machine (ARGS=FILTER, KEEP=1, VM=NAME of a running one)
	scripts/setup e2e
	testbed/e2e $(if $(KEEP),--keep) $(if $(VM),--vm '$(VM)') -- $(or $(ARGS),$(SOAK))

soak: ## All tests in the virtual machine, the long ones too (ARGS, KEEP, VM as for e2e)
	scripts/setup e2e
	testbed/e2e --limit 150m $(if $(KEEP),--keep) $(if $(VM),--vm '$(VM)') -- $(ARGS)

package: ## Debian packages, into target/package
	scripts/setup package
	scripts/package

bench: ## The benchmarks that need real ZFS, in the virtual machine (ARGS=FILTER)
	scripts/setup e2e
	testbed/e2e --bench $(if $(VM),--vm '$(VM)') -- $(ARGS)

bench-archive: ## The archive's speed: each stage, and the whole against zstd, age and aws (ROUNDS)
	scripts/setup bench
	cargo build --release --workspace --all-features --locked --bins
	benches/peer $(ROUNDS)
	cargo bench --workspace --all-features --locked --bench stages
