SHELL := /bin/bash
GO    ?= go
# Pinned here, not in go.mod: its hundreds of dependencies are no part of swarmd.
LINT  := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
DEPS  := containerd:containerd runc:runc ip:iproute2 nft:nftables conntrack:conntrack busybox:busybox-static curl:curl tini:tini
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: help deps build shuffled check lint portable unit race test scenarios sim mutants soak demo bench fuzz clean
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
deps: ## install what the machine lacks (Debian packages)
	@need=; for d in $(DEPS); do PATH=$$PATH:/usr/sbin:/sbin command -v $${d%%:*} >/dev/null || need="$$need $${d##*:}"; done; \
	if [ -n "$$need" ]; then export DEBIAN_FRONTEND=noninteractive; $$([ $$(id -u) = 0 ] || echo sudo) apt-get update -q && \
	$$([ $$(id -u) = 0 ] || echo sudo) apt-get install -q -y --no-install-recommends $$need; fi
	$(GO) mod download
build: ## bin/swarmd, bin/swarmctl, bin/swarmsim, and what it runs in sandboxes
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...
	GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -ldflags '-s -w' -o bin/guest.wasm ./sim/guest
	GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -ldflags '-s -w' -tags unguarded -o bin/guest-unguarded.wasm ./sim/guest
shuffled: ## bin/guest-shuffled.wasm, for swarmsim --guest: the seed says which goroutine is next
	$(GO) run ./sim/guest/shuffle bin/shuffled
	GOOS=wasip1 GOARCH=wasm $(GO) build -overlay bin/shuffled/overlay.json -trimpath -ldflags '-s -w' -o bin/guest-shuffled.wasm ./sim/guest
check: lint unit ## format, lint and unit tests: the command before a push
lint: portable ## every rule of .golangci.yml
	$(LINT) run ./...
portable: ## what is for other systems too
	for os in darwin windows; do GOOS=$$os CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/swarmctl || exit 1; done
	GOOS=darwin CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/swarmsim
unit: ## tests that need no root
	$(GO) test ./engine/... ./sim/... ./cmd/...
race: ## engine and driver under the race detector
	$(GO) test -race ./engine/... ./sim/... ./real ./real/consensus ./real/disk ./real/api ./real/peer ./real/ca
test: build portable ## everything; as root, real containers too
	$(GO) vet ./...
	$(GO) test -timeout 20m ./...
	$(MAKE) race
scenarios: build ## CLI transcripts; TARGET=dockerd runs them against Docker itself
	$(GO) test -count=1 -v ./cmd/swarmd -run Compat -target=$(or $(TARGET),swarmd)
sim: build ## scenarios on several seeds, and a thousand random plans (SEEDS=5 PLANS=1000)
	bin/swarmsim run scenarios/regress
	bin/swarmsim run --seeds 1..$(or $(SEEDS),5) scenarios scenarios/regress
	bin/swarmsim explore --seeds 1..$(or $(PLANS),1000) --out bin/found
mutants: ## plant every known bug, and see which oracle finds it (EACH=60s of core time)
	$(GO) run -tags mutants ./cmd/swarmsim mutants --each $(or $(EACH),60s)
soak: build ## managers killed, stopped and cut off: is it linearizable? three managers, then five (MINUTES=10)
	bin/swarmsim soak --managers 3 --for $(or $(MINUTES),10)m
	bin/swarmsim soak --managers 5 --for $(or $(MINUTES),10)m --seed 2
demo: build ## the story on this machine, with real containers
	scenarios/demo/run
bench: build ## the figures of the README, side by side with dockerd if it is here
	scenarios/bench/run
fuzz: ## every fuzz target for a minute (FOR=10s for less)
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test $$p -list '^Fuzz' | grep ^Fuzz); do \
	echo "$$p $$f"; $(GO) test $$p -run '^$$' -fuzz "^$$f\$$" -fuzztime $(or $(FOR),60s) || exit 1; done; done
clean: ## what building has made
	rm -rf bin
