#!/usr/bin/env bash
# Snakemake runs this in the new environment, from the workflow's folder.
set -euo pipefail
python -m pip install --quiet --constraint constraints.txt bm3d
python -m pip install --quiet --no-deps --editable .
