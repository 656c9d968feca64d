# Set-up, runs, tests and checks; `make help` lists them. Every path is quoted: the folder and the
# interpreter may have spaces in their names. Targets of make cannot, so VENV is relative.
VENV := .venv
BIN := $(abspath $(VENV))/bin
RUN := "$(BIN)/python" -m
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
CONFIG ?= config/mini.yaml
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev

export PATH := $(BIN):$(PATH)

.PHONY: report setup unlock test test-slow lint format docs vendor clean help

report: $(READY) unlock  ## Run the benchmark of CONFIG on CORES processors, and write its report
	$(RUN) snakemake report --cores $(CORES) --configfile "$(CONFIG)"
	@echo "The report is results/$$(sed -n "s/^run: *['\"]*\([A-Za-z0-9._-]*\).*/\1/p" "$(CONFIG)")/report/index.html"

setup: $(READY)  ## Install what a run and its report need into .venv, with PYTHON

unlock: $(READY)  ## Remove the locks of a killed Snakemake, unless a run still works in this checkout
	@if [ -n "$$(ls .snakemake/locks 2>/dev/null)" ]; then $(RUN) dhl unlock; fi

# One worker more than cores: many tests wait for another process, such as Snakemake or a browser.
test: $(READY_DEV)  ## Run the tests
	$(RUN) pytest -n $$(($(CORES) + 1)) --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(READY_DEV)  ## Run the slow tests: whole runs with SLURM and conda, and networks of full size
	$(RUN) pytest -n auto --dist loadfile -m slow

lint: $(READY_DEV)  ## Check style, format, types, the workflow and the Dockerfile
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) snakemake --lint
	"$(BIN)/hadolint" Dockerfile

format: $(READY_DEV)  ## Format all code
	$(RUN) ruff check --fix .
	$(RUN) ruff format .
	$(RUN) snakefmt Snakefile workflow

docs: $(READY_DEV)  ## Write the generated parts of README.md, docs/ and config/schema.json
	"$(BIN)/python" docs/build.py

vendor:  ## Install the report's JavaScript at the versions of report/vendor/package.json; needs npm
	npm install --prefix $(VENV)/npm --ignore-scripts --no-fund --no-audit $$("$(BIN)/python" -c 'import json; \
	print(*map("@".join, json.load(open("report/vendor/package.json"))["dependencies"].items()))')
	cp $(VENV)/npm/node_modules/datatables.net/js/dataTables.min.js $(VENV)/npm/node_modules/datatables.net/License.txt report/vendor/datatables.net
	cp $(VENV)/npm/node_modules/@panzoom/panzoom/dist/panzoom.min.js $(VENV)/npm/node_modules/@panzoom/panzoom/MIT-License.txt report/vendor/panzoom

# Versions are pinned in constraints.txt. The marker is written last, so that an interrupted
# installation starts again. The call compiles CBM3D, which takes some 15 s the first time.
$(READY): pyproject.toml constraints.txt
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	test -x "$(BIN)/python" || "$(PYTHON)" -m venv $(VENV)
	$(RUN) pip install --constraint constraints.txt --editable '.[efficientnet]'
	"$(BIN)/python" -c 'import numpy; from dhl.evaluation.cbm3d import cbm3d; \
	cbm3d(numpy.zeros((1, 3, 16, 16)), sigma=25)'
	touch $@

# The tests also need the schedulers' plug-ins, a browser's driver and others.
$(READY_DEV): $(READY)
	$(RUN) pip install --constraint constraints.txt --editable '.[dev,efficientnet]'
	touch $@

# Without Snakemake's records in .snakemake, a changed configuration would repeat nothing.
clean:  ## Remove the environment; results are kept
	rm -rf $(VENV)

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: CONFIG=$(CONFIG) CORES=$(CORES) PYTHON=$(PYTHON)"
