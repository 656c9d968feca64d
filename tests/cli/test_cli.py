"""The command line: help, one message for a user's mistake, and what its commands write."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from settings import write_settings

from dhl import __version__
from dhl.cli.parser import CONFIGURED, UNCONFIGURED, main
from dhl.files import PROJECT

COMMANDS = [row[0] for row in CONFIGURED + UNCONFIGURED]


@pytest.fixture
def tiny_file(tmp_path, tiny_config) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    return path


def assert_three_parts(message: str) -> None:
    """Check that a message gives rule, finding and remedy, and no traceback."""
    assert "Traceback" not in message
    rule, found, remedy = message[message.index("dhl: ") :].split("\n  ", 2)
    assert rule.startswith("dhl: ")
    assert found.startswith("found: ")
    assert remedy.partition("to do: ")[2].strip()


def printed_by(arguments: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_every_command_has_a_help_text_and_the_help_lists_it(capsys):
    for command in COMMANDS:
        assert f"usage: dhl {command}" in printed_by([*command.split(), "--help"], capsys)
    assert main([]) == 0
    help_text = capsys.readouterr().out
    assert help_text == printed_by(["--help"], capsys)
    listed = {line.split()[0] for line in help_text.splitlines() if line.strip()}
    assert listed >= {command.split()[0] for command in COMMANDS}
    assert printed_by(["--version"], capsys).strip() == __version__


def test_a_terminal_without_all_characters_gets_escapes(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["describe", "--configfile", "\N{LATIN SMALL LETTER E WITH ACUTE}.yaml"]) == 1
    terminal.seek(0)
    assert r"\xe9.yaml" in terminal.read()


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["data"], ["data", "make"],
     ["noise", "--part", "denoising"], ["noise", "--part", "denoising", "--sigma", "much"],
     ["train"], ["baseline", "--part", "denoising", "--sigma", "30"],
     ["baseline", "--part", "denoising", "--sigma", "30", "--method", "cbm3d", "--shard", "4-of-3"],
     ["denoise", "a.png", "b.png", "--method", "nlm"]],
)  # fmt: skip
def test_a_wrong_command_line_ends_with_status_2_and_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: dhl" in capsys.readouterr().err


def test_a_part_that_is_not_configured_is_an_error(capsys):
    assert main(["data", "make", "--part", "captioning"]) == 1
    assert "--part captioning; configured are denoising" in capsys.readouterr().err


BASELINE = ["baseline", "--part", "denoising", "--sigma", "30", "--method"]
MISTAKES = [
    (["describe", "--configfile", "missing.yaml"], "missing.yaml cannot be read"),
    (["describe", "--configfile", "misspelt.yaml"], "write `preset`"),
    (["train", "unet/sigma30"], "`unet/sigma30`"),
    (["train", "separate/sigma0.1"], "sigma 0.1"),
    (["train", "classifier/clean"], "classification.npz"),
    (["noise", "--part", "denoising", "--sigma", "0.1"], "sigma 0.1"),
    (["noise", "--part", "denoising", "--sigma", "50"], "denoising.npz"),
    (["noise", "--part", "denoising", "--sigma", "30.0000001"], "30.0000001"),
    (["evaluate", "--part", "segmentation", "--sigma", "30"], "segmentation.npz"),
    ([*BASELINE, "cbm3d"], "denoising.npz"),
    ([*BASELINE, "bm4d"], "`bm4d`"),
    (["table", "--part", "classification"], "classification"),
    (["claims"], "no file"),
    (["figures"], "no file"),
    (
        ["data", "make", "--part", "segmentation", "--configfile", "denoising.yaml"],
        "--part segmentation",
    ),
    (["data", "download", "imagenot"], "`imagenot`"),
    (["verify", "nowhere"], "nowhere/manifest.json"),
    (["export", "/"], "/manifest.json"),
    (["describe", "--configfile", "folder"], "Is a directory"),
    (["train", "separate/sigma30", "--folder", "tiny.yaml"], "tiny.yaml"),
    (
        ["denoise", "folder", "folder-2", "--method", "cbm3d", "--sigma", "25"],
        "The folder folder has no picture",
    ),
    (["denoise", "a.png", "b.png", "--model", "folder"], "folder"),
    (["import-caffe", "folder", "--output", "b.pt"], "folder"),
    (["denoise", "a.png", "b.png", "--model", "c.pt"], "c.pt"),
    (["denoise", "a.png", "b.xyz", "--model", "c.pt"], "b.xyz"),
    (["denoise", "a.png", "b.png"], "neither `--model` nor `--method`"),
    (["denoise", "a.png", "b.png", "--model", "c.pt", "--method", "cbm3d"], "both"),
    (["denoise", "a.png", "b.png", "--method", "cbm3d"], "no `--sigma`"),
    (["denoise", "a.png", "b.png", "--model", "c.pt", "--sigma", "25"], "--model with --sigma"),
    (["import-caffe", "a.caffemodel", "--output", "b.pt"], "a.caffemodel: No such file"),
    (["import-caffe", "a.caffemodel", "--output", "b.pt", "--sigma", "0.3"], "sigma 0.3"),
]


@pytest.mark.parametrize(
    ("arguments", "named"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES]
)
def test_a_mistake_is_one_message_and_status_1(
    arguments, named, tiny_file, tiny_content, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    misspelt = {**tiny_content, "presett": "paper"}
    (tmp_path / "misspelt.yaml").write_text(yaml.safe_dump(misspelt))
    tiny_content["parts"] = {"denoising": tiny_content["parts"]["denoising"]}
    tiny_content["parts"]["denoising"]["methods"] = ["noisy", "separate"]
    (tmp_path / "denoising.yaml").write_text(yaml.safe_dump(tiny_content))
    (tmp_path / "folder").mkdir()
    free = arguments[0] in ("verify", "denoise", "import-caffe", "export")
    extra = [] if free or "--configfile" in arguments else ["--configfile", str(tiny_file)]
    assert main([*arguments, *extra]) == 1
    message = capsys.readouterr().err
    assert_three_parts(message)
    assert named in message


@pytest.mark.parametrize(
    ("methods", "seed", "named"),
    [
        (["cbm3d"], 2, "--seed 2 "),
        (["separate"], 3, "--seed 3 "),
        (["separate"], 2, "denoising.npz"),
    ],
)
def test_a_seed_without_training_is_refused_before_files_are_read(
    methods, seed, named, tiny_content, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    tiny_content["seeds"] = 2
    tiny_content["parts"]["denoising"]["methods"] = methods
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tiny_content))
    part = ["--part", "denoising", "--sigma", "30", "--configfile", "mine.yaml"]
    assert main(["evaluate", *part, "--seed", str(seed)]) == 1
    assert named in capsys.readouterr().err


def test_the_program_ends_with_the_message_and_the_status(tmp_path):
    command = [sys.executable, "-m", "dhl", "describe", "--configfile", "missing.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert_three_parts(result.stderr)
    assert result.stderr.count("\n") == 3


def test_the_program_writes_all_it_prints_or_fails(tiny_file):
    command = [sys.executable, "-m", "dhl", "describe", "--configfile", str(tiny_file)]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert sum(line.startswith("to train ") for line in result.stdout.splitlines()) == 12
    with open("/dev/full", "wb") as full:
        result = subprocess.run(command, cwd=PROJECT, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode != 0
    assert b"No space left" in result.stderr


def test_describe_lists_every_model_and_whether_it_is_trained(tiny_file, tiny_run, capsys):
    arguments = ["describe", "--configfile", str(tiny_file), "--folder"]
    assert main([*arguments, str(tiny_run.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"tiny: denoising, classification, segmentation; files in {tiny_run.root}"
    assert sum(line.startswith("trained ") for line in lines) == 12
    assert (
        "trained   joint-segmentation/sigma30: released, 5 steps "
        "from separate/sigma30, segmenter/clean"
    ) in lines
    assert main([*arguments, str(tiny_file.parent / "elsewhere")]) == 0
    assert sum(line.startswith("to train ") for line in capsys.readouterr().out.splitlines()) == 12


def test_describe_calls_trained_what_an_evaluation_accepts(
    tiny_content, run_copy, tmp_path, capsys
):
    path = run_copy.model("dncnn/sigma30")
    path.write_bytes(path.read_bytes()[:-1])
    tiny_content["parts"]["segmentation"]["training"]["task_network"]["steps"] = 6
    file = write_settings(tmp_path / "changed.yaml", tiny_content)
    assert main(["describe", "--configfile", file, "--folder", str(run_copy.root)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("to train ")]
    assert {line.split(":")[0].split()[-1] for line in lines} == {
        "dncnn/sigma30", "segmenter/clean", "joint-segmentation/sigma30",
        "retrained-segmentation/sigma30",
    }  # fmt: skip
    assert all("its file cannot be used" in line for line in lines)


def test_commands_write_what_the_library_writes(tiny_file, tiny_run, tmp_path):
    root = tmp_path / "by-hand"
    options = ["--configfile", str(tiny_file), "--folder", str(root)]
    for command in (
        ["data", "make", "--part", "denoising"],
        ["noise", "--part", "denoising", "--sigma", "30"],
        [*BASELINE, "cbm3d"],
        ["train", "separate-start/all"],
        ["train", "separate/sigma30"],
    ):
        assert main([*command, *options]) == 0
    for name in ("data/denoising.npz", "data/denoising.png", "noise/denoising/sigma30.csv",
                 "baselines/denoising/cbm3d-sigma30/1-of-1.npz", "models/separate/sigma30.pt",
                 "training/separate/sigma30.csv"):  # fmt: skip
        assert (root / name).read_bytes() == (tiny_run.root / name).read_bytes(), name


def test_verify_accepts_a_complete_run_and_names_a_changed_file(tiny_file, run_copy, capsys):
    assert main(["manifest", "--configfile", str(tiny_file), "--folder", str(run_copy.root)]) == 0
    assert main(["verify", str(run_copy.root)]) == 0
    assert "every file is as the manifest says" in capsys.readouterr().out
    run_copy.model("segmenter/clean").unlink()
    assert main(["verify", str(run_copy.root)]) == 1
    message = capsys.readouterr().err
    assert_three_parts(message)
    assert "removed  models/segmenter/clean.pt" in message


@pytest.mark.parametrize(
    ("raised", "status", "advice"),
    [
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (MemoryError(), 1, "memory"),
        (OSError(errno.EROFS, "Read-only file system", "a.csv"), 1, "make this one accessible"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "free some space"),
        (OSError(errno.EISDIR, "Is a directory", "a.csv"), 1, "folder"),
        (OSError(errno.EIO, "Input/output error", "a.csv"), 1, "check the path and the disk"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_stops_a_command_is_a_message_without_traceback(
    raised, status, advice, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("dhl.run.manifest.verify", lambda root: (_ for _ in ()).throw(raised))
    assert main(["verify", str(tmp_path)]) == status
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert advice in message
    if isinstance(raised, OSError):
        assert raised.strerror in message
    if isinstance(raised, KeyboardInterrupt):
        assert message.count("\n") == 1
    else:
        assert_three_parts(message)


def test_weights_that_are_gone_are_downloaded_before_the_training(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr("dhl.data.download.fetch", lambda name, **_: fetched.append(name))
    monkeypatch.setenv("DHL_DATA", str(tmp_path))
    options = ["--configfile", str(PROJECT / "config/public.yaml"), "--folder", str(tmp_path)]
    for model in ("separate/sigma30", "joint-classification/sigma30", "classifier/clean"):
        assert main(["train", model, *options]) == 1
    assert fetched == ["vgg16-imagenet"]
