# What the rules share: the checked configuration, paths, and functions of wildcards.
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

sys.path.insert(0, str(workflow.basedir))

from dhl.config.catalogue import CATALOGUE
from dhl.config.methods import BASELINES, PARTS, TABLES, is_baseline
from dhl.config.parse import parse_config
from dhl.config.plugins import references
from dhl.data.user_folders import files_digest
from dhl.errors import UserError
from dhl.files import atomic_path, project_file
from dhl.run.downloads import downloaded_weights, downloads_of
from dhl.run.evaluations import (
    evaluated_models,
    evaluated_seeds,
    experiments,
    studied,
    studies,
)
from dhl.run.failures import failed_results
from dhl.run.fingerprints import code_digest, fingerprint, settings_digest
from dhl.run.folder import RunFolder
from dhl.run.model_graph import all_models, model_spec
from dhl.run.outputs import FIGURE_FORMATS, figure_names
from dhl.run.shards import shards
from dhl.training.gpu_slots import gpus_of_this_machine

os.environ.setdefault("DHL_STARTED", str(time.time()))

try:
    CONFIG = parse_config(config, source=", ".join(map(str, workflow.configfiles)))
except UserError as error:
    raise WorkflowError(str(error)) from None

PUBLISHED = project_file("config/published.csv")
RUN = RunFolder(Path("results") / CONFIG.run)
ROOT = str(RUN.root)
TABLE_PARTS = {TABLES[part]: part for part in CONFIG.parts}


def without_conda_if_missing():
    """Let `--use-conda` go on in the current environment where no conda is installed."""
    methods = workflow.deployment_settings.deployment_method
    if DeploymentMethod.CONDA not in methods or shutil.which("conda"):
        return
    if os.environ.get("DHL_REQUIRE_CONDA"):
        raise WorkflowError(
            "DHL_REQUIRE_CONDA is set, and no conda is on the PATH: install one."
        )
    workflow.deployment_settings.deployment_method = methods - {DeploymentMethod.CONDA}
    logger.warning(
        "No conda is on the PATH: the jobs run in the environment that Snakemake runs in. "
        "Set DHL_REQUIRE_CONDA=1 to forbid this."
    )


without_conda_if_missing()
WITH_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
PYTHON = "python" if WITH_CONDA else shlex.quote(sys.executable)


SUBMITTING = workflow.resource_settings.nodes is not None  # jobs to a cluster


def start_no_more_jobs_than_this_machine_has_gpu_slots():
    """Limit the jobs on GPUs that run here at once, unless the user has; a cluster limits its own."""
    gpus = gpus_of_this_machine()
    if gpus and not SUBMITTING and "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", gpus * CONFIG.jobs_per_gpu)


start_no_more_jobs_than_this_machine_has_gpu_slots()
ON_GPU = 0 if CONFIG.device in ("cpu", "mps") else 1


def growing(amount, per_thread=0):
    """A resource of which a job that is repeated gets more, on a cluster.

    On one machine a number will do, with which Snakemake plans thousands of jobs faster.
    """
    if not SUBMITTING:
        return amount + per_thread
    return lambda wildcards, threads, attempt: attempt * (amount + per_thread * threads)


def last_try(wildcards, attempt):
    """Whether a job that fails is not tried again: a node asks, and has from the driver how often."""
    own = workflow.execution_settings.retries
    return int(attempt > int(os.environ.setdefault("DHL_RETRIES", str(own))))


LAST_TRY = last_try if SUBMITTING or "DHL_RETRIES" in os.environ else 1


def dhl(command):
    """A shell command of the package on this run, its messages in the rule's log."""
    return f"{PYTHON} -m dhl {command} --configfile {RUN.config} --folder {ROOT} > {{log}} 2>&1"


def dhl_or_record_failure(command):
    """The same; if it fails on its last try, its outputs become failed results and the run goes on."""
    options = "--status $? --last {resources.last_try} --log {log} {output}"
    return f"{dhl(command)} || {PYTHON} -m dhl record-failure {options}"


def remove_failed_results():
    """Remove the failed results, so that the next run repeats their jobs; return a line for each."""
    failed = list(failed_results(RUN))
    for path, _ in failed:
        path.unlink()
    return [f"{path}: {reason}" for path, reason in failed]


def end_with_failure_if_results_failed():
    if failed := remove_failed_results():
        raise WorkflowError(
            "Some jobs failed, and the report was made without them:",
            *failed,
            "Remove the cause and run the same command again; finished files are kept.",
        )


def keep_configuration():
    """Write the resolved configuration that all jobs read."""
    text = yaml.safe_dump(CONFIG.model_dump(mode="json"), sort_keys=False)
    if not RUN.config.exists() or RUN.config.read_text() != text:
        with atomic_path(RUN.config) as temporary:
            temporary.write_text(text)


wildcard_constraints:
    part="|".join(PARTS),
    sigma=r"[0-9]+(\.[0-9]+)?",
    model=r"[a-z0-9-]+/[a-z0-9.-]+",
    method="|".join([*BASELINES, *CONFIG.plugin_methods]),
    shard="[0-9]+-of-[0-9]+",
    seed="(-seed[0-9]+)?",
    set="|".join(CATALOGUE),


def sigma_of(wildcards):
    return float(wildcards.sigma)


def seed_of(wildcards):
    return int(wildcards.seed.removeprefix("-seed") or 1)


def downloads_of_part(wildcards):
    return [RUN.download(name) for name in downloads_of(CONFIG, wildcards.part)]


def files_of_model(wildcards):
    """The data, the parents and the published weights of a model."""
    spec = model_spec(CONFIG, wildcards.model)
    files = [RUN.data(spec.part), *(RUN.model(key) for key in spec.parents)]
    if downloaded := downloaded_weights(spec.role, spec.network):
        files.append(RUN.download(downloaded))
    elif spec.network.weights not in (None, "imagenet"):
        files.append(spec.network.weights)
    return files


def models_of_evaluation(wildcards):
    keys = evaluated_models(
        CONFIG, wildcards.part, sigma_of(wildcards), seed_of(wildcards)
    )
    return [RUN.model(key) for key in keys]


def baselines_of_evaluation(wildcards):
    part, sigma = wildcards.part, sigma_of(wildcards)
    sources = [
        one.source for one in experiments(CONFIG, part, sigma, seed_of(wildcards))
    ]
    return [
        RUN.baseline(part, source, sigma, shard)
        for source in dict.fromkeys(sources)
        if "/" not in source and is_baseline(source)
        for shard in shards(CONFIG.parts[part].shards)
    ]


def files_of_own_code():
    return sorted({reference.rpartition(":")[0] for reference in CONFIG.plugins})


def code_of_baseline(wildcards):
    """The code of an untrained method, the user's own included."""
    own = CONFIG.plugin_methods.get(wildcards.method, "")
    return code_digest("dhl.evaluation.untrained", *references(own))


def evaluation_files(places):
    """Rows and arrays of the evaluations of parts at sigmas."""
    rows = [
        RUN.evaluation(part, sigma, seed)
        for part, sigma in places
        for seed in evaluated_seeds(CONFIG, part, sigma)
    ]
    return rows + [path.with_suffix(".npz") for path in rows]


def evaluations(*parts):
    """Those of the parts, all of the run's unless named."""
    return evaluation_files(
        (part, sigma)
        for part in parts or CONFIG.parts
        for sigma in CONFIG.parts[part].sigmas
    )


def studied_evaluations():
    """Those with experiments of the studies."""
    return evaluation_files(studied(CONFIG))


def methods_of():
    """The methods of each part."""
    return {part: CONFIG.parts[part].methods for part in CONFIG.parts}


def sensitivity():
    return [RUN.sensitivity] if studies(CONFIG) else []


def training_curves():
    return [RUN.training(key) for key in all_models(CONFIG)]


def tables(suffix="csv"):
    return [RUN.table(number, suffix) for number in TABLE_PARTS]


def figures(*suffixes):
    names = figure_names(CONFIG.parts, studies(CONFIG))
    return [
        RUN.figures / f"{name}.{suffix}"
        for name in names
        for suffix in suffixes or FIGURE_FORMATS
    ]


def shown(path, category, caption, **labels):
    """An output that Snakemake's own report shows, under a caption of `workflow/report`."""
    caption = f"../report/{caption}.rst"
    return report(path, caption=caption, category=category, labels=labels)


def shown_figures():
    return [
        shown(path, "Figures", path.stem, figure=path.stem.replace("_", " "))
        for path in figures("svg")
    ]
