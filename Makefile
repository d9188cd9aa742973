# Serin's targets. `make help` lists them; .ci/run calls them in order.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PEERS := $(or $(SERIN_PEERS),$(CURDIR)/.cache/peers)
ENV := eval "$$(scripts/peers env)"
GO_FILES = git ls-files -co --exclude-standard '*.go'

# What may be set on the command line.
FUZZTIME ?= 20s
BENCHTIME ?= 1s
COUNT ?= 1
CHAOS_KILLS ?= 50
DEMO_FLAGS ?=

##@ Use it
.PHONY: help build demo
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' Makefile

build: ## The static binary ./serin
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o serin ./cmd/serin

demo: ## A rollout on real card payments, from start to promotion
	go run ./cmd/serin demo $(DEMO_FLAGS)

##@ Test it
.PHONY: test unit race integration fuzz bench chaos
test: ## All that a newcomer needs: race, peers, integration
	@scripts/peers cc
	@$(MAKE) --no-print-directory race
	@scripts/peers
	@$(MAKE) --no-print-directory integration

unit: ## Unit tests, cached: the quick answer
	go test ./...

race: ## Unit tests with the race detector, in random order
	go test -race -shuffle=on -timeout 25m ./...

integration: ## Tests against real peers (scripts/peers installs them)
	@$(ENV); scripts/targets integration | while read -r pkg run; do \
		go test -tags integration -race -shuffle=on -timeout 25m -count=1 -run "$$run" "$$pkg" </dev/null; done

fuzz: ## Every fuzz target for FUZZTIME (20s)
	@scripts/fuzz $(FUZZTIME)

bench: ## Every benchmark, for BENCHTIME (1s) and COUNT (1) times
	@go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -count $(COUNT) $$(scripts/targets bench)

chaos: ## Kill the server CHAOS_KILLS (50) times in the middle of rollouts
	@$(ENV); scripts/targets chaos | while read -r pkg run; do \
		SERIN_CHAOS_KILLS=$(CHAOS_KILLS) go test -tags integration -timeout 25m -count=1 -v -run "$$run" "$$pkg" </dev/null; done

##@ Keep it clean
.PHONY: fmt fmt-check vet lint house tidy generate generate-check cross peers ci
fmt: ## Format all Go files
	@scripts/peers gofumpt
	@$(GO_FILES) | xargs $(PEERS)/bin/gofumpt -w

fmt-check: ## Fail when a Go file is not formatted
	@scripts/peers gofumpt
	@bad=$$($(GO_FILES) | xargs $(PEERS)/bin/gofumpt -l); \
		if [ -n "$$bad" ]; then printf 'not formatted, run make fmt:\n%s\n' "$$bad" >&2; exit 1; fi

vet: ## go vet, with and without the integration tests
	go vet ./...
	go vet -tags integration ./...

lint: ## golangci-lint with .golangci.yml
	@scripts/peers golangci-lint
	$(PEERS)/bin/golangci-lint run --allow-serial-runners ./...

house: ## Layers, sizes and rules of the house
	go test -count=1 ./internal

tidy: ## Tidy go.mod
	go mod tidy

generate: ## Write generated files again
	go generate ./...

generate-check: ## Fail when a generated file is not what its generator writes
	@state() { git diff HEAD; git ls-files -o --exclude-standard -z | xargs -0 -r sha256sum; }; \
		before=$$(state); go generate ./...; after=$$(state); \
		if [ "$$before" != "$$after" ]; then \
			diff <(printf '%s\n' "$$before") <(printf '%s\n' "$$after") >&2 || true; \
			echo 'generated files are out of date, run make generate and commit' >&2; exit 1; fi

cross: ## Build for the other platforms
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build ./...
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 go build ./...

peers: ## Install what the tests run against
	@scripts/peers

ci: ## All that a submission has to pass
	@.ci/run
