"""The commands of the program, one function each; those of data are in `data_commands`.

Their docstrings are the help texts of the command line.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dhl.errors import UserError
from dhl.files import project_file
from dhl.seeding import Draw
from dhl.sigma import noise_std

if TYPE_CHECKING:
    from dhl.config.schema import Config
    from dhl.run.folder import RunFolder

Arguments = argparse.Namespace
PUBLISHED_VALUES = "config/published.csv"


@contextmanager
def _quick_imports() -> Iterator[None]:
    """Import without garbage collection, which examines PyTorch's objects for 0.3 s in vain."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # later collections leave out what was imported
        gc.enable()


def run_baseline(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Denoise the test images of a part with an untrained method."""
    from dhl.evaluation.baseline import BaselineJob, write_baseline

    job = BaselineJob(arguments.part, arguments.method, arguments.sigma, arguments.shard)
    write_baseline(config, job, folder, processes=arguments.processes)


def run_preview(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Show the data, the noise and the untrained methods, while networks are trained."""
    from dhl.report.preview import write_preview

    write_preview(config, folder, templates=project_file("report"))


def run_train(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Train one model."""
    from dhl.cli.data_commands import fetch_missing
    from dhl.run.downloads import downloaded_weights
    from dhl.run.model_graph import model_spec

    with _quick_imports():
        from dhl.training.train import train_model

    spec = model_spec(config, arguments.model)
    weights = downloaded_weights(spec.role, spec.network)
    fetch_missing(config, [] if spec.start or weights is None else [weights])
    train_model(config, arguments.model, folder)


def run_evaluate(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Evaluate all methods of a part at a sigma, and the experiments of `sensitivity`."""
    with _quick_imports():
        from dhl.evaluation.evaluate import evaluate
    from dhl.run.evaluations import evaluated_draws

    draw = Draw(arguments.task_seed, arguments.seed)
    draws = evaluated_draws(config, arguments.part, arguments.sigma)
    if draw not in draws:
        raise UserError(
            f"No training has these numbers: {arguments.part} has seeds up to {draws[-1].seed} and "
            f"task seeds up to {draws[-1].task} at sigma {arguments.sigma:g}.",
            came=f"--seed {draw.seed} --task-seed {draw.task}",
            do="choose smaller ones; more need larger `seeds` or `task_seeds`, and networks that "
            "the run trains.",
        )
    evaluate(config, arguments.part, arguments.sigma, folder, draw=draw)


def run_sensitivity(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Make the table of the sensitivity studies."""
    from dhl.analysis.sensitivity import write_sensitivity
    from dhl.run.evaluations import studies

    if not studies(config):
        raise UserError(
            f"The section `sensitivity` is missing in {arguments.configfile}.",
            came="no study to evaluate",
            do="add the section to the configuration; docs/sensitivity.md has an example.",
        )
    write_sensitivity(config, folder)


def run_table(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Make the table of a part."""
    from dhl.analysis.tables import write_table

    write_table(config, arguments.part, folder, project_file(PUBLISHED_VALUES))


def run_claims(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Test the paper's claims."""
    from dhl.analysis.claims import write_claims

    write_claims(config, folder)


def run_figures(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Draw the figures."""
    from dhl.report.figure_data import write_figure_data
    from dhl.report.figures import write_figures

    write_figures(config, folder, processes=arguments.processes)
    write_figure_data(config, folder)


def run_manifest(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Write the manifest: versions, seeds and digests."""
    from dhl.run.manifest import write_manifest

    write_manifest(config, folder)


def run_report(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Write the report."""
    from dhl.report.page import write_report

    write_report(
        config, folder, templates=project_file("report"), published=project_file(PUBLISHED_VALUES)
    )


def run_describe(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Print the parts, methods and models of a configuration, and which are trained and usable."""
    from dhl.run.evaluations import comparisons, studied
    from dhl.run.model_graph import all_models, model_spec

    print(f"{config.run}: {', '.join(config.parts)}; files in {folder.root}")
    for part in config.parts:
        sigmas = ", ".join(f"{sigma:g}" for sigma in config.parts[part].sigmas)
        print(f"{part}: sigma {sigmas}; {', '.join(config.parts[part].methods)}")
    for part, sigma in studied(config):
        names = dict.fromkeys(one.study for one in comparisons(config, part, sigma))
        print(f"studies of {part} at sigma {sigma:g}: {', '.join(names)}")
    for key in all_models(config):
        spec = model_spec(config, key)
        found = folder.model(key).exists()
        flaw = _why_unusable(config, folder, key) if found else ""
        state = "trained" if found and not flaw else "to train"
        parents = f" from {', '.join(spec.parents)}" if spec.parents else ""
        made = f"{spec.recipe.steps} steps" if spec.recipe else "published weights"
        print(f"{state:9} {key}: {spec.network.name}, {made}{parents}{flaw}")


def _why_unusable(config: Config, folder: RunFolder, key: str) -> str:
    """Say why a model's file is not of use here; empty if it is."""
    from dhl.models.checkpoint import load_model
    from dhl.run.fingerprints import fingerprint

    try:
        load_model(folder.model(key), fingerprint=fingerprint(config, key, folder))
    except UserError as error:
        return f"; its file cannot be used: {error.came}"
    return ""


def run_plan(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Print the jobs, time, disk space and downloads of a run on this machine."""
    from dhl.planning.image_counts import count_all_images
    from dhl.planning.machine import measure_machine, reference_machine
    from dhl.planning.plan import make_plan, to_json, to_text

    counts = count_all_images(config)
    if arguments.no_measurement:
        machine = reference_machine(config, cores=arguments.cores, tflops=arguments.tflops)
    else:
        machine = measure_machine(config, counts, cores=arguments.cores, tflops=arguments.tflops)
    plan = make_plan(config, counts, machine)
    print(to_json(plan) if arguments.json else to_text(plan))


def run_verify(arguments: Arguments) -> None:
    """Compare the files of a run with its manifest, and name those that it does not list."""
    from dhl.run.manifest import check_untouched, not_compared, other_files

    check_untouched(arguments.run)
    print(f"{arguments.run}: every file is as the manifest says.")
    if others := not_compared(arguments.run):
        print(f"Not compared: {', '.join(others)}")
    if others := other_files(arguments.run):
        print(f"Not of the run's configuration, and not compared: {', '.join(others)}")


def run_compare(arguments: Arguments) -> int:
    """Compare two runs, and name the numbers that moved by more than chance explains.

    Exit status: 0 if no number moved, 1 if one moved, 2 if the runs cannot be compared. Changed
    verdicts, and results that only one run has, are listed, but count only with --strict. If both
    runs have one training, a different training seed alone may move a number.
    """
    from dhl.analysis.compare import compare
    from dhl.analysis.comparison_text import ALL, to_text
    from dhl.analysis.run_results import read_run_results
    from dhl.files import atomic_path
    from dhl.run.results import COMPARISON_COLUMNS, write_csv

    comparison = compare(read_run_results(arguments.run_a), read_run_results(arguments.run_b))
    if arguments.csv:
        write_csv(comparison.cells, arguments.csv, COMPARISON_COLUMNS, writer=atomic_path)
    print(to_text(comparison, ALL) if arguments.all else to_text(comparison))
    return int(comparison.changed if arguments.strict else comparison.moved)


def run_export(arguments: Arguments) -> None:
    """Write a complete run as one self-describing archive (an RO-Crate)."""
    from dhl.run.export import export_run

    print(export_run(arguments.run, arguments.output, models=arguments.models))


def run_reference(arguments: Arguments) -> None:
    """Write a small folder from which tables and verdicts can be computed again.

    It has tables, verdicts, configuration, manifest, the compressed results of each image, and the
    photographs and digits that the images were made from. `dhl compare` and `dhl verify` read it
    like a run.
    """
    from dhl.run.reference import write_reference

    write_reference(arguments.run, arguments.output)


def run_denoise(arguments: Arguments) -> None:
    """Denoise a picture, or a folder of them, by a trained model or by CBM3D."""
    from dhl.evaluation.inference import block_bands, denoise_pictures, tile_bands

    if (arguments.model is None) == (arguments.method is None):
        raise UserError(
            "A denoiser is needed: a model or a method.",
            came="both" if arguments.model else "neither `--model` nor `--method`",
            do="give `--model FILE`, or `--method cbm3d --sigma 25`.",
        )
    if arguments.method and not arguments.sigma:
        raise UserError(
            "CBM3D needs the noise level of the picture.",
            came="no `--sigma`" if arguments.sigma is None else f"--sigma {arguments.sigma:g}",
            do="give the standard deviation on the 0-255 scale, such as `--sigma 25`.",
        )
    if (arguments.sigma and arguments.model) or (arguments.blocks and arguments.method):
        raise UserError(
            "`--sigma` belongs to `--method`, and `--blocks` to `--model`.",
            came="--model with --sigma" if arguments.model else "--method with --blocks",
            do="leave out the option.",
        )
    denoise_pictures(
        arguments.input,
        arguments.output,
        model=arguments.model,
        sigma=arguments.sigma,
        device=arguments.device,
        run=block_bands if arguments.blocks else tile_bands,
    )


def run_record_failure(arguments: Arguments) -> int:
    """Write failed results for the outputs of a failed job, so that the run continues."""
    from dhl.run.failures import has_failed, record_failure

    if not (arguments.last and has_failed(arguments.status)):
        return arguments.status
    reason = record_failure(arguments.results, status=arguments.status, log=arguments.log)
    print(f"dhl: failed: {arguments.results[0]}: {reason}\n"
          f"  the run continues without it; see {arguments.log}", file=sys.stderr)  # fmt: skip
    return 0


def run_unlock(arguments: Arguments) -> None:
    """Let Snakemake start again in this folder after a run was killed.

    It removes Snakemake's locks, unless a run still works in the folder, on this machine or another
    one: a Snakemake, or a job whose Snakemake was killed.
    """
    from dhl.locks import RUNNING, unless_held

    if not RUNNING.exists():
        return
    with unless_held(RUNNING) as free:
        if free:
            shutil.rmtree(RUNNING.parent / "locks", ignore_errors=True)
        else:
            print("dhl: a run still works in this folder: its locks are kept", file=sys.stderr)


def run_import_caffe(arguments: Arguments) -> None:
    """Convert a denoiser of the authors' Caffe code to a model file."""
    from dhl.models.caffe import import_denoiser

    if arguments.sigma is not None:
        noise_std(arguments.sigma)
    import_denoiser(arguments.file, arguments.output, sigma=arguments.sigma)
