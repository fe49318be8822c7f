# make alone prints the targets.
BOARD  ?= qemu-x86_64
CONFIG ?= configs/examples/lab.toml
# Without a DEVICE a box knows itself by its serial number and MAC addresses; the lab's
# boxes are told who they are. An image is called by both, so that none is taken for another.
LAB    := $(filter configs/examples/lab.toml,$(CONFIG))
DEVICE ?= $(if $(LAB),gw-a)
IMAGE  ?= build/$(if $(LAB),,$(basename $(notdir $(CONFIG)))-)$(if $(DEVICE),$(DEVICE)-)$(BOARD).img
ifeq ($(wildcard board/$(BOARD)/board.toml),)
$(error there is no board $(BOARD): expected one of $(notdir $(wildcard board/*)))
endif
ARCH   := $(shell sed -n 's/^arch = "\(.*\)"/\1/p' board/$(BOARD)/board.toml)

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Every time in an image is the commit's, so that a build does not depend on the clock.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1767225600)

# Packages in which nothing runs beside anything else, which a test holds them to
# (netd/internal/races_test.go): the race detector would find nothing there, and takes
# 6 and 12 times the CPU over their arithmetic (70 s of the tier).
UNRACED := firmware/gpt netd/internal/route

# Checks, tests and programs are compiled in one way, so that each package is compiled
# once for all of them; but for the race detector, which needs cgo.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(filter-out -trimpath,$(GOFLAGS)) -trimpath)

programs = $(addprefix bin/$(1)/,netd stage1 runc)
go-build = GOOS=linux GOARCH=$* go build -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'

.PHONY: help deps build image qemu demo check-config flash test test-unit test-net test-vm test-board check bench bench-routing soak prove-frozen prove-configs clean FORCE
.DELETE_ON_ERROR:

help: ## print this
	@echo "Targets (BOARD=$(BOARD) CONFIG=$(CONFIG) DEVICE=$(DEVICE)):"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-15s %s\n", $$1, $$2}'

deps: ## install the Debian packages that are missing (root)
	@.ci/deps

build: deps $(call programs,amd64) $(call programs,arm64) ## the programs for both architectures, into bin/

image: deps $(call programs,$(ARCH)) build/images/$(ARCH)/web.tar ## a disk image: BOARD=… CONFIG=FILE DEVICE=NAME
	go run ./firmware/mkimage --board $(BOARD) --config $(CONFIG) --device '$(DEVICE)' --version $(VERSION) -o $(IMAGE)

qemu: image ## boot a copy of that image on its emulated board, the console here
	cp --sparse=always $(IMAGE) $(IMAGE:.img=.disk)
	go run ./firmware/qemutest/run --board $(BOARD) --disk $(IMAGE:.img=.disk)

check-config: ## every error of CONFIG=FILE at once
	go run ./netd check $(CONFIG)

demo: build build/images/amd64/web.tar build/images/arm64/web.tar ## the lab on emulated boards; KEEP=1 leaves it up until Ctrl-C (root)
	go run ./firmware/demo $(if $(KEEP),-keep) -version $(VERSION)

flash: ## write the image of CONFIG to a disk: DEV=/dev/sdX, FORCE=1 for one that is not removable
	@test -e $(IMAGE) || { echo "no $(IMAGE): make image BOARD=$(BOARD) CONFIG=$(CONFIG) DEVICE=$(DEVICE) makes it" >&2; exit 1; }
	go run ./firmware/flash $(if $(FORCE),--force) $(IMAGE) $(DEV)

test: check test-unit test-net test-vm test-board ## every test there is (root)

test-unit: deps ## tests that need no root, with the race detector where there is more than one goroutine
	CGO_ENABLED=1 go test -vet=off -race -timeout 30m $(filter-out $(addprefix netd/,$(UNRACED)),$(shell go list ./...))
	go test -vet=off -timeout 30m $(addprefix ./,$(UNRACED))

# Labs wait most of their time: one takes a fifth of a core. Those that measure
# milliseconds do not call t.Parallel: they come first, one at a time.
test-net: deps bin/again $(call programs,amd64) ## tests on this kernel, in namespaces of their own (root)
	.ci/tier net -timeout 30m -parallel 4 -exec $(CURDIR)/bin/again

test-vm: deps bin/again bin/vmrun $(call programs,amd64) ## tests in a QEMU guest with the image's kernel
	.ci/tier vm -timeout 45m -exec "$(CURDIR)/bin/again $(CURDIR)/bin/vmrun"

test-board: build bin/again build/images/amd64/web.tar build/images/arm64/web.tar ## tests of flashed images on QEMU boards (root)
	.ci/tier board -timeout 40m -exec $(CURDIR)/bin/again

check: deps ## gofumpt, vet, staticcheck, errcheck for every tier; known vulnerabilities
	@.ci/check

bench: deps $(call programs,amd64) build/images/amd64/web.tar bin/bench/guest bin/bench/ctr ## ratios against named peers, measured in one run (root): JSON=FILE keeps all
	go run ./firmware/bench --version $(VERSION) $(if $(JSON),--json $(JSON))
	go test -tags 'net bench' -count=1 -run TestRatios -v ./netd/internal/route
	go test -tags 'net bench' -count=1 -run TestDetection -v ./netd/internal/bfd
	$(MAKE) bench-routing

bench-routing: deps bin/vmrun bin/amd64/netd bin/bench/routing ## of it the routing beside BIRD and FRR: QUICK=1, JSON=FILE gets -routing in its name (root)
	bin/bench/routing $(if $(QUICK),--quick) $(if $(JSON),--json $(basename $(JSON))-routing.json)

soak: deps bin/amd64/netd ## ten minutes of BFD at 50 ms × 3 on busy CPUs: what each end sent, and any false alarm (root)
	go test -tags 'net soak' -count=1 -timeout 20m -run TestSoak -v ./netd/internal/bfd

prove-frozen: deps bin/amd64/netd ## gateways, and then everything, stand still for 90 s, beside BIRD and FRR (root)
	go test -tags 'net prove' -count=1 -timeout 30m -parallel 3 -run TestProveFrozen -v ./netd/internal/daemon

prove-configs: deps bin/amd64/netd ## what check passes runs: 300 random configurations (SEED=… for others) (root)
	CGO_ENABLED=0 CONFIGURATIONS=300 go test -tags net -count=1 -timeout 60m -run TestRandomConfigurations ./netd/internal/daemon

clean: ## remove what was built; the cache of packages stays
	rm -rf bin build

# go build knows best what is up to date.
bin/%/netd: FORCE
	$(go-build) -o $@ ./netd

bin/%/stage1: FORCE
	$(go-build) -o $@ ./firmware/boot/stage1

# runc and containerd's shim are modules' own programs: they change with go.sum.
bin/%/runc: containers/build.sh $(wildcard containers/shim/*.go) go.sum containers/runc/go.sum | deps
	containers/build.sh $* bin/$*

bin/bench/guest: FORCE
	GOARCH=amd64 go build -buildvcs=false -ldflags '-s -w' -o $@ ./firmware/bench/guest

bin/bench/routing: FORCE
	go build -buildvcs=false -o $@ ./firmware/bench/routing

bin/bench/ctr: go.sum
	GOARCH=amd64 go build -buildvcs=false -ldflags '-s -w' -o $@ github.com/containerd/containerd/cmd/ctr

bin/again: FORCE
	go build -o $@ ./firmware/lab/patience/again

bin/vmrun: FORCE
	go build -o $@ ./firmware/qemutest/vmrun

build/images/%/web.tar: containers/web.sh | deps
	@mkdir -p $(@D)
	containers/web.sh $* $@
