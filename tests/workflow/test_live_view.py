"""The live view of a run, from records as Snakemake logs them."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.resources import Resources
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_dhl import live_view
from snakemake_logger_plugin_dhl.live_view import LogHandler, duration, shortened

SETTINGS = SimpleNamespace(
    printshellcmds=False, nocolor=True, quiet=None, debug_dag=False, verbose=False,
    show_failed_logs=True, stdout=False, dryrun=False,
)  # fmt: skip


def record(event: LogEvent | None = None, message: str = "", **fields) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"msg": message, "levelno": logging.INFO, "levelname": "INFO", "event": event, **fields}
    )


def job(
    number: int, log: str, output: str = "result.csv", *, local: bool = False
) -> logging.LogRecord:
    return record(
        LogEvent.JOB_INFO, jobid=number, log=[log], output=[output], shellcmd="dhl", local=local
    )


def failed_job(number: int, log: str) -> logging.LogRecord:
    return record(
        LogEvent.JOB_ERROR, levelno=logging.ERROR, jobid=number, rule_name="train", rule_msg=None,
        input=[], output=[], log=[log], conda_env=None, container_img=None, shellcmd="dhl", aux={},
        indent=False,
    )  # fmt: skip


@pytest.fixture
def view(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = LogHandler(SETTINGS, None)
    yield made
    made.close()


def begin(view: LogHandler, **jobs: int) -> None:
    view.handle(record(LogEvent.RESOURCES_INFO, cores=2))
    view.handle(record(LogEvent.RUN_INFO, stats={**jobs, "total": sum(jobs.values())}))


def test_jobs_are_followed_by_the_path_of_their_log(view):
    begin(view, train=2)
    view.handle(job(3, "results/x/logs/train/separate/sigma30.log"))
    view.handle(job(4, "results/x/logs/train/dncnn/sigma30.log"))
    view.handle(record(LogEvent.JOB_FINISHED, job_id=4))
    assert list(view.state.running) == ["train/separate/sigma30"]
    assert list(view.state.ended) == ["train/dncnn/sigma30"]
    assert view.state.cores == 2
    assert view._summary().startswith("1 of 2 jobs in 0 s")


def test_the_first_job_with_a_configuration_starts_the_plan(view):
    begin(view, configuration=1, data=2)
    for number, command in enumerate(["cp a.yaml b", "dhl data --configfile a.yaml > log", "dhl"]):
        started = job(number, f"results/x/logs/data/{number}.log")
        started.__dict__["shellcmd"] = command
        view.handle(started)
    assert view.planned_file == "a.yaml"


def test_the_end_of_a_run_waits_for_no_timer(view):
    timer = threading.Timer(60, lambda: None)
    timer.start()
    view.close()
    timer.join(5)
    assert not timer.is_alive()


def test_long_lists_of_files_are_shortened():
    text = "Error in rule figures:\n    input: " + ", ".join(["results/x/table1.csv"] * 100)
    first, second = shortened(text).splitlines()
    assert first == "Error in rule figures:"
    assert second.startswith("    input: results/x/table1.csv, ")
    assert second.endswith(" ...")
    assert len(second) < 510


def test_on_a_cluster_as_many_jobs_as_nodes_run_at_once(view):
    view.handle(record(LogEvent.RESOURCES_INFO, nodes=100))
    assert (view.state.cores, view.state.on_cluster) == (100, True)


def test_of_a_job_on_a_cluster_the_view_knows_only_what_its_log_says(view, monkeypatch):
    monkeypatch.setattr(live_view, "time", SimpleNamespace(monotonic=lambda: 5.0))
    log = Path("results/x/logs/train/separate/sigma30.log")
    log.parent.mkdir(parents=True)
    log.write_text(
        "training: 20 of 40, about 30 of 60 s left loss 0.25\n", "utf-8"
    )  # of an earlier run
    view.handle(record(LogEvent.RESOURCES_INFO, nodes=100))
    begin(view, train=1, download=1)
    view.handle(job(1, str(log)))
    view.handle(job(2, "results/x/logs/download/kodak.log", local=True))
    assert list(view._running()) == [
        ("download/kodak", 0.0, "since 0 s"),
        ("train/separate/sigma30", 0.0, "waits or runs since 0 s"),
    ]
    log.write_text("training: 30 of 40, about 20 of 80 s left loss 0.5\n", "utf-8")
    os.utime(log, ns=(0, 0))
    assert list(view._running())[1] == ("train/separate/sigma30", 0.75, "30 of 40 loss 0.5")
    view.handle(record(LogEvent.JOB_FINISHED, job_id=1))
    assert view.state.ended == {"train/separate/sigma30": None}


def test_a_target_without_a_command_is_done_at_once(view):
    begin(view, train=1, all=1)
    view.handle(job(1, "results/x/logs/train/separate/sigma30.log"))
    view.handle(record(LogEvent.JOB_FINISHED, job_id=1))
    view.handle(record(LogEvent.JOB_INFO, jobid=0, rule_name="all", log=[], output=[]))
    assert not view.state.running
    assert view._summary().startswith("2 of 2 jobs in 0 s")


def test_the_limit_of_jobs_on_gpus_is_that_of_the_run(view, capsys):
    view.handle(record(LogEvent.RESOURCES_INFO, cores=8))
    for provided in ({"gpu": 2, "mem_mb": 100}, {"mem_mb": 100}):
        resources = Resources.from_mapping(provided)
        view.handle(record(LogEvent.RESOURCES_INFO, provided_resources=resources))
    assert (view.state.gpu_jobs, view.state.cores) == (2, 8)
    assert capsys.readouterr().err == ""  # no error in the view


def test_a_job_that_failed_no_longer_runs_until_it_is_started_again(view):
    begin(view, train=1)
    view.handle(job(1, "results/x/logs/train/separate/sigma30.log"))
    view.handle(failed_job(1, "results/x/logs/train/separate/sigma30.log"))
    assert (view.state.running, view.names) == ({}, {})
    view.handle(job(1, "results/x/logs/train/separate/sigma30.log"))
    view.handle(record(LogEvent.JOB_FINISHED, job_id=1))
    assert list(view.state.ended) == ["train/separate/sigma30"]


def test_a_running_training_shows_its_step_and_loss(view, tmp_path):
    log = tmp_path / "results/x/logs/train/separate/sigma30.log"
    log.parent.mkdir(parents=True)
    begin(view, train=1)
    view.handle(job(1, str(log)))
    log.write_text("training: 20 of 40, about 30 of 60 s left loss 0.25\n")
    assert list(view._running()) == [("train/separate/sigma30", 0.5, "20 of 40 loss 0.25")]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (record(message="Trying to restart job 3."), True),
        (record(message="Select jobs to execute..."), False),
        (record(LogEvent.SHELLCMD, message="dhl train x"), False),
        (record(message="No conda is on the PATH", levelno=logging.WARNING), True),
        (record(LogEvent.ERROR, message="MissingInputException", levelno=logging.ERROR), True),
    ],
)
def test_the_terminal_gets_warnings_and_errors_but_no_routine(view, capsys, shown, printed):
    view.handle(shown)
    assert bool(capsys.readouterr().err) == printed


def test_the_preview_is_named_when_it_is_there(view, capsys):
    begin(view, preview=1)
    view.handle(job(1, "results/x/logs/preview.log", "results/x/report/preview.html"))
    assert "preview.html" not in capsys.readouterr().err
    view.handle(record(LogEvent.JOB_FINISHED, job_id=1))
    assert "results/x/report/preview.html" in capsys.readouterr().err


def test_the_last_line_counts_the_jobs_once(view, capsys):
    begin(view, train=1)
    view.handle(job(1, "results/x/logs/train/separate/sigma30.log"))
    view.handle(record(LogEvent.JOB_FINISHED, job_id=1))
    view.close()
    view.close()
    assert capsys.readouterr().err.count("1 of 1 jobs") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (99.4, "99 s"), (100, "2 min"), (5990, "1 h 40 min"), (4500, "75 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
