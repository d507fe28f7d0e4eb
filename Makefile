# kubectl-gitops: `make help` lists what is here.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export CARGO_TERM_COLOR ?= auto

.PHONY: build generate lint test test-core test-e2e soak bench demo demo-down cluster-up cluster-down image install-manifest clean help

build: ## build the plugin, the webhook and the controller
	cargo build --locked --workspace

generate: ## write CRDs, the CLI reference and the chart's README anew
	tests/run generate

lint: ## formatting, lints and generated files, checked
	tests/run lint

test: ## everything: installs what is missing, lints, runs every test
	tests/run all

test-core: ## the pure tests of core alone: seconds
	cargo test --locked -p gitops-core

test-e2e: ## the tests on a real Kubernetes alone
	tests/run e2e

soak: ## property tests, fuzz targets and round trips with many more cases; kill -9 fifty times; 200 Rollouts at once; a repository of 2 GB
	tests/run soak

bench: ## the benchmarks, each beside its peer (NAMES="sync.10000 rollout": those alone); also to target/bench.jsonl
	tests/run bench $(NAMES)

demo: ## a cluster, the chart, a sync, refused changes, an accepted commit
	tests/demo/run

demo-down: ## take the demo's cluster down
	tests/demo/down

cluster-up: ## a real Kubernetes 1.37 (NODE=1: with a real node; NAME=x: several)
	tests/run cluster-up

cluster-down: ## stop it and leave nothing behind
	tests/run cluster-down

image: ## the image of webhook, controller and plugin, as an OCI archive in dist/
	tests/run image

install-manifest: ## the chart as one YAML file in dist/install.yaml
	tests/run install-manifest

clean: ## remove what was built here (caches of the test cluster stay)
	cargo clean
	rm -rf dist

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'
