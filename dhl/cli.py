"""The command line: reads, calls, writes; no arithmetic."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from dhl import __version__
from dhl.config.file import load_config
from dhl.errors import UserError
from dhl.methods import PARTS
from dhl.noise import noise_std
from dhl.results import RunFolder
from dhl.shards import WHOLE, Shard

if TYPE_CHECKING:
    from collections.abc import Callable

    from dhl.config import Config

Arguments = argparse.Namespace


def run_data_make(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Make or read a part's clean images."""
    from dhl.data.prepare import write_data

    write_data(config, arguments.part, folder)


def run_data_download(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Download the named data sets and weights, or all that the configuration needs."""
    from dhl.data.catalogue import mirrors_of, needed_sets
    from dhl.data.download import fetch, write_receipt
    from dhl.data.locations import data_root

    root = data_root(config)
    for name in arguments.sets or needed_sets(config):
        fetch(name, root=root, mirrors=mirrors_of(config))
        write_receipt(name, root=root, path=folder.download(name))


def run_data_check(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Tell whether the data sets of a configuration are there and whole."""
    from dhl.data.check import check_data

    findings = []
    for finding in check_data(config, decode=arguments.decode):
        print(finding, flush=True)
        findings.append(finding)
    if not findings:
        print(f"{config.run}: its data is made from installed packages, nothing is downloaded.")
    if bad := [finding.name for finding in findings if not finding.complete]:
        raise UserError(
            "the data sets of a run are there and whole.",
            came=f"{len(bad)} of {len(findings)} are not: {', '.join(bad)}",
            do="run `dhl data download` with the same configuration, and mend folders of your own.",
        )


def run_noise(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Record the noise of a part's test images."""
    from dhl.data.prepare import write_noise

    write_noise(config, arguments.part, arguments.sigma, folder)


def run_baseline(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Denoise a part's test images by a method that is not trained here."""
    from dhl.baselines import BaselineJob, write_baseline

    job = BaselineJob(arguments.part, arguments.method, arguments.sigma, arguments.shard)
    write_baseline(config, job, folder, processes=arguments.processes)


def run_train(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Train one model, in as many processes as configured."""
    from dhl.launch import launch
    from dhl.training import train_model

    again = sys.argv[1:]
    train_model(config, arguments.model, folder, start_processes=lambda: launch(config, again))


def run_evaluate(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Measure every method of a part at a sigma."""
    from dhl.evaluation import evaluate

    evaluate(config, arguments.part, arguments.sigma, folder, seed=arguments.seed)


def run_probe(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Measure denoisers with other noise and other task networks, as `sensitivity` says."""
    from dhl.probes import findings
    from dhl.probing import measure_probes

    if not findings(config, arguments.part, arguments.sigma):
        raise UserError(
            "`sensitivity` says what is probed, and where.",
            came=f"nothing to probe in {arguments.part} at sigma {arguments.sigma:g}",
            do="add it to the configuration's `sensitivity`; `dhl describe` lists what there is.",
        )
    measure_probes(config, arguments.part, arguments.sigma, folder, seed=arguments.seed)


def run_sensitivity(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Make the table of the experiments beyond the paper."""
    from dhl.probes import experiments
    from dhl.sensitivity import write_sensitivity

    if not experiments(config):
        raise UserError(
            "`sensitivity` says what is varied.",
            came=f"no experiment in {arguments.configfile}",
            do="add the section to the configuration; docs/sensitivity.md has one.",
        )
    write_sensitivity(config, folder)


def run_table(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Make the table of a part."""
    from dhl.tables import write_table

    write_table(config, arguments.part, folder)


def run_claims(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Test the paper's claims."""
    from dhl.claims import write_claims

    write_claims(config, folder)


def run_figures(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Draw the figures."""
    from dhl.figure_data import write_figure_data
    from dhl.figures import write_figures

    write_figures(config, folder)
    write_figure_data(config, folder)


def run_manifest(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Write versions, seeds and digests."""
    from dhl.provenance import write_manifest

    write_manifest(config, folder)


def run_report(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Write the report."""
    from dhl.report import write_report

    write_report(config, folder)


def run_describe(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Print what a configuration consists of: models, their parents, and whether they are there."""
    from dhl.lineage import all_models, model_spec
    from dhl.probes import findings, probed

    print(f"{config.run}: {', '.join(config.parts)}; files in {folder.root}")
    for part in config.parts:
        sigmas = ", ".join(f"{sigma:g}" for sigma in getattr(config.sigmas, part))
        print(f"{part}: sigma {sigmas}; {', '.join(getattr(config.methods, part))}")
    for part, sigma in probed(config):
        names = dict.fromkeys(finding.experiment for finding in findings(config, part, sigma))
        print(f"probes of {part} at sigma {sigma:g}: {', '.join(names)}")
    for key in all_models(config):
        spec = model_spec(config, key)
        state = "trained" if folder.model(key).exists() else "to train"
        parents = f" from {', '.join(spec.parents)}" if spec.parents else ""
        made = f"{spec.recipe.steps} steps" if spec.recipe else "published weights"
        print(f"{state:9} {key}: {spec.network.name}, {made}{parents}")


def run_plan(arguments: Arguments, config: Config, folder: RunFolder) -> None:
    """Print what a run will take: jobs, operations, hours, disk and downloads."""
    from dhl.plan import device_named, make_plan
    from dhl.plan_text import to_json, to_text

    plan = make_plan(config, device_named(arguments.device, arguments.tflops))
    print(to_json(plan) if arguments.json else to_text(plan))


def run_verify(arguments: Arguments) -> None:
    """Compare a run's files with its manifest."""
    from dhl.provenance import check_untouched

    check_untouched(arguments.run)
    print(f"{arguments.run}: every file is as the manifest says.")


def run_compare(arguments: Arguments) -> int:
    """Tell which numbers moved from one run to another, and whether more than chance explains it.

    Returns
    -------
    int
        The exit status.
    """
    from dhl.compare import compare, write_comparison
    from dhl.compare_text import ALL, to_text
    from dhl.finished import read_finished

    comparison = compare(read_finished(arguments.run_a), read_finished(arguments.run_b))
    if arguments.csv:
        write_comparison(comparison, arguments.csv)
    print(to_text(comparison, ALL) if arguments.all else to_text(comparison))
    return int(comparison.changed if arguments.strict else comparison.moved)


def run_export(arguments: Arguments) -> None:
    """Write a finished run as one archive that describes itself (an RO-Crate)."""
    from dhl.export import export_run

    print(export_run(arguments.run, arguments.output, models=arguments.models))


def run_denoise(arguments: Arguments) -> None:
    """Denoise a picture."""
    from dhl.denoising import denoise_blockwise, denoise_file, denoise_tiles

    denoise_file(
        arguments.input,
        arguments.output,
        model=arguments.model,
        device=arguments.device,
        run=denoise_blockwise if arguments.blocks else denoise_tiles,
    )


def run_hole(arguments: Arguments) -> int:
    """Mark the results of a job that failed, for the rest of a run to go on without them."""
    from dhl.holes import dig, may_be_a_hole

    if not (arguments.last and may_be_a_hole(arguments.status)):
        return arguments.status
    reason = dig(arguments.results, status=arguments.status, log=arguments.log)
    print(f"dhl: failed: {arguments.results[0]}: {reason}\n"
          f"  the run goes on without it; all is in {arguments.log}", file=sys.stderr)  # fmt: skip
    return 0


def run_import_caffe(arguments: Arguments) -> None:
    """Make a model file of a denoiser that the authors' Caffe code trained."""
    from dhl.caffe import import_denoiser

    if arguments.sigma is not None:
        noise_std(arguments.sigma)
    import_denoiser(arguments.file, arguments.output, sigma=arguments.sigma)


def build_parser() -> argparse.ArgumentParser:
    """Describe commands and arguments."""
    parser = argparse.ArgumentParser(
        prog="dhl",
        description="Replication of: When Image Denoising Meets High-Level Vision Tasks.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--configfile", type=Path, default=Path("config/mini.yaml"), help="default: %(default)s"
    )
    common.add_argument("--folder", type=Path, help="the run's folder; default: results/<run>")

    def step(name: str, run: Callable) -> argparse.ArgumentParser:
        summary = run.__doc__.splitlines()[0]
        command = commands.add_parser(name, parents=[common], help=summary, description=summary)
        command.set_defaults(step=run)
        return command

    for name, run in (("noise", run_noise), ("baseline", run_baseline),
                      ("evaluate", run_evaluate), ("probe", run_probe),
                      ("table", run_table)):  # fmt: skip
        command = step(name, run)
        command.add_argument("--part", choices=PARTS, required=True)
        if name != "table":
            command.add_argument("--sigma", type=float, required=True, help="on the 0-255 scale")
        if name in ("evaluate", "probe"):
            command.add_argument(
                "--seed", type=_positive, default=1, help="number of the training, up to `seeds`"
            )
        if name == "baseline":
            command.add_argument("--method", required=True, help="such as cbm3d, or an own one")
            command.add_argument("--processes", type=_positive, default=1, help="run side by side")
            command.add_argument(
                "--shard", type=_shard, default=WHOLE, help="a slice of the images, such as 2-of-3"
            )
    step("train", run_train).add_argument(
        "model", help="such as separate/sigma30; `dhl describe` lists them"
    )
    for name, run in (("claims", run_claims), ("sensitivity", run_sensitivity),
                      ("figures", run_figures),
                      ("manifest", run_manifest), ("report", run_report),
                      ("describe", run_describe)):  # fmt: skip
        step(name, run)
    command = step("plan", run_plan)
    command.add_argument("--device", choices=("h100", "a100", "v100", "cpu-2"), default="h100",
                         help="what trains; default: %(default)s")  # fmt: skip
    command.add_argument(
        "--tflops", type=float, help="the sustained rate that you measured, instead"
    )
    command.add_argument("--json", action="store_true", help="print JSON, for machines")
    _add_data_commands(commands, common)
    _add_free_commands(commands)
    return parser


def _add_data_commands(
    commands: argparse._SubParsersAction, common: argparse.ArgumentParser
) -> None:
    """Describe the commands about data sets."""
    summary = "Download, check and make the data."
    group = commands.add_parser("data", help=summary, description=summary)
    actions = group.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, run: Callable) -> argparse.ArgumentParser:
        summary = run.__doc__.splitlines()[0]
        command = actions.add_parser(name, parents=[common], help=summary, description=summary)
        command.set_defaults(step=run)
        return command

    action("make", run_data_make).add_argument("--part", choices=PARTS, required=True)
    action("download", run_data_download).add_argument(
        "sets", nargs="*", metavar="SET", help="such as kodak or vgg16-imagenet"
    )
    action("check", run_data_check).add_argument(
        "--decode", action="store_true", help="decode every image; takes minutes to hours"
    )


def _add_free_commands(commands: argparse._SubParsersAction) -> None:
    """Describe the commands that need no configuration."""

    def free(name: str, run: Callable) -> argparse.ArgumentParser:
        summary = run.__doc__.splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(free=run)
        return command

    command = free("verify", run_verify)
    command.add_argument("run", type=Path, help="such as results/mini")
    _describe_compare(free("compare", run_compare))
    command = free("export", run_export)
    command.add_argument("run", type=Path, help="a finished run, such as results/mini")
    command.add_argument(
        "--output", type=Path, help="a zip file; default: beside the run, such as results/mini.zip"
    )
    command.add_argument("--models", action="store_true", help="with the weights")
    command = free("denoise", run_denoise)
    command.add_argument("input", type=Path, help="a noisy picture, 8-bit RGB, of any size")
    command.add_argument("output", type=Path, help="its ending names the format, such as .png")
    command.add_argument(
        "--model",
        type=Path,
        required=True,
        help="such as results/mini/models/joint-classification/sigma30.pt",
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    command.add_argument(
        "--blocks",
        action="store_true",
        help="average overlapping blocks, as the authors' deployment does",
    )
    command = free("hole", run_hole)
    command.add_argument("results", nargs="+", type=Path, help="what the job should have written")
    command.add_argument("--status", type=int, required=True, help="what the job ended with")
    command.add_argument("--log", type=Path, required=True, help="what it said")
    command.add_argument("--last", type=int, choices=(0, 1), default=1, help="0: it is tried again")
    command = free("import-caffe", run_import_caffe)
    command.add_argument("file", type=Path, help="a binary .caffemodel")
    command.add_argument("--output", type=Path, required=True, help="such as denoiser.pt")
    command.add_argument("--sigma", type=float, help="what it was trained for, on the 0-255 scale")


def _describe_compare(command: argparse.ArgumentParser) -> None:
    """Describe the arguments and the exit status of a comparison."""
    command.epilog = (
        "Exit status: 0 if no number moved by more than chance explains, 1 if one did, 2 if the "
        "runs could not be compared. Cells and verdicts that one run alone has, and verdicts that "
        "changed, are listed and count only with --strict. With one training in both runs, two "
        "draws of the same training may count as moved."
    )
    command.set_defaults(mistake=2)
    command.add_argument("run_a", type=Path, metavar="RUN_A", help="such as results/reference/mini")
    command.add_argument(
        "run_b", type=Path, metavar="RUN_B", help="such as results/mini; differences are B - A"
    )
    command.add_argument("--all", action="store_true", help="print every cell, not the moved alone")
    command.add_argument("--csv", type=Path, metavar="FILE", help="write every cell as tidy CSV")
    command.add_argument(
        "--strict", action="store_true",
        help="exit with 1 also for a changed verdict, or what one run alone has",
    )  # fmt: skip


def _check_part(arguments: Arguments, config: Config) -> None:
    """Refuse a part that the configuration has no data for, and a sigma off the 0-255 scale."""
    part = getattr(arguments, "part", None)
    if part is not None and part not in config.parts:
        raise UserError(
            "a part that is run is configured.",
            came=f"--part {part}, but {arguments.configfile} has {', '.join(config.parts)}",
            do=f"add `data.{part}`, `sigmas.{part}` and `methods.{part}`, or name another part.",
        )
    noise_std(getattr(arguments, "sigma", 0))


def _positive(text: str) -> int:
    """Read a number that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 is needed, not {text}")
    return int(text)


def _shard(text: str) -> Shard:
    """Read a slice of the images."""
    try:
        return Shard.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    A user's mistake is one message and status 1, or 2 for a command where 1 is an answer.
    """
    if hasattr(signal, "SIGPIPE"):  # `dhl describe | head` ends quietly
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    arguments = build_parser().parse_args(argv)
    try:
        if "free" in arguments:
            return arguments.free(arguments) or 0
        else:
            config = load_config(arguments.configfile)
            _check_part(arguments, config)
            folder = RunFolder(arguments.folder or Path("results") / config.run)
            arguments.step(arguments, config, folder)
    except UserError as error:
        if error.__cause__ is not None:  # the user's own code: the message says no line
            traceback.print_exception(error.__cause__)
        print(f"dhl: {error}", file=sys.stderr)
        return getattr(arguments, "mistake", error.status)
    return 0
