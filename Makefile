# `make report` and `make test` set up the environment they need, once.
VENV := .venv
BIN := $(abspath $(VENV))/bin
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
CONFIG ?= config/mini.yaml
READY := $(VENV)/.ready

export PATH := $(BIN):$(PATH)

.PHONY: report setup unlock test test-slow lint vendor format clean

report: $(READY) unlock
	snakemake report --cores $(CORES) --configfile $(CONFIG)
	@echo "The report is results/$$(sed -n 's/^run: *//p' $(CONFIG))/report/index.html"

setup: $(READY)

# A killed Snakemake leaves its lock behind; it is taken away if none of this checkout is alive.
unlock: $(READY)
	@if [ -n "$$(ls .snakemake/locks 2>/dev/null)" ] && command -v pgrep >/dev/null \
	&& ! pgrep -f "$(BIN)/[s]nakemake" >/dev/null; then snakemake --unlock --quiet all --configfile $(CONFIG); fi

test: $(READY)
	pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

# Whole runs through a real SLURM, in conda, and with networks of full size.
test-slow: $(READY)
	pytest -n auto --dist loadfile -m slow

lint: $(READY)
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint
	hadolint Dockerfile

format: $(READY)
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

# The report's front-end parts, at the versions of report/vendor/package.json; needs npm.
vendor:
	npm install --prefix $(VENV)/npm --ignore-scripts --no-fund --no-audit $$($(BIN)/python -c 'import json; \
	print(*map("@".join, json.load(open("report/vendor/package.json"))["dependencies"].items()))')
	cp $(VENV)/npm/node_modules/datatables.net/js/dataTables.min.js $(VENV)/npm/node_modules/datatables.net/License.txt report/vendor/datatables.net
	cp $(VENV)/npm/node_modules/@panzoom/panzoom/dist/panzoom.min.js $(VENV)/npm/node_modules/@panzoom/panzoom/MIT-License.txt report/vendor/panzoom

# Versions are pinned in constraints.txt; the marker is written last, so that an interrupted
# installation is taken up again.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,efficientnet]'
	touch $@

clean:
	rm -rf $(VENV) .snakemake
