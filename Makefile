# One command to see it work: make demo. One to test it: make test.
GO       ?= go
BIN      := bin
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
RACE     := ./engine/... ./device/... ./internal/disk/... ./stages/...
# The corpus of real version pairs lies outside the repository's history.
CORPUS   ?= corpus

.DEFAULT_GOAL := help
.PHONY: help build demo test lint race bench fuzz crash cross corpus docs

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

build: ## bin/updraft
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/updraft ./cmd/updraft

demo: build ## see an update, a failed one that comes back, and one that is already there
	$(BIN)/updraft demo

test: lint ## everything that must hold; at most 20 minutes on two cores
	$(GO) test -timeout 15m ./...
	$(GO) test -timeout 10m -race -short $(RACE)
	GOARCH=arm GOARM=7 CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/updraft

lint: ## vet, staticcheck, gofmt
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

cross: ## build for the devices that people have
	for a in amd64 arm arm64 riscv64 mipsle 386; do echo $$a; GOARCH=$$a CGO_ENABLED=0 $(GO) build -o /dev/null ./... || exit 1; done

docs: ## write the generated reference anew
	$(GO) test ./stages -run TestReference -update
