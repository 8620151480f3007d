# Everything a newcomer needs is one word; each target installs what it misses.
#
#   make demo [TOPOLOGY=quickstart] [KEEP=1]   a topology on this machine: up, probed, down (root)
#   make test                                  all tests, with real switches and namespaces (root)
#   make soak [MINUTES=30] [PACKETS=1000000]   as many packets as one likes, judged by oracle and Open vSwitch
#   make sweep [MINUTES=30] [PART=3/8]         lies in the flows, of every kind: who notices, and who should have
#   make check                                 format, lint, types, spelling, pages, architecture: each is a target too
#   make goldens, make docs                    write the golden flow tables, the generated pages
#   make bench [WHAT="1000 crowd"]             how fast, against real switches (root)

SHELL := /bin/bash
export PATH := $(PATH):/usr/sbin:/sbin
TOPOLOGY ?= quickstart
KEEP ?=
MINUTES ?= 30
PART ?= 1/1
PACKETS ?= 1000000
SEED ?= 0
PYTEST ?= .venv/bin/python -m pytest

SWITCHES := ovs-vswitchd:openvswitch-switch ip:iproute2 ethtool:ethtool ping:iputils-ping
TOOLS := tcpdump:tcpdump mn:mininet dockerd:docker.io docker-compose:docker-compose debootstrap:debootstrap \
	dhclient:isc-dhcp-client udhcpc:udhcpc dhcpcd:dhcpcd-base traceroute:traceroute iperf3:iperf3 \
	curl:curl

.PHONY: demo test soak sweep check format lint types spelling pages architecture goldens docs bench clean programs tools

demo: .venv/.installed programs
	.venv/bin/weft demo topologies/$(TOPOLOGY) $(if $(KEEP),--keep)

test: .venv/.installed programs tools
	$(PYTEST)

soak: .venv/.installed programs
	.venv/bin/python -m tests.proof.soak --packets $(PACKETS) --minutes $(MINUTES) --seed $(SEED)

sweep: .venv/.installed programs
	.venv/bin/python -m tests.proof.sweep --minutes $(MINUTES) --part $(PART)

check: format lint types spelling pages architecture

format: .venv/.installed
	.venv/bin/ruff format --check --quiet .

lint: .venv/.installed
	.venv/bin/ruff check --quiet .

types: .venv/.installed
	.venv/bin/mypy

spelling: .venv/.installed
	.venv/bin/codespell --skip ./build,./weft.egg-info --ignore-words-list nd,tha,netwroks,twoo

pages: .venv/.installed
	.venv/bin/python docs/generate.py --check
	.venv/bin/python -m benchmarks.page --check

architecture: .venv/.installed
	$(PYTEST) -q tests/test_architecture.py

goldens: .venv/.installed
	$(PYTEST) -q tests/features --update-goldens

docs: .venv/.installed
	.venv/bin/python docs/generate.py
	.venv/bin/python -m benchmarks.page

bench: .venv/.installed programs
	.venv/bin/python -m benchmarks $(WHAT)

clean:
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

programs:
	@.ci/bootstrap programs $(SWITCHES)

tools:
	@.ci/bootstrap programs $(TOOLS)

# Installed anew only when what it is made from has changed.
.venv/.installed: setup.cfg pyproject.toml
	.ci/bootstrap python
	touch $@
