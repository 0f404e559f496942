# What a developer runs. CI runs the same: .ci/run calls `make test`.

GO    ?= go
TOOL  := $(GO) tool -modfile=internal/tools/go.mod
export CGO_ENABLED ?= 1

.PHONY: screenshots help build test deps lint fresh race bench figures quickstart chaos load

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build: ## static binaries in ./bin; the tag keeps gRPC's debug pages out, and with them a third of the size
	CGO_ENABLED=0 $(GO) build -trimpath -tags grpcnotrace -ldflags='-s -w' -o bin/ ./cmd/...

test: deps lint fresh race ## everything: linters, generated code, all tests with -race, SPECIFICATION.md

deps: ## install the programs that the tests use
	@internal/tools/deps.sh
	@internal/tools/harnesses.sh
	@internal/tools/mcpservers.sh

lint: ## gofmt, vet, staticcheck, go.mod
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not gofmt-clean:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags crashpoints ./...
	$(TOOL) staticcheck -checks inherit,ST1000 ./...
	$(GO) mod tidy -diff
	cd internal/bench && $(GO) vet ./... && $(GO) mod tidy -diff

fresh: ## generated code is what `go generate` makes
	$(GO) generate ./...
	@git diff --exit-code --stat -- '*.gen.go' || { echo 'run go generate ./... and commit the result'; exit 1; }

race: ## all tests, then the promises of SPECIFICATION.md
	@mkdir -p bin && $(GO) build -o bin/speccheck ./internal/speccheck
	OZ_TEST_REQUIRE=1 $(GO) test -race -count=1 -timeout 20m -json ./... | bin/speccheck SPECIFICATION.md

bench: ## one table: ours beside the peers and the limits, as ratios measured in one run; BENCH="-only P1,P4 -quick"
	cd internal/bench && GOFLAGS=-mod=mod $(GO) run . $(BENCH)

figures: ## start, memory, size, first event, group commit, second clone, redaction, gateway, schedules: ratios within one run
	CGO_ENABLED=0 $(GO) test -run '^$$' -bench . -benchtime 2s ./cmd/ozd ./internal/e2e ./task/sqlitestore ./environment ./secrets ./executor/local ./executor/containerd ./executor/gateway ./trigger/schedule ./transport/web

screenshots: ## the pictures of the web app, in transport/web/screenshots
	OZ_SCREENSHOTS=1 OZ_TEST_REQUIRE=1 $(GO) test -count=1 -run '^TestScreenshots$$' ./transport/web

quickstart: ## a run from prompt to pushed branch, on this machine
	$(GO) run ./examples/quickstart

chaos: ## faults at random, then the table of laws: make chaos N=1000 STORE=sqlite SEED=7
	$(GO) run ./internal/chaos/cmd/chaos -n $(or $(N),100) -store $(or $(STORE),sqlite) $(if $(SEED),-seed $(SEED))

load: ## many runs through one server, 64 at once, and what it has grown: make load N=1000
	OZ_LOAD_RUNS=$(or $(N),1000) $(GO) test -count=1 -v -timeout 60m -run '^TestLoad$$' ./internal/chaos
