"""The live view of a run: a logger of Snakemake, in place of a block of lines for each job.

On a terminal it shows the running jobs with their steps and losses, the number of jobs that are
done, and the time left. Elsewhere it prints a line a minute. Warnings and errors are always
printed; Snakemake's own log file has all details.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from snakemake.logging import DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from dhl.planning.schedule import Job
from dhl.planning.time_left import (
    RunningJob,
    RunState,
    measured_seconds,
    read_progress,
    seconds_left,
    written_at,
)
from dhl.signals import interrupts

SECONDS_BETWEEN_LINES = 60.0
LONGEST_LINE = 500  # letters of a message
SECONDS_BEFORE_PLAN = 15.0  # a shorter run needs no estimate
_ERRORS = (LogEvent.ERROR, LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR)
# Messages of every run, which tell nothing about this one.
_ROUTINE = ("Assuming unrestricted", "Building DAG", "Using shell", "Select jobs")
_CONFIGFILE = re.compile(r"--configfile (\S+)")


class LogHandler(LogHandlerBase):
    """Follows the records of one workflow."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Prepare the view; it begins with Snakemake's count of the jobs."""
        settings = self.common_settings
        self.console = Console(stderr=not settings.stdout, highlight=False)
        self.details = DefaultFormatter(settings.quiet, settings.show_failed_logs)
        self.allowed = DefaultFilter(
            settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun,
            settings.printshellcmds,
        )  # fmt: skip
        self.guard = threading.Lock()  # of the state, which three threads use
        self.state = RunState()
        self.names: dict[int, str] = {}  # of the jobs by Snakemake's number
        self.results: dict[str, str] = {}  # first output of each job
        self.began = time.monotonic()
        self.planned_file = ""  # the configuration of the plan
        self.planning: subprocess.Popen[str] | None = None
        self.live: Live | None = None
        self.followers = {
            LogEvent.RESOURCES_INFO: self._set_limits, LogEvent.RUN_INFO: self._begin,
            LogEvent.JOB_INFO: self._job_started, LogEvent.JOB_FINISHED: self._job_ended,
            LogEvent.JOB_ERROR: self._job_failed,
        }  # fmt: skip
        self.over = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Update the view, or print the record; an error here must not end the run."""
        try:
            self._follow(record)
        except Exception:
            self.handleError(record)

    def _follow(self, record: logging.LogRecord) -> None:
        """Update the view, or print the record."""
        event = getattr(record, "event", None)
        if interrupts:  # the workflow says what is kept; that jobs ended is no news
            return
        if self.common_settings.dryrun or event in _ERRORS or record.levelno >= logging.WARNING:
            if self.allowed.filter(record):
                self._print(shortened(self.details.format(record)))
        elif event is None and not record.getMessage().startswith(_ROUTINE):
            self._print(record.getMessage())
        if event in self.followers and not self.common_settings.dryrun:
            self.followers[event](record)

    def _set_limits(self, record: logging.LogRecord) -> None:
        """Take the limits of the run from one of Snakemake's records of resources."""
        if nodes := getattr(record, "nodes", None):
            self.state.cores, self.state.on_cluster = nodes, True
        self.state.cores = getattr(record, "cores", None) or self.state.cores
        resources = getattr(record, "provided_resources", None) or {}
        if "gpu" in resources:  # Snakemake's `Resources`: `get` takes no default
            self.state.gpu_jobs = resources["gpu"].value

    def close(self) -> None:
        """End the view, and say how long the jobs took."""
        self.over.set()
        if self.planning is not None and self.planning.poll() is None:
            self.planning.kill()
        if self.live is not None:
            self.live.stop()
        if self.state.to_run and not interrupts:
            self._print(self._summary())
            self.state.to_run.clear()  # `close` is called twice
        for thread in threading.enumerate():  # of Snakemake's scheduler, which ended
            if isinstance(thread, threading.Timer):
                thread.cancel()  # the process would wait for it: profiles/default/profile.yaml
        super().close()

    def _print(self, message: str) -> None:
        self.console.print(Text(message.rstrip("\n")), soft_wrap=True)

    def _begin(self, record: logging.LogRecord) -> None:
        """Start the view with the number of jobs of each rule."""
        self.state.to_run = Counter(getattr(record, "stats", {}))
        self.state.to_run.pop("total", None)
        if self.console.is_terminal:
            self.live = Live(
                console=self.console, get_renderable=self._table, refresh_per_second=1,
                transient=True,
            )  # fmt: skip
            self.live.start()
        else:
            threading.Thread(target=self._print_lines, daemon=True).start()

    def _job_started(self, record: logging.LogRecord) -> None:
        """Note a job's name, log and first result."""
        log = next(iter(getattr(record, "log", None) or ()), "")
        run, _, name = Path(log).as_posix().removesuffix(".log").partition("/logs/")
        if not name:  # a target without a command
            self.state.ended[getattr(record, "rule_name", "")] = 0.0
            return
        logs = Path(run) / "logs"
        if not self.results:
            self._print(f"Each job has a log in {logs}; Snakemake's own are in .snakemake/log")
        # The first job may be a copy, which names no configuration.
        found = _CONFIGFILE.search(str(getattr(record, "shellcmd", "")))
        if found is not None and not self.planned_file:
            self.planned_file = found[1]
            threading.Thread(target=self._plan, args=(logs,), daemon=True).start()
        self.names[record.__dict__["jobid"]] = name
        self.results[name] = next(iter(getattr(record, "output", None) or ()), "")
        queued = self.state.on_cluster and not getattr(record, "local", False)
        started = RunningJob(Path(log), time.monotonic(), queued, written_at(Path(log)))
        with self.guard:
            self.state.running[name] = started

    def _job_ended(self, record: logging.LogRecord) -> None:
        """Note the time of a job; name the preview as soon as it is there."""
        name = self.names.pop(record.__dict__["job_id"], "")
        with self.guard:
            if (job := self.state.running.pop(name, None)) is not None:
                self.state.ended[name] = measured_seconds(name, job, time.monotonic())
        if name == "preview":
            self._print(f"Look at the first images and rows: {self.results[name]}")

    def _job_failed(self, record: logging.LogRecord) -> None:
        """Take a job from the running ones; if Snakemake starts it again, it says so."""
        name = self.names.pop(record.__dict__["jobid"], "")
        with self.guard:
            self.state.running.pop(name, None)

    def _plan(self, logs: Path) -> None:
        """Let another process plan the run, because that needs torch and some seconds.

        If it fails, the view has no estimate.
        """
        self.state.earlier = frozenset(
            path.relative_to(logs).as_posix().removesuffix(".log") for path in logs.rglob("*.log")
        )
        if self.over.wait(SECONDS_BEFORE_PLAN):
            return
        plan = [sys.executable, "-m", "dhl", "plan", "--json", "--no-measurement"]
        self.planning = subprocess.Popen(
            [*plan, "--configfile", self.planned_file],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
        )  # fmt: skip
        text, _ = self.planning.communicate()
        if self.planning.returncode == 0:
            made = json.loads(text)
            self.state.planned = {job["name"]: Job(**job) for job in made["jobs"]}

    def _summary(self) -> str:
        """Say in a line how many jobs are done, and how long the others take."""
        done, total = len(self.state.ended), self.state.to_run.total()
        now = time.monotonic()
        took = duration(now - self.began)
        if self.over.is_set() or done == total:
            return f"{done} of {total} jobs in {took}."
        with self.guard:
            left = seconds_left(self.state, now)
        rest = "planning the rest" if left is None else f"about {duration(left)} left"
        return f"{done} of {total} jobs in {took}, {rest}"

    def _running(self) -> Iterator[tuple[str, float, str]]:
        """Yield name, share done and details of each running job."""
        with self.guard:
            running = sorted(self.state.running.items())
        for name, job in running:
            progress = read_progress(job)
            if progress is None:
                since = f"since {duration(time.monotonic() - job.started)}"
                yield name, 0.0, f"waits or runs {since}" if job.queued else since
            else:
                share = progress.done / progress.total
                yield name, share, f"{progress.done} of {progress.total} {progress.note}".rstrip()

    def _table(self) -> Group:
        """Draw the view for a terminal."""
        table = Table.grid(padding=(0, 2))
        for name, share, details in self._running():
            table.add_row(Text(name), ProgressBar(total=1, completed=share, width=24), details)
        return Group(Text(self._summary(), style="bold"), table)

    def _print_lines(self) -> None:
        """Print a line a minute, until the run is over."""
        while not self.over.wait(SECONDS_BETWEEN_LINES):
            jobs = "; ".join(f"{name} {details}" for name, _, details in self._running())
            self._print(f"{self._summary()}; now {jobs}" if jobs else self._summary())


def shortened(text: str) -> str:
    """Shorten the lists of files in a message; Snakemake's own log file has them whole."""
    lines = text.splitlines()
    return "\n".join(f"{one[:LONGEST_LINE]} ..." if one[LONGEST_LINE:] else one for one in lines)


def duration(seconds: float) -> str:
    """Return seconds, minutes or hours, such as `45 s`, `7 min` and `1 h 20 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
