# Berth. `make` alone prints the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
NODE := node_modules/.bin/node --disable-warning=ExperimentalWarning
TSC := $(NODE) node_modules/typescript-7/bin/tsc

.PHONY: help demo test soak verify generate bench bench-import bench-ledger cluster image e2e-setup e2e clean

help: ## Print the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## (.*)/  \1\t\2/' | expand -t 14

node_modules/.installed: package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js >= 20 with npm"; exit 1; }
	@echo "installing npm packages"
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

dist/berth.mjs: node_modules/.installed $(shell find operator -name '*.ts' -o -name '*.mjs' -o -name '*.json' 2>/dev/null)
	@$(NODE) operator/bundle.mjs

demo: dist/berth.mjs ## See the whole product on a real control plane (KEEP=1 leaves it running, CHAPTERS= selects)
	@$(NODE) test/demo/main.ts

test: dist/berth.mjs ## Run every test (FILES="test/plan" selects by parts of names)
	@$(NODE) test/run.ts $(FILES)

soak: dist/berth.mjs ## The same properties with more and longer random runs (SEED= repeats one)
	@BERTH_SOAK=1 $(NODE) test/run.ts $(FILES)

verify: generate ## Generate, type-check, lint, chart lint; then fail on a dirty tree
	@$(TSC) --noEmit -p .
	@node_modules/.bin/eslint .
	@node_modules/.bin/prettier --check --log-level warn operator test image
	@$(NODE) test/chart/lint.ts
	@dirty=$$(git status --porcelain); [ -z "$$dirty" ] || { echo "the tree is dirty:"; echo "$$dirty"; exit 1; }

generate: node_modules/.installed ## Write crds/, docs/api.md and the chart's CRDs from the schemas
	@$(NODE) operator/api/generate.ts

bench: dist/berth.mjs ## Measure, one JSON line a figure (BENCH= selects, N= sets the number of deployments)
	@$(NODE) test/bench/main.ts $(BENCH)

bench-import: dist/berth.mjs ## Measure imports beside rclone and s5cmd (LINES="directory stream servercopy checksums small memory resume" selects, RUNS=, LARGE=1)
	@$(NODE) test/bench/imports.ts

bench-ledger: dist/berth.mjs ## What sealing, verifying and reading a large ledger costs (HOURS= windows are verified, default 72; 720 measures the month)
	@$(NODE) test/bench/main.ts ledger

cluster: node_modules/.installed ## Start the test bed's control plane and print its KUBECONFIG
	@$(NODE) test/cluster/main.ts

image: dist/berth.mjs ## Assemble the container image as an OCI archive, with its SBOM (no Docker; the Dockerfile makes the same layout)
	@$(NODE) image/main.ts

e2e-setup: node_modules/.installed ## Install and build what "make e2e" needs: Debian packages, vLLM for the CPU (6 GB in .cache), kubelets
	@$(NODE) image/setup.ts
	@$(NODE) test/e2e/prepare.ts

e2e: dist/berth.mjs ## Run the whole product with real nodes and real vLLM (STEPS="1-4,8" selects, KEEP=1 leaves it running)
	@$(NODE) test/e2e/main.ts

clean: ## Remove what was built, downloaded and left by runs
	@chmod -R u+w .cache 2>/dev/null || true
	@rm -rf dist .cache node_modules
