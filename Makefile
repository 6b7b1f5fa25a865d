# Needs Go 1.26 or later, make, bash, and a C compiler for the race detector.
# Tools are pinned in .ci/tools/go.mod and built on demand.

.DEFAULT_GOAL := help
.PHONY: help build test bench gate microbench chaos race procs fuzz stress fmt lint cover tidy-check clean \
	fmt-check vet staticcheck layers unit alloc models bench-once smoke nested cross

BIN         := $(CURDIR)/bin
TOOL        := go tool -modfile=$(CURDIR)/.ci/tools/go.mod
COMMIT      := $(shell git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null)
FUZZTIME    ?= 1s
STRESSCOUNT ?= 20
MICROOUT    ?= bin/microbench.txt
MICROCOUNT  ?= 10
MICROBENCH  ?= .
HOT         := ./taskid ./ring ./framing ./engine ./pool ./server
# The race detector needs a C compiler. Without one the tests still run, and say
# so; under CI its absence is a failure.
RACE        := $(if $(shell command -v $$(go env CC) 2>/dev/null),-race)
TESTFLAGS   := $(RACE) -tags invariant -shuffle=on -timeout 10m

help: ## Print what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

build: ## Build bin/ringwire, bin/anet-baseline-server, bin/anet-v1-baseline-server
	cd cmd/ringwire && go build -ldflags "-X main.commit=$(COMMIT)" -o $(BIN)/ringwire .
	cd benchmarks/peers/anetserver && go build -o $(BIN)/anet-baseline-server .
	benchmarks/peers/anetserver/go-v1 build -o $(BIN)/anet-v1-baseline-server .

test: ## Everything CI runs, stage by stage, in at most 15 minutes on two cores
	@MAKE="$(MAKE)" .ci/stages \
		fmt-check   "gofmt" \
		tidy-check  "go.mod files are tidy" \
		vet         "go vet" \
		staticcheck "staticcheck" \
		layers      "layers, lengths, documents" \
		unit        "unit and example tests, race" \
		procs       "correctness on 1, 2, 4, 8 processors" \
		alloc       "allocation budgets, no race" \
		models      "a million operations beside models" \
		gate        "regression gate, counts" \
		bench-once  "each benchmark once" \
		fuzz        "fuzz, $(FUZZTIME) each" \
		smoke       "command line smoke" \
		nested      "nested modules' tests, race" \
		anet-compat "anet's own tests through the facade" \
		cross       "other platforms: build and vet"

bench: build ## Benchmark against the baseline: make bench, make bench QUICK=1
	$(BIN)/ringwire bench $(if $(QUICK),--quick) $(BENCHFLAGS)

gate: ## Counts per request against their budgets: allocations, system calls, frames per write, waits
	.ci/gate

microbench: ## Benchmarks for benchstat, MICROCOUNT (10) times, those like MICROBENCH (all), into MICROOUT
	.ci/microbench $(MICROOUT) $(MICROCOUNT) '$(MICROBENCH)'

.PHONY: profile
profile: build ## Profile both processes under every load (two minutes): make profile PROFILEFLAGS='--suite one'
	$(BIN)/ringwire profile $(PROFILEFLAGS)

.PHONY: peers
peers: build peers-program ## Compare with every peer (some half an hour): make peers, make peers QUICK=1
	@benchmarks/peers/install-redis
	$(BIN)/peers run $(if $(QUICK),--quick) --json $(PEERSOUT)/peers.json --markdown $(PEERSOUT)/peers.md \
		--svg-dir $(PEERSOUT) $(PEERSFLAGS)

.PHONY: peers-server peers-program
peers-server: build peers-program ## The server beside others (a minute a round): make peers-server ROUNDS=10
	$(BIN)/peers run --sections light,handlers,polling $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		--json $(PEERSOUT)/server.json --markdown $(PEERSOUT)/server.md $(PEERSFLAGS)

peers-program:
	cd benchmarks/peers && go build -ldflags "-X main.commit=$(COMMIT)" -o $(BIN)/peers .
	@mkdir -p $(PEERSOUT)
# Where they write, from here; set it to keep a run: make peers PEERSOUT=docs/peers.
# The charts quote the command, so it names no path of this machine.
PEERSOUT ?= bin/peers-results

.PHONY: pools anet-compat
pools: ## Compare package pool with anet's pool, puddle and a channel (half a minute)
	cd benchmarks/pools && go run ./compare

anet-compat: ## Run anet v1.0.0's own external tests against our package anet, with the race detector
	.ci/anet-compat

chaos: ## The full fault-injection run: 10 million requests, 10,000 resets, hangs (some 15 minutes)
	go test -tags invariant -v -timeout 60m -count=1 ./internal/e2e -chaos.full
	go test -v -timeout 10m -count=1 ./examples/restart -args -restarts 100
	cd internal/e2e/anetcontrol && go test -v -timeout 10m -count=1 ./...

.PHONY: server-rows
server-rows: build ## The server's rows of docs/RELIABILITY.md at full size, beside anet's server, and 20 restarts (some 15 minutes)
	go test -v -count=1 -timeout 20m -run 'ServerRowFigures' ./internal/e2e -rows.bin $(BIN)
	go test -v -count=1 -timeout 30m -run 'ServerRow|TestOverload' ./internal/e2e -chaos.full
	go test -v -count=1 -timeout 10m ./examples/restart -restarts 20

race: ## Unit and example tests with the race detector and the assertions
	@[ -n "$(RACE)" ] || { echo "no C compiler ($$(go env CC)): testing WITHOUT the race detector"; [ -z "$$CI" ]; }
	go test $(TESTFLAGS) ./...

# As many as the machine has are left out: the unit tests run with those, and the race detector.
procs: ## The core packages' tests with GOMAXPROCS 1, 2, 4 and 8
	for n in 1 2 4 8; do \
		[ $$n != "$$(getconf _NPROCESSORS_ONLN)" ] || continue; \
		GOMAXPROCS=$$n go test -count=1 -short -vet=off $(HOT) || exit 1; \
	done
	for n in 1 8; do \
		GOMAXPROCS=$$n go test -count=1 -short -run 'Chaos|Cancel|Virtual' ./internal/e2e || exit 1; \
		GOMAXPROCS=$$n go test -count=1 -short -vet=off ./pool/paired ./anet/... || exit 1; \
	done

fuzz: ## Fuzz every target for FUZZTIME (1s) each
	.ci/fuzz $(FUZZTIME)

stress: ## Repeat the core packages' tests STRESSCOUNT (20) times at 1, 2 and 4 processors
	go test $(RACE) -tags invariant -shuffle=on -count=$(STRESSCOUNT) -cpu 1,2,4 -timeout 60m $(HOT) ./pool/paired ./anet/...

fmt: ## Format every Go file
	gofmt -w .

lint: fmt-check tidy-check vet staticcheck layers ## Everything that reads the code without running it

cover: ## Statement coverage of the library packages, by function
	@mkdir -p $(BIN)
	go test -coverprofile=$(BIN)/cover.out -coverpkg=$$(echo $(HOT) | tr ' ' ',') ./...
	go tool cover -func=$(BIN)/cover.out

tidy-check: ## Fail when a go.mod or go.sum is not what go mod tidy writes
	.ci/each all go mod tidy -diff
	cd .ci/tools && go mod tidy -diff
	cd benchmarks/peers/anetserver && go mod tidy -diff -modfile=v1.mod

clean: ## Remove what the other targets built
	rm -rf $(BIN)

# The stages of test.

fmt-check:
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "run make fmt; not formatted:"; echo "$$files"; exit 1; fi

vet:
	.ci/each all go vet ./...
	go vet -tags invariant ./...

staticcheck:
	.ci/each all $(TOOL) staticcheck ./...
	$(TOOL) staticcheck -tags invariant ./...

layers:
	go test -count=1 ./internal/tidy

unit: race

alloc:
	.ci/find-tests 'Alloc'
	go test -count=1 -timeout 5m -run 'Alloc' ./...

models:
	.ci/find-tests 'Model$$'
	go test -count=1 -timeout 5m -run 'Model$$' ./...

bench-once:
	.ci/find-tests '^Benchmark'
	.ci/each all go test -timeout 5m -run '^$$' -bench . -benchtime 1x ./...

smoke: build
	.ci/smoke

nested:
	RACELESS=./benchmarks/peers .ci/each nested go test $(TESTFLAGS) ./...
	benchmarks/peers/anetserver/go-v1 test -count=1 . # the same tests, anet v1.0.0's server
	cd internal/interop && go test -count=1 ./... # anet's default, which is no good under -race
	cd benchmarks/peers && go test -count=1 ./... # other people's clients, of which some have races

cross:
	.ci/cross
