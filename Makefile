# ata-agent. Targets, in the order in which you will want them:
#
#   make demo    a provider in a box, a simulated phone, a proxy that dies: the story as a transcript
#   make build   the agent and the lab for this machine, into dist/
#   make test    the fast suite: no network beyond loopback, no other program needed
#   make bars    how fast a line and a call move when a proxy dies, measured on real sockets
#   make peers   the same agent against Kamailio, SIPp, baresip and real name servers, its caller identity
#                against spandsp, minimodem and multimon-ng (Debian, root)
#   make peers-bench   the same faults against other telephones, into docs/peers.md (Debian, root)
#   make fleet   what a million telephones do to their proxies, into docs/fleet.md and docs/fleet.svg
#   make cross   the agent for every target, stripped, into dist/
#   make bench   speed and memory of the hot paths
#   make cost    what a call asks of a router's processor, in instructions (Debian)
#   make fuzz    every fuzz target for a few seconds (FUZZTIME=10s)
#   make check   all that CI does

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# The same bytes from the same source: no paths, no build id. GOFIPS140 keeps a
# 32 MiB array out of the binary that small boards refuse to map (ARCHITECTURE.md).
export CGO_ENABLED := 0
export GOFIPS140   := v1.0.0
LINK  := -s -w -buildid= -X main.version=$(VERSION)
FLAGS := -trimpath -buildvcs=false -ldflags '$(LINK)'

# For flash: without what no telephone calls (scripts/lean/mod), and without
# inlining but where sound moves and the ring turns.
LEAN := $(FLAGS) -modfile=dist/lean.mod -gcflags=all=-l \
	-gcflags=github.com/ata-agent/ata-agent/internal/media/...= \
	-gcflags=github.com/ata-agent/ata-agent/outbound=

# A MIPS program's segments begin at multiples of 16 KiB, for pages of 4 or 16. The
# linker's own 64 leave up to 192 KiB of zeros in the file.
MIPS := $(LEAN) -ldflags '$(LINK) -R 0x4000'

.PHONY: demo build test race bars peers peers-bench fleet cross bench cost fuzz lint qemu check
demo:
	@$(GO) run ./cmd/ata-lab demo

build:
	$(GO) build $(FLAGS) -o dist/ata-agent ./cmd/ata-agent
	$(GO) build $(FLAGS) -o dist/ata-lab ./cmd/ata-lab

test:
	$(GO) test ./...

race:
	CGO_ENABLED=1 $(GO) test -race -vet=off ./...

bars: build
	scripts/bars

peers: build
	scripts/peers

peers-bench: build
	scripts/peers-bench

fleet:
	$(GO) run ./internal/lab/fleet/table

cross:
	scripts/lean/mod
	GOARCH=arm    GOARM=5          $(GO) build $(LEAN) -o dist/ata-agent-armv5  ./cmd/ata-agent
	GOARCH=arm    GOARM=7          $(GO) build $(LEAN) -o dist/ata-agent-armv7  ./cmd/ata-agent
	GOARCH=arm64                   $(GO) build $(LEAN) -o dist/ata-agent-arm64  ./cmd/ata-agent
	GOARCH=mipsle GOMIPS=softfloat $(GO) build $(MIPS) -o dist/ata-agent-mipsle ./cmd/ata-agent
	GOARCH=mips   GOMIPS=softfloat $(GO) build $(MIPS) -o dist/ata-agent-mips   ./cmd/ata-agent
	GOARCH=amd64                   $(GO) build $(LEAN) -o dist/ata-agent-amd64  ./cmd/ata-agent
	scripts/size

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./outbound ./sip/... ./internal/media/... ./internal/phone ./hal/...

cost:
	scripts/cost

fuzz:
	scripts/fuzz

lint:
	scripts/lint

qemu:
	scripts/qemu

check:
	.ci/run
