"""The time left of a running workflow: its plan, corrected by what its jobs have taken."""

from __future__ import annotations

from collections import Counter

import pytest

from dhl.planning.schedule import Job
from dhl.planning.time_left import RunningJob, RunState, read_progress, seconds_left

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


def test_jobs_that_took_twice_as_long_double_the_rest():
    assert seconds_left(state(ended={"data/denoising": 8}), 0) == 2 * 32


def test_each_rule_has_its_own_speed():
    ended = {"data/denoising": 4, "train/separate/sigma30": 30}
    overall = (4 + 30) / (4 + 10)
    assert seconds_left(state(ended=ended), 0) == pytest.approx(3 * 20 + overall * 2)


def test_a_running_job_is_estimated_by_the_progress_in_its_log(tmp_path):
    log = tmp_path / "sigma30.log"
    log.write_text("training on cpu\ntraining: 10 of 40, about 90 s left loss 0.5\n"
                   "training: 20 of 40, about 30 s left loss 0.25\n")  # fmt: skip
    assert read_progress(log) == (20, 40, 30.0, "loss 0.25")
    now = state(
        ended={"data/denoising": 4},
        running={"train/separate/sigma30": RunningJob(log, started=100)},
    )
    # 30 s before now and 30 s after it, planned were 10: six times the plan of the next training.
    overall = (4 + 60) / (4 + 10)
    assert seconds_left(now, 130) == pytest.approx(30 + 6 * 20 + overall * 2)


def test_a_job_without_progress_is_estimated_by_its_plan(tmp_path):
    running = {"data/denoising": RunningJob(tmp_path / "missing.log", started=0)}
    assert seconds_left(state(running=running), 3) == 1 + 32
    assert seconds_left(state(running=running), 50) == 1 + 32


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
