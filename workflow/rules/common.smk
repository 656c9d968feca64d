# Shared by all rules: the checked configuration, its paths, and functions of wildcards.
import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

# Jobs find `dhl` in this environment, even if it is not activated; in a conda job, conda's comes first.
programs = [str(Path(sys.executable).parent), *os.get_exec_path()]
os.environ.update(PATH=os.pathsep.join(programs))
if shutil.which("dhl") is None:
    raise WorkflowError(
        "The package `dhl` is not installed for the Python that runs Snakemake: "
        "run `pip install -e .` in the checkout."
    )

from dhl.files import PROJECT

# A workflow that Snakemake fetches as a module has no folder here.
folder = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve()
if folder.is_dir() and (checkout := folder.parents[1]) != PROJECT:
    raise WorkflowError(
        f"This workflow is in {checkout}, but the package `dhl` of {PROJECT} is imported: run "
        f"`pip install -e .` in {checkout}, or set PYTHONPATH to this folder."
    )

from dhl.files import atomic_path, project_file, touch_if_from_the_future
from dhl.config.catalogue import CATALOGUE
from dhl.config.methods import BASELINES, BATCHED, table_number
from dhl.config.parse import parse_config
from dhl.config.plugins import references
from dhl.data.user_folders import files_digest
from dhl.errors import UserError
from dhl.gpu_slots import parallel_gpu_jobs
from dhl.locks import RUNNING, hold, unless_held
from dhl.run.code_digest import code_digest
from dhl.run.contents import baselines_of, files_of
from dhl.run.downloads import (
    SECRETS,
    check_packages,
    downloaded_weights,
    downloads_of,
    secrets_of,
)
from dhl.run.evaluations import evaluated_draws, evaluated_models, studied
from dhl.run.failures import failed_results
from dhl.run.fingerprints import settings_digest, settings_fingerprint
from dhl.run.folder import RunFolder
from dhl.run.model_graph import all_models, model_spec, waiting_models
from dhl.run.outputs import FIGURE_FORMATS
from dhl.seeding import split_draw
from dhl.sigma import format_sigma
from dhl.signals import interrupts, note_interrupts

# Jobs run the code of this checkout; environment.post-deploy.sh installs it into conda's environment.
packages = [str(PROJECT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
os.environ.update(
    DHL_PROJECT=str(PROJECT), PYTHONPATH=os.pathsep.join(filter(None, packages))
)
os.environ.setdefault("DHL_STARTED", str(time.time()))

try:
    CONFIG = parse_config(config, source="the configuration")
except UserError as error:
    raise WorkflowError(str(error)) from None

os.environ.setdefault(SECRETS, secrets_of(CONFIG))

PUBLISHED_VALUES = project_file("config/published.csv")
CALIBRATION = project_file("config/calibration.csv")
RUN = RunFolder(Path("results") / CONFIG.run)
ROOT = str(RUN.root)
TABLE_PARTS = {table_number(part): part for part in CONFIG.parts}
WAITING_MODELS = waiting_models(CONFIG)
FAILURES = Path(".snakemake/failures") / CONFIG.run  # a byte for each run that had some


def remove_failed_results():
    """Remove the failed results, so that the next run repeats them; return a line for each."""
    failed = list(failed_results(RUN))
    if failed:  # counted first: a number too high only repeats tables
        FAILURES.parent.mkdir(parents=True, exist_ok=True)
        with open(FAILURES, "ab") as file:
            file.write(b".")
    for path, _ in failed:
        path.unlink()
    return [f"{path}: {reason}" for path, reason in failed]


def failures():
    """Return how often failed results were removed.

    Snakemake does not miss a removed result of which complete files were made. After a failure, the
    tables have this number among their parameters and these results among their inputs: if it
    changes, they are made again, and what is missing before them.
    """
    return FAILURES.stat().st_size if FAILURES.exists() else 0


# A run that was killed has left its failed results. Snakemake's own locks are looked at, too: the lock of
# a run on another machine can be invisible here.
if (
    workflow.is_main_process
    and RUNNING.exists()
    and not any(Path(".snakemake/locks").glob("*"))
):
    with suppress(OSError), unless_held(RUNNING) as alone:
        if alone:
            remove_failed_results()

hold(RUNNING)
note_interrupts()


def keep_configuration():
    """Write the resolved configuration, with its digest in the name; return the path."""
    text = yaml.safe_dump(CONFIG.model_dump(mode="json"), sort_keys=False)
    name = f"{CONFIG.run}-{settings_digest(text)[:12]}.yaml"
    path = Path(".snakemake/configurations") / name
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(text, "utf-8")
    return str(path)


def configfile(wildcards, threads):
    """Return the configuration file of a job; a new file name does not repeat the job.

    Snakemake ignores changes of a parameter that depends on `threads`. The file is no input: if a
    rule updates an `ancient` input, Snakemake forgets to check the other jobs that read it
    (https://github.com/snakemake/snakemake/issues/4166).
    """
    return CONFIGFILE


def drop_conda():
    """Let `--use-conda` run in the current environment, for machines without conda."""
    # Snakemake has no option for this: it ends with an error, even in a dry run.
    settings = workflow.deployment_settings
    if DeploymentMethod.CONDA not in settings.deployment_method:
        return
    if os.environ.get("DHL_REQUIRE_CONDA"):
        raise WorkflowError(
            "DHL_REQUIRE_CONDA is set, and no conda is on the PATH: install one."
        )
    settings.deployment_method -= {DeploymentMethod.CONDA}
    logger.warning(
        "No conda is on the PATH: the jobs run in the environment that Snakemake runs in. "
        "Set DHL_REQUIRE_CONDA=1 to forbid this."
    )


CONFIGFILE = keep_configuration()
# A job on a cluster's node reads the rules again. There it has no retries: the driver submits a failed
# job again, and DHL_RETRIES tells the job how often.
RETRIES = 0 if "DHL_RETRIES" in os.environ else CONFIG.retries
RETRIES_OF_DRIVER = int(os.environ.setdefault("DHL_RETRIES", str(RETRIES)))
ON_GPU = 0 if CONFIG.device in ("cpu", "mps") else 1
if shutil.which("conda") is None:
    drop_conda()

# Snakemake cannot count GPUs: on one machine, the number of GPU jobs at once is limited here, unless
# `--resources gpu=` sets the limit. On a cluster, the scheduler sets it.
if (
    ON_GPU
    and (gpu_jobs := parallel_gpu_jobs(CONFIG.device, CONFIG.jobs_per_gpu))
    and workflow.resource_settings.nodes is None
    and "gpu" not in workflow.global_resources
):
    workflow.register_resource("gpu", gpu_jobs)


def last_try(wildcards, attempt):
    """Return 1 if this is the last try: if it fails, the run continues with a failed result.

    In a Snakemake module a failed job always fails the run: only the handlers of the main
    workflow are called, so nothing would remove the failed results at the end.
    """
    in_module = __name__ is not None  # Snakemake sets the name of the module
    return int(attempt > RETRIES_OF_DRIVER and not in_module)


def stopped():
    """Tell whether Ctrl-C or a SIGTERM ended the run."""
    return interrupts or getattr(workflow.scheduler, "_user_kill", None)


def sigmas_of_names():
    """Return the noise levels of all parts as in names of files, escaped for a pattern."""
    sigmas = {sigma for part in CONFIG.parts for sigma in CONFIG.parts[part].sigmas}
    return sorted(format_sigma(sigma).replace(".", r"\.") for sigma in sigmas)


wildcard_constraints:
    part="|".join(CONFIG.parts),
    sigma="|".join(sigmas_of_names()),
    model=r"[a-z0-9-]+/[a-z0-9.-]+",
    method="|".join([*BASELINES, *CONFIG.plugin_methods]),
    shard="[0-9]+-of-[0-9]+",
    draw="(-task[0-9]+)?(-seed[0-9]+)?",
    set="|".join(CATALOGUE),


def sigma_of(wildcards):
    return float(wildcards.sigma)


def evaluation_of(wildcards):
    """Return part, sigma and draw of the trainings of an evaluation."""
    return wildcards.part, sigma_of(wildcards), split_draw(wildcards.draw)[1]


def downloads_of_part(wildcards):
    return [RUN.download(name) for name in downloads_of(CONFIG, wildcards.part)]


def root_of_listed(part):
    """Return the folder of the downloads if the data of a part lists files in it.

    The data of a folder for denoising has the pixels themselves: a moved folder repeats nothing.
    """
    data = CONFIG.parts[part].data
    return CONFIG.downloads.root if data.downloads and data.kind != "folder" else None


def files_of_model(wildcards):
    """Return the data, the parents and the given weights of a model."""
    spec = model_spec(CONFIG, wildcards.model)
    files = {
        "images": RUN.data(spec.part),
        "parents": [RUN.model(key) for key in spec.parents],
    }
    if downloaded := downloaded_weights(spec.role, spec.network):
        files["weights"] = RUN.download(downloaded)
    elif spec.given_weights is not None:
        files["weights"] = str(spec.given_weights)
    return files


def models_of_evaluation(wildcards):
    keys = evaluated_models(CONFIG, *evaluation_of(wildcards))
    return [RUN.model(key) for key in keys]


def baselines_of_evaluation(wildcards):
    return baselines_of(CONFIG, RUN, *evaluation_of(wildcards))


def plugin_files():
    return sorted({reference.rpartition(":")[0] for reference in CONFIG.plugins})


def files_before_the_run():
    """Yield the files that jobs can read: the user's, the checkout's, and earlier results."""
    yield from (path for path in RUN.root.rglob("*") if path.is_file())
    yield from (PUBLISHED_VALUES, CALIBRATION, *project_file("report").rglob("*"))
    specs = (model_spec(CONFIG, key) for key in all_models(CONFIG))
    weights = [spec.given_weights for spec in specs if spec.given_weights is not None]
    yield from map(Path, [*plugin_files(), *weights])


try:
    if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
        check_packages(CONFIG)
    touch_if_from_the_future(files_before_the_run(), clock=RUNNING)
except UserError as error:
    raise WorkflowError(str(error)) from None


def code_of_baseline(wildcards):
    """Digest the code of an untrained method, which can be a plug-in."""
    plugin = CONFIG.plugin_methods.get(wildcards.method, "")
    return code_digest("dhl.evaluation.baseline", *references(plugin))


def gpu_of_baseline(wildcards):
    """Return 1 for CBM3D and MCWNNM on a GPU; the package `bm3d` and plug-ins use none."""
    return ON_GPU if wildcards.method in BATCHED else 0


def before_the_evaluations(part):
    """Return the models and images of untrained methods that a part's evaluations read.

    Nothing before the first failure: then files that were removed to free space are not missed.
    """
    if not failures():
        return []
    draws = [
        (part, sigma, draw)
        for sigma in CONFIG.parts[part].sigmas
        for draw in evaluated_draws(CONFIG, part, sigma)
    ]
    models = {key: None for one in draws for key in evaluated_models(CONFIG, *one)}
    baselines = {
        path: None for one in draws for path in baselines_of(CONFIG, RUN, *one)
    }
    return [*map(RUN.model, models), *baselines]


def evaluation_files(levels):
    """Return the rows and arrays of evaluations; `levels` are pairs of part and sigma."""
    return [
        path(part, sigma, draw)
        for path in (RUN.evaluation, RUN.arrays)
        for part, sigma in levels
        for draw in evaluated_draws(CONFIG, part, sigma)
    ]


def evaluations(*parts):
    """Return the evaluation files of the named parts, by default of all parts."""
    names = parts or CONFIG.parts
    return evaluation_files(
        [(part, sigma) for part in names for sigma in CONFIG.parts[part].sigmas]
    )


def studied_evaluations():
    """Return the evaluation files that have experiments of the studies."""
    return evaluation_files(studied(CONFIG))


def methods_of():
    """Return the methods of each part."""
    return {part: CONFIG.parts[part].methods for part in CONFIG.parts}


def statistics_of():
    """Return what decides the statistics of each part: its methods, and the groups of its images."""
    groups = {
        part: getattr(CONFIG.parts[part].data, "groups", None) for part in CONFIG.parts
    }
    return settings_digest(CONFIG.statistics, methods_of(), groups)


def names_of_classes():
    return {
        part: getattr(CONFIG.parts[part].data, "class_names", None)
        for part in CONFIG.parts
    }


def sensitivity():
    return files_of(CONFIG, RUN, "sensitivity")


def training_curves():
    return files_of(CONFIG, RUN, "training")


def tables(suffix="csv"):
    return [RUN.table(number, suffix) for number in TABLE_PARTS]


def figures(*suffixes):
    """Return the figures in the named formats, by default in all."""
    paths = files_of(CONFIG, RUN, "figure")
    kept = suffixes or FIGURE_FORMATS
    return [path for path in paths if path.suffix.removeprefix(".") in kept]


def shown(path, category, caption, **labels):
    """Show an output in Snakemake's report, with a caption from `workflow/report`."""
    caption = f"../report/{caption}.rst"
    return report(path, caption=caption, category=category, labels=labels)


def shown_figures():
    return [
        shown(path, "Figures", path.stem, figure=path.stem.replace("_", " "))
        for path in figures("svg")
    ]
