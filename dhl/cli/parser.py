"""The command line: which commands there are, and what each is told."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from dhl import __version__
from dhl.cli import commands
from dhl.cli.commands import Arguments
from dhl.config.methods import PARTS
from dhl.config.parse import load_config
from dhl.errors import UserError
from dhl.run.folder import RunFolder
from dhl.run.shards import WHOLE, Shard
from dhl.sigma import noise_std

if TYPE_CHECKING:
    from collections.abc import Callable

    from dhl.config.schema import Config


def build_parser() -> argparse.ArgumentParser:
    """Describe commands and arguments."""
    parser = argparse.ArgumentParser(
        prog="dhl",
        description="Replication of: When Image Denoising Meets High-Level Vision Tasks.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--configfile", type=Path, default=Path("config/mini.yaml"), help="default: %(default)s"
    )
    common.add_argument("--folder", type=Path, help="the run's folder; default: results/<run>")

    def step(name: str, run: Callable) -> argparse.ArgumentParser:
        summary = str(run.__doc__).splitlines()[0]
        command = subparsers.add_parser(name, parents=[common], help=summary, description=summary)
        command.set_defaults(step=run)
        return command

    for name, run in (("noise", commands.run_noise), ("baseline", commands.run_baseline),
                      ("evaluate", commands.run_evaluate),
                      ("table", commands.run_table)):  # fmt: skip
        command = step(name, run)
        command.add_argument("--part", choices=PARTS, required=True)
        if name != "table":
            command.add_argument("--sigma", type=float, required=True, help="on the 0-255 scale")
        if name == "evaluate":
            command.add_argument(
                "--seed", type=_positive, default=1, help="number of the training, up to `seeds`"
            )
        if name == "baseline":
            command.add_argument("--method", required=True, help="such as cbm3d, or a plug-in's")
            command.add_argument("--processes", type=_positive, default=1, help="run side by side")
            command.add_argument(
                "--shard", type=_shard, default=WHOLE, help="a slice of the images, such as 2-of-3"
            )
    step("train", commands.run_train).add_argument(
        "model", help="such as separate/sigma30; `dhl describe` lists them"
    )
    for name, run in (("claims", commands.run_claims), ("sensitivity", commands.run_sensitivity),
                      ("figures", commands.run_figures),
                      ("manifest", commands.run_manifest), ("report", commands.run_report),
                      ("describe", commands.run_describe)):  # fmt: skip
        step(name, run)
    command = step("plan", commands.run_plan)
    command.add_argument("--cores", type=_positive, help="for jobs; default: all of this machine")
    command.add_argument(
        "--tflops", type=float, help="sustained rate of one training; default: measured here"
    )
    command.add_argument("--json", action="store_true", help="print JSON, for machines")
    _add_data_commands(subparsers, common)
    _add_free_commands(subparsers)
    return parser


def _add_data_commands(
    subparsers: argparse._SubParsersAction, common: argparse.ArgumentParser
) -> None:
    """Describe the commands about data sets."""
    summary = "Download, check and make the data."
    group = subparsers.add_parser("data", help=summary, description=summary)
    actions = group.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, run: Callable) -> argparse.ArgumentParser:
        summary = str(run.__doc__).splitlines()[0]
        command = actions.add_parser(name, parents=[common], help=summary, description=summary)
        command.set_defaults(step=run)
        return command

    action("make", commands.run_data_make).add_argument("--part", choices=PARTS, required=True)
    action("download", commands.run_data_download).add_argument(
        "sets", nargs="*", metavar="SET", help="such as kodak or vgg16-imagenet"
    )
    action("check", commands.run_data_check).add_argument(
        "--decode", action="store_true", help="decode every image; takes minutes to hours"
    )


def _add_free_commands(subparsers: argparse._SubParsersAction) -> None:
    """Describe the commands that need no configuration."""

    def free(name: str, run: Callable) -> argparse.ArgumentParser:
        summary = str(run.__doc__).splitlines()[0]
        command = subparsers.add_parser(name, help=summary, description=summary)
        command.set_defaults(free=run)
        return command

    command = free("verify", commands.run_verify)
    command.add_argument("run", type=Path, help="such as results/mini")
    _describe_compare(free("compare", commands.run_compare))
    command = free("export", commands.run_export)
    command.add_argument("run", type=Path, help="a finished run, such as results/mini")
    command.add_argument(
        "--output", type=Path, help="a zip file; default: beside the run, such as results/mini.zip"
    )
    command.add_argument("--models", action="store_true", help="with the weights")
    command = free("denoise", commands.run_denoise)
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
    command = free("record-failure", commands.run_record_failure)
    command.add_argument("results", nargs="+", type=Path, help="the outputs of the job")
    command.add_argument("--status", type=int, required=True, help="the exit status of the job")
    command.add_argument("--log", type=Path, required=True, help="the log of the job")
    command.add_argument("--last", type=int, choices=(0, 1), default=1, help="0: it is tried again")
    command = free("import-caffe", commands.run_import_caffe)
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
            f"The part `{part}` is not in {arguments.configfile}.",
            came=f"--part {part}; configured are {', '.join(config.parts)}",
            do=f"add `parts.{part}`, or name another part.",
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
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("dhl").setLevel(logging.INFO)
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
        if error.__cause__ is not None:  # a plug-in's exception: the message does not name the line
            traceback.print_exception(error.__cause__)
        print(f"dhl: {error}", file=sys.stderr)
        return getattr(arguments, "mistake", error.status)
    return 0
