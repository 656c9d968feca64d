"""The command line: one table of the commands with their arguments, and the program."""

from __future__ import annotations

import argparse
import inspect
import io
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from dhl import __version__
from dhl.cli import commands, data_commands
from dhl.cli.commands import Arguments
from dhl.config.parse import load_config
from dhl.config.schema import Config
from dhl.errors import UserError, system_error
from dhl.locks import RUNNING, hold
from dhl.run.folder import RunFolder
from dhl.run.shards import WHOLE, Shard
from dhl.sigma import noise_std, six_digits


def _positive(text: str) -> int:
    """Read an integer above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _shard(text: str) -> Shard:
    """Read a slice of the images, such as 2-of-3."""
    try:
        return Shard.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _arg(name: str, **settings: Any) -> tuple[str, dict[str, Any]]:
    """Return an argument as its name and the settings of `add_argument`."""
    return name, settings


PART = _arg("--part", required=True, help="such as denoising, or denoising-NAME for a test set")
PROCESSES = _arg("--processes", type=_positive, default=1, help="number of parallel processes")
SIGMA = _arg("--sigma", type=float, required=True, help="noise level on the 0-255 scale")
RUN = _arg("run", type=Path, help="folder of a complete run, such as results/mini")
COMMON = (
    _arg("--configfile", type=Path, default="config/mini.yaml", help="default: %(default)s"),
    _arg("--folder", type=Path, help="folder of the run; default: results/<run>"),
)

# Name, function (its docstring is the help text), and arguments of each command.
# These commands read a configuration; they accept COMMON too.
CONFIGURED: tuple[tuple, ...] = (
    ("data make", data_commands.run_data_make, PART),
    (
        "data download",
        data_commands.run_data_download,
        _arg("sets", nargs="*", metavar="SET", help="such as kodak or vgg16-imagenet"),
    ),
    (
        "data check",
        data_commands.run_data_check,
        _arg("--decode", action="store_true", help="decode every image (minutes to hours)"),
    ),
    ("noise", data_commands.run_noise, PART, SIGMA),
    (
        "baseline",
        commands.run_baseline,
        PART,
        SIGMA,
        _arg("--method", required=True, help="such as cbm3d, or the name of a plug-in"),
        PROCESSES,
        _arg("--shard", type=_shard, default=WHOLE, help="slice of the images, such as 2-of-3"),
    ),
    ("preview", commands.run_preview),
    (
        "train",
        commands.run_train,
        _arg("model", help="such as separate/sigma30; `dhl describe` lists the models"),
    ),
    (
        "evaluate",
        commands.run_evaluate,
        PART,
        SIGMA,
        _arg("--seed", type=_positive, default=1, help="which training of the denoisers"),
        _arg("--task-seed", type=_positive, default=1, help="which training of the task networks"),
    ),
    ("table", commands.run_table, PART),
    ("claims", commands.run_claims),
    ("sensitivity", commands.run_sensitivity),
    ("figures", commands.run_figures, PROCESSES),
    ("manifest", commands.run_manifest),
    ("report", commands.run_report),
    ("describe", commands.run_describe),
    (
        "plan",
        commands.run_plan,
        _arg("--cores", type=_positive, help="cores for jobs; default: all of this machine"),
        _arg("--tflops", type=float, help="speed of one training in TFLOP/s; default: measured"),
        _arg(
            "--no-measurement", action="store_true", help="plan for one kind of core, an AMD EPYC"
        ),
        _arg("--json", action="store_true", help="print JSON"),
    ),
)
# These commands read no configuration.
UNCONFIGURED: tuple[tuple, ...] = (
    ("verify", commands.run_verify, RUN),
    (
        "compare",
        commands.run_compare,
        _arg("run_a", type=Path, metavar="RUN_A", help="such as results/reference/mini"),
        _arg("run_b", type=Path, metavar="RUN_B", help="such as results/mini; deltas are B - A"),
        _arg("--all", action="store_true", help="print every cell, not only moved cells"),
        _arg("--csv", type=Path, metavar="FILE", help="write every cell as tidy CSV"),
        _arg(
            "--strict", action="store_true", help="fail also for changed verdicts and missing cells"
        ),
    ),
    (
        "export",
        commands.run_export,
        RUN,
        _arg("--output", type=Path, help="zip file; default: beside the run"),
        _arg("--models", action="store_true", help="include the weights"),
    ),
    (
        "reference",
        commands.run_reference,
        RUN,
        _arg("output", type=Path, help="folder to write, such as results/reference/mini"),
    ),
    (
        "denoise",
        commands.run_denoise,
        _arg("input", type=Path, help="noisy picture, 8-bit RGB, any size, or a folder of them"),
        _arg("output", type=Path, help="its suffix sets the format, such as .png; or a folder"),
        _arg("--model", type=Path, help="such as .../separate/sigma30.pt"),
        _arg("--method", choices=("cbm3d",), help="in place of a model; needs --sigma"),
        _arg("--sigma", type=float, help="noise level on the 0-255 scale, for --method"),
        _arg("--device", default="auto", help="auto, cpu, cuda or cuda:1"),
        _arg("--blocks", action="store_true", help="average overlapping blocks, as the authors do"),
    ),
    (
        "record-failure",
        commands.run_record_failure,
        _arg("results", nargs="+", type=Path, help="outputs of the job"),
        _arg("--status", type=int, required=True, help="exit status of the job"),
        _arg("--log", type=Path, required=True, help="log of the job"),
        _arg("--last", type=int, choices=(0, 1), default=1, help="0: the job is tried again"),
    ),
    ("unlock", commands.run_unlock),
    (
        "import-caffe",
        commands.run_import_caffe,
        _arg("file", type=Path, help="binary .caffemodel"),
        _arg("--output", type=Path, required=True, help="such as denoiser.pt"),
        _arg("--sigma", type=float, help="noise level of its training, on the 0-255 scale"),
    ),
)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser from the tables; help texts are the docstrings of the commands."""
    parser = argparse.ArgumentParser(
        prog="dhl",
        description="Replication of: When Image Denoising Meets High-Level Vision Tasks.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    top = parser.add_subparsers(dest="command", metavar="COMMAND")
    data = top.add_parser("data", help="Download, check and make the data.")
    groups = {"": top, "data": data.add_subparsers(required=True, metavar="ACTION")}
    for name, function, *arguments in CONFIGURED + UNCONFIGURED:
        group, _, last = name.rpartition(" ")
        configured = any(name == row[0] for row in CONFIGURED)
        summary, _, details = str(inspect.getdoc(function)).partition("\n\n")
        command = groups[group].add_parser(last, help=summary, description=summary, epilog=details)
        command.set_defaults(function=function, configured=configured)
        for argument, settings in (*(COMMON if configured else ()), *arguments):
            command.add_argument(argument, **settings)
    return parser


def _check_part(arguments: Arguments, config: Config) -> None:
    """Check that the configuration has the part, and that sigma is legal."""
    part = getattr(arguments, "part", None)
    if part is not None and part not in config.parts:
        raise UserError(
            f"The part `{part}` is not in {arguments.configfile}.",
            came=f"--part {part}; configured are {', '.join(config.parts)}",
            do=f"add `parts.{part}`, or name another part.",
        )
    noise_std(six_digits(getattr(arguments, "sigma", 0)))


def _run(arguments: Arguments) -> int:
    """Run a command and return its exit status."""
    if not arguments.configured:
        return arguments.function(arguments) or 0
    config = load_config(arguments.configfile)
    _check_part(arguments, config)
    folder = RunFolder(arguments.folder or Path("results") / config.run)
    if RUNNING.exists() and arguments.command not in ("plan", "describe"):
        hold(RUNNING)
    return arguments.function(arguments, config, folder) or 0


def program() -> None:
    """Run the command of `sys.argv`, and end without Python's clean-up.

    The clean-up would examine and free all objects of PyTorch, for up to a second in each job.
    """
    status = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # a full disk or a closed pipe: Python's own exit reports it
        sys.exit(status)
    os._exit(status)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    A `UserError` and an error of the system are printed without traceback and give status 1, or
    2 in `dhl compare`.
    """
    for stream in (sys.stdout, sys.stderr):  # not all terminals and logs can have all characters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # A user's settings of matplotlib change no figure, and mistakes in them stop no command.
    os.environ.update(MATPLOTLIBRC=os.devnull, MPLBACKEND="agg")
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("dhl").setLevel(logging.INFO)
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if "function" not in arguments:
        parser.print_help()
        return 0
    if hasattr(signal, "SIGPIPE") and arguments.command != "data":
        # `dhl describe | head` ends quietly; a server that closes a connection ends no download.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return _run_explained(arguments)


def _run_explained(arguments: Arguments) -> int:
    """Run a command; what stops it is a message and an exit status."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print(
            "dhl: stopped by Ctrl-C; complete files and parts of downloads are kept, and the same "
            "command goes on from there",
            file=sys.stderr,
        )
        return 128 + signal.SIGINT
    except (UserError, OSError, MemoryError) as error:
        mistake = _as_mistake(error)
        if mistake.__cause__ is not None:  # a plug-in's: the message does not name the line
            traceback.print_exception(mistake.__cause__)
        print(f"dhl: {mistake}", file=sys.stderr)
        return 2 if arguments.function is commands.run_compare else mistake.status


def _as_mistake(error: UserError | OSError | MemoryError) -> UserError:
    """Return the message about an error of the user or of the machine."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError):
        return system_error(error)
    return UserError(
        "The memory is too small.",
        came=str(error) or "no memory left",
        do="use smaller images or batches, or a machine with more memory.",
    )
