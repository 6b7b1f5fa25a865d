# Needs Go 1.26 or later, make, bash, and a C compiler for the race detector.
# Tools are pinned in .ci/tools/go.mod and built on demand.

.DEFAULT_GOAL := help
.PHONY: help build test bench gate microbench chaos race procs fuzz stress fmt lint cover tidy-check clean \
	fmt-check vet staticcheck layers unit counts smoke nested cross

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
		fronts      "the server's tests over each front" \
		procs       "correctness on 1 processor" \
		counts      "allocation budgets, models, each benchmark once" \
		gate        "regression gate, counts" \
		smoke       "command line smoke" \
		nested      "nested modules' tests, race" \
		anet-compat "anet's own tests through the facade" \
		cross       "other platforms: build and vet"

bench: build ## Benchmark against the baseline: make bench, make bench QUICK=1
	$(BIN)/ringwire bench $(if $(QUICK),--quick) $(BENCHFLAGS)

gate: ## Counts per request against their budgets: allocations, system calls, frames per write, waits
	.ci/gate

.PHONY: metrics-cost
metrics-cost: build ## What metrics cost at 256 callers, two processes, interleaved (three minutes): at most 3 %
	cd benchmarks/harness && go run ./metricscost -ringwire $(BIN)/ringwire $(COSTFLAGS)

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

.PHONY: release
release: ## Static binaries with checksums, and a commit that go install can use: make release VERSION=v0.2.0 [RELEASEFLAGS=-tag]
	@[ -n "$(VERSION)" ] || { echo "say which: make release VERSION=v0.2.0"; exit 2; }
	cd internal/release && go run . -version $(VERSION) -out $(CURDIR)/dist/$(VERSION) $(RELEASEFLAGS)

race: ## Unit and example tests with the race detector and the assertions
	@[ -n "$(RACE)" ] || { echo "no C compiler ($$(go env CC)): testing WITHOUT the race detector"; [ -z "$$CI" ]; }
	go test $(TESTFLAGS) $$(go list ./... | grep -v /internal/tidy) # which is the stage layers

# Without the race detector, and package engine whole: the unit tests run two of its six ways
# to make a call. GOMAXPROCS is for the tests, and not for the command that runs them.
PROCS ?= 1
ONPROCS = go test -exec 'env GOMAXPROCS=$$n' -count=1 -vet=off
procs: ## The queues, IDs, framing, pool and engine with GOMAXPROCS 1
	for n in $(PROCS); do \
		eval "$(ONPROCS) -short" ./taskid ./ring ./framing ./pool || exit 1; \
		eval "$(ONPROCS) -tags invariant" ./engine || exit 1; \
	done

procs-all: ## The same with more processors, and the other packages
	$(MAKE) procs PROCS='1 2 4 8'
	for n in 1 2 4 8; do \
		eval "$(ONPROCS)" ./server ./pool/paired ./anet/... ./internal/e2e || exit 1; \
	done

.PHONY: load-check load-foreign
load-check: load-foreign load-timed ## Both: what of the acceptance table of docs/LOAD-TESTING.md needs time or servers of other authors

load-foreign: ## The load generator against servers of other authors, then beside dnsperf: installs them from Debian packages (ROUNDS=10, four minutes)
	@internal/foreign/install
	cd internal/foreign && go test -count=1 -v -timeout 10m -skip Dnsperf ./...
	cd internal/foreign && go test -count=1 -v -timeout 30m -run Dnsperf . -args -rounds $(or $(ROUNDS),10)

.PHONY: load-browser
load-browser: ## The load generator's page in chromium, and its screen in tmux: installs both from Debian packages
	{ command -v chromium && command -v tmux; } >/dev/null || apt-get install -y --no-install-recommends chromium tmux
	cd load && go test -count=1 -v -run Browser ./page
	cd cmd/ringwire && go test -count=1 -v -run APersonSees .

# LOADCHECK_MINUTES is how long memory is watched under load; of the other rows the two of
# find-max and compare last longest. LOADCHECK_FLAGS: '-rows C1,C4', '-short'.
.PHONY: load-timed
LOADCHECK_MINUTES ?= 30
load-timed: build ## The load generator's timed rows, on a machine that does nothing else (some 75 minutes): internal/loadrows
	cd internal/loadrows && go build -o $(BIN)/loadrows .
	$(BIN)/loadrows -root . -long $(LOADCHECK_MINUTES)m $(LOADCHECK_FLAGS)

.PHONY: backends
backends: build ## Servers that die, hang, are slow, come and go: asserts, and draws over time into BACKENDSOUT (four minutes)
	cd benchmarks/backends && go build -o $(BIN)/backends .
	$(BIN)/backends --server bin/ringwire --out $(BACKENDSOUT) --commit '$(COMMIT)' $(BACKENDSFLAGS)
# To keep a run: make backends BACKENDSOUT=docs/img.
BACKENDSOUT ?= bin/backends-results

.PHONY: etcd
etcd: ## The resolver of etcd with a real one: installs etcd from Debian's etcd-server
	@resolve/etcd/install
	cd resolve/etcd && go test $(TESTFLAGS) -count=1 -v ./...

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

# Side by side, because their tests wait more than they compute.
.PHONY: fronts fronts-race nightly
fronts:
	go test -tags invariant -count=1 -short -vet=off ./server -args -front tls & \
	go test $(RACE) -tags invariant -count=1 -short -vet=off ./server -args -front streams; status=$$?; \
	wait $$! && exit $$status

fronts-race: ## The server's tests over connections with goroutines of their own, plain and with TLS, race
	for f in streams tls; do go test $(TESTFLAGS) -count=1 ./server -args -front $$f || exit 1; done

nightly: ## What is slow and rarely finds anything (two hours): full sizes, more processors, longer fuzzing
	$(MAKE) fronts-race
	$(MAKE) procs-all
	$(MAKE) nested-all
	$(MAKE) fuzz FUZZTIME=60s
	$(MAKE) chaos
	$(MAKE) stress
	$(MAKE) server-rows

counts:
	.ci/counts

smoke: build
	.ci/smoke

# The modules that compare and measure, and are no part of what is imported or installed; the
# command, which is, has the harness run in its own tests.
MEASURING = ./benchmarks/backends ./benchmarks/harness ./benchmarks/peers ./benchmarks/peers/anetserver ./benchmarks/pools ./benchmarks/queues ./internal/e2e/anetcontrol

# The command's tests wait for processes most of the time, so the others run beside them.
.PHONY: nested-all procs-all
nested:
	(SKIP="./cmd/ringwire ./resolve/etcd ./internal/foreign $(MEASURING)" .ci/each nested go test $(TESTFLAGS) ./... && \
		cd resolve/etcd && go test -count=1 ./...) & \
	(cd cmd/ringwire && go test $(TESTFLAGS) ./...); status=$$?; \
	wait $$! && exit $$status
	cd internal/interop && go test -count=1 ./... # anet's default, which is no good under -race
	cd internal/foreign && go test -count=1 -timeout 5m ./... # no code of ours runs in it but in a process of its own

nested-all: nested ## The tests of all nested modules, those that compare and measure too
	for m in $(filter-out ./benchmarks/peers,$(MEASURING)); do (cd $$m && go test $(TESTFLAGS) ./...) || exit 1; done
	cd resolve/etcd && go test $(TESTFLAGS) ./... # which builds gRPC again
	benchmarks/peers/anetserver/go-v1 test -count=1 . # the same tests, anet v1.0.0's server
	cd benchmarks/peers && go test -count=1 ./... # other people's clients, of which some have races

cross:
	.ci/cross
