"""The time left of a running workflow: its plan, corrected by what its jobs have taken."""

from __future__ import annotations

import os
from collections import Counter
from types import SimpleNamespace

import pytest

from dhl.planning.schedule import Job
from dhl.planning.time_left import (
    RunningJob,
    RunState,
    measured_seconds,
    read_progress,
    seconds_left,
    written_at,
)
from dhl.progress import Progress

JOBS = {
    job.name: job
    for job in (
        Job("data/denoising", 4),
        Job("train/separate/sigma30", 10, ("data/denoising",)),
        Job("train/joint/sigma30", 20, ("train/separate/sigma30",)),
        Job("report", 2, ("train/joint/sigma30",)),
    )
}
TO_RUN = Counter({"data": 1, "train": 2, "report": 1})


def state(**changed) -> RunState:
    return RunState(**{"planned": JOBS, "to_run": TO_RUN} | changed)


def test_nothing_is_estimated_before_the_plan():
    assert seconds_left(RunState(), 0) is None


def test_a_run_that_has_not_begun_takes_the_planned_time():
    assert seconds_left(state(), 0) == 36


def corrected(true: float, planned: float, wider: float = 1.0) -> float:
    """The correction by a few measured seconds: the plan counts as much as three times of them."""
    return (true + 3 * true * wider) / (planned + 3 * true)


def test_one_slow_job_corrects_the_rest_a_little():
    assert corrected(8, 4) == 8 / 7
    assert seconds_left(state(ended={"data/denoising": 8}), 0) == pytest.approx(8 / 7 * 32)


def test_each_rule_has_its_own_speed():
    ended = {"data/denoising": 4, "train/separate/sigma30": 30}
    overall = corrected(34, 14)
    train = corrected(30, 10, overall)
    assert seconds_left(state(ended=ended), 0) == pytest.approx(train * 20 + overall * 2)


@pytest.mark.parametrize("kind", ["joint", "matched"])
def test_each_kind_of_training_has_its_own_speed(kind):
    names = [f"train/joint/sigma{sigma}" for sigma in range(100)] + [f"train/{kind}/last"]
    planned = {name: Job(name, 100) for name in names}
    to_run = Counter(train=len(names))
    run = RunState(planned=planned, to_run=to_run, ended=dict.fromkeys(names[:-1], 200.0))
    # 10,000 planned seconds against 1,200 of the plan: all three groups, or two of them.
    scale = 1.0
    for _group in range(3 if kind == "joint" else 2):
        scale = (20_000 + 1200 * scale) / (10_000 + 1200)
    assert seconds_left(run, 0) == pytest.approx(100 * scale)


def test_a_plan_that_is_wrong_by_far_is_corrected_by_the_first_training():
    planned = {name: Job(name, 1000) for name in ("train/a/sigma30", "train/b/sigma30")}
    run = RunState(planned=planned, to_run=Counter(train=2), ended={"train/a/sigma30": 10})
    assert 10 < seconds_left(run, 0) < 12


def test_a_running_job_is_estimated_by_the_progress_in_its_log(tmp_path):
    log = tmp_path / "sigma30.log"
    log.write_text("training on cpu\ntraining: 10 of 40, about 90 of 120 s left loss 0.5\n"
                   "training: 20 of 40, about 30 of 56 s left loss 0.25\n")  # fmt: skip
    job = RunningJob(log, started=100)
    assert read_progress(job) == (20, 40, 30.0, 56.0, "loss 0.25")
    now = state(ended={"data/denoising": 4}, running={"train/separate/sigma30": job})
    # 30 s before now and 30 s after it; 10 were planned.
    overall = corrected(4 + 60, 4 + 10)
    train = corrected(60, 10, overall)
    assert seconds_left(now, 130) == pytest.approx(30 + train * 20 + overall * 2)


def test_a_job_without_progress_is_estimated_by_its_plan(tmp_path):
    running = {"data/denoising": RunningJob(tmp_path / "missing.log", started=0)}
    assert seconds_left(state(running=running), 3) == 1 + 32
    assert seconds_left(state(running=running), 50) == 1 + 32


def test_a_resumed_training_is_measured_as_a_whole_one(tmp_path, monkeypatch, caplog):
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr("dhl.progress.time", clock)
    caplog.set_level("INFO", logger="dhl")
    names = [f"train/{name}/sigma30" for name in "abcd"]
    job = RunningJob(tmp_path / "sigma30.log", started=0)
    run = RunState({name: Job(name, 600) for name in names}, Counter(train=4), {names[0]: job})
    with Progress("training", 10_000, done=9000) as progress:  # 54 s at the speed of 600 s
        clock.now = 12
        progress.advance(200)
        job.log.write_text(caplog.text)
        assert read_progress(job).seconds_left == 48
        assert seconds_left(run, 12) == pytest.approx(48 + 3 * 600)
        clock.now = 60
        progress.advance(800)
    job.log.write_text(caplog.text)
    assert measured_seconds(names[0], job, 65) == 600


@pytest.mark.parametrize("name", ["train/a/sigma30", "evaluate/denoising/sigma30"])
def test_a_job_that_took_a_finished_result_is_not_measured(tmp_path, name):
    log = tmp_path / "sigma30.log"
    log.write_text("taking a/sigma30 from checkpoints/finished/01/0123.pt\n")
    assert measured_seconds(name, RunningJob(log, started=0), 3) is None
    assert measured_seconds("table/1", RunningJob(log, started=0), 3) == 3
    run = state(ended={"train/separate/sigma30": None, "data/denoising": 4})
    assert seconds_left(run, 0) == pytest.approx(22)


def test_the_time_in_a_queue_is_not_measured(tmp_path):
    log = tmp_path / "sigma30.log"
    log.write_text("training: 40 of 40 done in 7.0 s\n")  # of an earlier run
    job = RunningJob(log, started=0, queued=True, log_before=written_at(log))
    assert measured_seconds("train/joint/sigma30", job, 7200) is None
    assert seconds_left(state(running={"train/joint/sigma30": job}), 7200) == 36
    log.write_text("training: 20 of 40, about 11 of 22 s left\ntraining: 40 of 40 done in 21.5 s\n")
    os.utime(log, ns=(0, 0))
    assert measured_seconds("train/joint/sigma30", job, 7200) == 21.5
    train = corrected(22, 20, corrected(22, 20))
    run = RunState(JOBS, Counter(train=2), {"train/joint/sigma30": job})
    assert seconds_left(run, 7200) == pytest.approx(11 + train * 10)


def test_on_a_cluster_each_job_has_cores_of_its_own():
    jobs = {f"train/{name}/sigma30": Job(f"train/{name}/sigma30", 10, threads=4) for name in "abcd"}
    run = RunState(planned=jobs, to_run=Counter(train=4), cores=2, on_cluster=True)
    assert seconds_left(run, 0) == 20


def test_a_resumed_run_counts_only_the_jobs_that_snakemake_will_run():
    earlier = frozenset({"data/denoising", "train/separate/sigma30"})
    to_run = Counter({"train": 1, "report": 1})
    assert seconds_left(state(to_run=to_run, earlier=earlier), 0) == 22


def test_jobs_run_side_by_side():
    jobs = {f"train/{name}/sigma30": Job(f"train/{name}/sigma30", 10) for name in "abcd"}
    assert seconds_left(RunState(planned=jobs, to_run=Counter(train=4), cores=2), 0) == 20


def test_jobs_on_gpus_wait_for_a_gpu():
    jobs = {f"train/{name}/sigma30": Job(f"train/{name}/sigma30", 10) for name in "abcd"}
    run = RunState(planned=jobs, to_run=Counter(train=4), cores=4, gpu_jobs=1)
    assert seconds_left(run, 0) == 40
