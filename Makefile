# One command to see it work: make demo. One to test it: make test.
GO       ?= go
BIN      := bin
LDFLAGS  := -s -w
# What the agent leaves out of Go's library: HTTP/2, which no update server insists on.
SMALL    := nethttpomithttp2
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Rooms that goroutines share. A dialect is used by one at a time: make race has them all the same.
RACE     := ./engine/... ./device/... ./internal/disk/... ./stages/... ./agent/... ./control/mqtt ./control/poll ./control/cloudsim/...
# The corpus of real version pairs lies outside the repository's history.
CORPUS   ?= corpus
# What npm brings for building modules. The folder's name keeps Go out of it.
export UPDRAFT_TOOLS ?= $(CURDIR)/.tools

.DEFAULT_GOAL := help
.PHONY: help build demo test test-guests lint race bench bench-delta bench-wasm fuzz crash swarm cross corpus docs

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

build: ## bin/updraft for a desk, bin/updraft-agent for a device
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/updraft
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -tags $(SMALL) -o $(BIN)/ ./cmd/updraft-agent

demo: build ## a cloud updates a device, hears of a roll-back, and of an update that outlived kill -9
	$(BIN)/updraft demo

test: lint ## everything that must hold; at most 20 minutes on two cores
	wasm-sdk/install-toolchains.sh $(UPDRAFT_TOOLS) c assemblyscript
	$(GO) test -timeout 15m ./...
	$(GO) test -timeout 10m -race -short $(RACE)
	GOARCH=arm GOARM=7 CGO_ENABLED=0 $(GO) build -tags $(SMALL) -o /dev/null ./cmd/updraft-agent

race: ## the race detector for all that is connected, in the long form
	$(GO) test -timeout 30m -race $(RACE) ./control/... ./bench/planes

test-guests: ## modules in all five languages, Rust and Zig too
	wasm-sdk/install-toolchains.sh $(UPDRAFT_TOOLS) c assemblyscript rust zig
	$(GO) test -timeout 30m -count 1 ./wasm-sdk/... ./examples/...

lint: ## vet, staticcheck, gofmt
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

cross: ## build for the devices that people have
	for a in amd64 arm arm64 riscv64 mipsle 386; do echo $$a; GOARCH=$$a CGO_ENABLED=0 $(GO) build -o /dev/null ./... || exit 1; done

docs: ## write the generated reference anew
	$(GO) test ./stages -run TestReference -update

corpus: ## fetch the real version pairs that tests and benchmarks like to have
	bench/delta/fetch.sh $(CORPUS) elf-go-11m

crash: corpus ## the long forms: 1,000 kills, 130 of agent and cloud, every point of every sweep, every byte of a journal
	$(GO) test ./bench/process -run TestKill -v -timeout 90m -kills 1000 -at-once 8
	$(GO) test ./bench/process -run TestAgentKill -v -timeout 30m -agent-kills 100 -sim-kills 30 -agents 6
	$(GO) test ./bench/process -run TestPlaneKill -v -timeout 60m -plane-kills 50 -plane-sim-kills 20
	$(GO) test ./bench/process -run TestCrashTest -v -timeout 30m -crash-whole
	UPDRAFT_DAMAGE_ALL=1 $(GO) test ./engine/... ./device/... -timeout 60m
	$(GO) test ./bench/process -run TestMemory -v -timeout 30m -image-mib 2048

swarm: ## 1,000 devices of each cloud, all updated by one push
	$(GO) test ./bench/planes -run TestSwarm -v -count 1 -timeout 20m -swarm 1000

bench: ## figures of this machine, both sides in one run
	$(GO) test ./delta ./wasmhost ./engine/... -run '^$$' -bench . -benchtime 1s

bench-delta: ## patches beside those of other programs (3 GB of pairs; BENCH= takes flags)
	$(GO) run ./bench/delta -corpus $(CORPUS) $(BENCH)
	$(GO) run ./bench/delta -report

bench-wasm: ## modules beside plain wazero, Extism and native code
	$(GO) run ./bench/wasm -report

FUZZTIME ?= 60s
fuzz: ## each fuzz target for FUZZTIME
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r f; do \
	  for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' $$f); do \
	    echo "$$(dirname $$f) $$t"; $(GO) test $$(dirname $$f) -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x || exit 1; done; done
