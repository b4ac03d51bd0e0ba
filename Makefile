# SPDX-License-Identifier: GPL-2.0-only
# `make demo` and `make test` work in a fresh clone on Debian 12; both install what is missing.

PYTHON ?= /usr/bin/python3
VENV   := .venv
BIN    := $(VENV)/bin
LAB    := deploy/lab/lab

PROMTOOL := build/tools/usr/bin/promtool
GRAFANA  := build/grafana
KUBECTL  := build/tools/kubectl
export PATH := $(CURDIR)/$(dir $(PROMTOOL)):$(PATH)

# Of the tests, beyond what the lab needs (lab setup has its own list).
TEST_PACKAGES := bpftool chromium-headless-shell clang-format fish lintian mandoc python3-bpfcc \
	python3-venv shellcheck systemd tmux zsh
# Of `make deb` and `make rpm`.
PACKAGING     := debhelper rpm

PY_SOURCES := lpttrace tests deploy/lab/lab deploy/lab/labkit deploy/lab/bench \
	deploy/lab/timer_interrupts.py deploy/package
C_SOURCES   = $(shell git ls-files '*.c' '*.h')
SH_SOURCES  = $(shell git ls-files '*.sh') .ci/run
PACKAGED    = $(shell git ls-files lpttrace bpf dashboards deploy/package deploy/systemd \
	deploy/prometheus) CHANGELOG.md README.md

VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' lpttrace/__init__.py)
DEB     := build/deb/lpttrace_$(VERSION)_all.deb
RPM     := build/rpm/lpttrace-$(VERSION)-1.noarch.rpm
STAGE   := build/stage
# The date of what is packaged, wherever and whenever that is done.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)

.PHONY: demo test bench check setup lint types unit fuzz golden wheel man completion deb rpm clean

demo:
	$(LAB) setup
	deploy/demo/demo.sh

test: setup check deb rpm
	$(LAB) build
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder tests/lab

# Writes what lpttrace costs to docs/overhead.md; as root, for it attaches to this machine's kernel.
bench: setup $(VENV)/.done
	$(LAB) setup bpftool
	$(BIN)/python deploy/lab/bench/run

# As root: it installs Debian packages. Everything else but bench needs no root.
setup:
	$(LAB) setup $(TEST_PACKAGES) $(PACKAGING)

check: lint types unit

lint: $(VENV)/.done
	$(BIN)/ruff format --check $(PY_SOURCES)
	$(BIN)/ruff check $(PY_SOURCES)
	clang-format --dry-run --Werror $(C_SOURCES)
	shellcheck $(SH_SOURCES)

types: $(VENV)/.done
	$(BIN)/mypy
	$(BIN)/mypy --config-file deploy/lab/mypy.ini
	$(BIN)/vermin --no-tips --violations --target=3.9- lpttrace

unit: $(VENV)/.done $(PROMTOOL) $(KUBECTL) $(GRAFANA)/.done
	$(MAKE) -C deploy/lab/workload OUT=$(CURDIR)/build/workload
	$(BIN)/pytest -n 2 --dist loadfile tests/unit tests/contract

# Some minutes, and a seed of its own every day.
fuzz: $(VENV)/.done
	$(BIN)/python -m tests.unit.fuzz_recording 100000 $$(date +%Y%m%d)

# Rewrites the expected outputs; read the difference before committing it.
golden: $(VENV)/.done
	LPTTRACE_UPDATE_GOLDEN=1 $(BIN)/pytest tests/unit

wheel: $(VENV)/.done
	$(BIN)/python -m build --wheel --outdir dist .

# From the command line itself.
man: $(VENV)/.done
	rm -rf build/man
	$(BIN)/python deploy/package/manual.py build/man

completion: $(VENV)/.done
	mkdir -p build/completion
	for shell in bash zsh fish; do \
		_LPTTRACE_COMPLETE=source_$$shell $(BIN)/lpttrace >build/completion/lpttrace.$$shell || exit; \
	done

# What all packages have, laid out below build/stage.
$(STAGE)/.done: $(PACKAGED)
	$(MAKE) man completion
	deploy/package/stage.sh $(STAGE)
	touch $@

deb: $(DEB)

rpm: $(RPM)

$(DEB): $(STAGE)/.done
	deploy/package/deb.sh $(STAGE) build/completion $(VERSION) $@

$(RPM): $(STAGE)/.done
	deploy/package/rpm.sh $(STAGE) build/completion $(VERSION) $@

$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || { echo "run 'make setup' as root first" >&2; exit 1; }
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(PROMTOOL):
	tests/debian_program.sh build/tools prometheus promtool

$(KUBECTL): $(VENV)/.done
	tests/kubectl.sh $(BIN)/python $@

# npm and node come with the virtual environment.
$(GRAFANA)/.done: $(VENV)/.done tests/grafana/package-lock.json
	mkdir -p $(GRAFANA)
	cp tests/grafana/package.json tests/grafana/package-lock.json tests/grafana/.npmrc $(GRAFANA)
	PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix $(GRAFANA) ci --silent
	touch $@

clean:
	rm -rf build dist $(VENV)
