#!/usr/bin/env bash
# Snakemake runs this in the new environment, from the user's folder; the workflow says where it lies.
set -euo pipefail
cd "${DHL_PROJECT:-.}"
python -m pip install --quiet --constraint constraints.txt bm3d
python -m pip install --quiet --no-deps --editable .
