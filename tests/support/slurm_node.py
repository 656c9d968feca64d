"""A real SLURM with two nodes on loopback; its daemons, keys and ports belong to one folder."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil

DAEMONS = ("munged", "slurmctld", "slurmd")
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
ACCOUNTING = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket"""
DATABASE_SETTINGS = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={storage_port}
StorageUser=root
StorageLoc=slurm
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""
NODES = ("cpu", "gpu")  # one in each partition
HOST = socket.gethostname().partition(".")[0]
FILES = ("slurm.conf", "gres.conf", "slurmdbd.conf")
NO_SLURM = Path(__file__).parent / "no_slurm"  # hides the real `scontrol` from the other tests
SYSTEM = Path("/etc/slurm")  # read by commands without SLURM_CONF, such as those of job steps
SETTINGS = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_min_interval=200000,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/none
{accounting}
JobCompType=jobcomp/none
ReturnToService=2
MinJobAge=300
KillWait=20
GresTypes=gpu
NodeName=DEFAULT CPUs={cpus} RealMemory={memory} State=UNKNOWN
NodeName=cpu NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]}
NodeName=gpu NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} Gres=gpu:2
PartitionName=cpu Nodes=cpu Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=gpu MaxTime=INFINITE State=UP
"""


def why_not(*more: str) -> str:
    """Return why nodes, with `more` programs, cannot be started here; "" if they can."""
    if " " in sys.executable:
        return "Snakemake submits the path of Python unquoted, and it has a space"
    if os.geteuid() != 0:
        return "SLURM's daemons are started by root"
    if any(os.path.lexists(SYSTEM / name) and not _left(SYSTEM / name) for name in FILES):
        return f"{SYSTEM} has settings of this machine, or of a test that runs"
    missing = [
        name for name in (*DAEMONS, "sbatch", *more) if shutil.which(name, path=PATH) is None
    ]
    return f"not installed: {', '.join(missing)}" if missing else ""


def _left(link: Path) -> bool:
    """Tell whether a killed test left a link: nobody holds the lock of its folder."""
    if not link.is_symlink() or "pytest-of-" not in str(link.readlink()):
        return False
    try:
        with open(link.readlink().parent / LOCK, encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


PATH = f"{os.environ['PATH'].replace(f'{NO_SLURM}{os.pathsep}', '')}:/usr/sbin"
LOCK = "lock"  # held while the nodes run
MARK = "DHL_TEST_NODE"  # in the environment of the processes of jobs: the folder


@contextmanager
def slurm_node(folder: Path, *, accounting: bool = False) -> Iterator[dict[str, str]]:
    """Run two nodes, `cpu` and `gpu`, each with all processors and in a partition of its name.

    Only `gpu` has GPUs, two simulated ones. The processes of jobs end with the nodes.

    Parameters
    ----------
    folder : Path
        An empty folder for the nodes.
    accounting : bool
        Whether a database stores the jobs.

    Yields
    ------
    dict of str to str
        The environment for SLURM's commands; it also marks the processes of jobs.
    """
    environment = os.environ | {"PATH": PATH}
    *ports, database, storage = _free_ports(5)
    settings = ACCOUNTING.format(port=database, folder=folder) if accounting else NO_ACCOUNTING
    _write_settings(folder, ports, settings)
    with ExitStack() as made:
        lock = made.enter_context(open(folder / LOCK, "w", encoding="utf-8"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in FILES:
            if _left(SYSTEM / name):
                (SYSTEM / name).unlink()
            (SYSTEM / name).symlink_to(folder / name)
            made.callback((SYSTEM / name).unlink)
        made.callback(_end, _start_munge(folder, environment))
        if accounting:
            made.callback(_end, _start_storage(folder, storage))
            path = folder / "slurmdbd.conf"
            ports_of = {"port": database, "storage_port": storage}
            path.write_text(DATABASE_SETTINGS.format(folder=folder, host=HOST, **ports_of))
            path.chmod(0o600)  # the daemon refuses a file that others can read
            made.callback(_end, _start("slurmdbd", folder, environment))
            add = ["sacctmgr", "--immediate", "add", "cluster", "test"]
            ask = partial(subprocess.run, add, env=environment, capture_output=True)
            _wait_for(lambda: ask().returncode == 0, "the database", folder)
        made.callback(_end_jobs, folder)
        made.callback(_end, _start("slurmctld", folder, environment))
        for node in NODES:
            made.callback(_end, _start("slurmd", folder, environment, node))
        _wait_for(lambda: _states(environment) == ["idle"] * 2, "the nodes to be idle", folder)
        yield environment | {MARK: str(folder)}


def _write_settings(folder: Path, ports: list[int], accounting: str) -> None:
    """Write the settings of the daemons."""
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(
        SETTINGS.format(
            folder=folder, host=HOST, ports=ports, cpus=os.cpu_count(), accounting=accounting,
            memory=psutil.virtual_memory().total // 2**20 - 500,
        )
    )  # fmt: skip
    (folder / "gres.conf").write_text("NodeName=gpu Name=gpu File=/dev/null,/dev/zero\n")


def _start_storage(folder: Path, port: int) -> int:
    """Start a MariaDB that every user of this machine can use."""
    storage = [f"--datadir={folder}/storage", "--user=root"]
    method = "--auth-root-authentication-method=normal"
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", method, *storage],
        check=True, capture_output=True,
    )  # fmt: skip
    options = ["--skip-grant-tables", "--skip-networking=0", "--bind-address=127.0.0.1"]
    options += [f"--port={port}", f"--socket={folder}/storage.socket", "--innodb-log-file-size=8M"]
    with open(folder / "storage.log", "w", encoding="utf-8") as log:
        daemon = subprocess.Popen(
            ["mariadbd", "--no-defaults", *storage, *options],
            env=os.environ | {"PATH": PATH}, stdout=log, stderr=log,
        )  # fmt: skip
    _wait_for((folder / "storage.socket").exists, "the storage", folder)
    return daemon.pid


def _start(name: str, folder: Path, environment: dict[str, str], node: str = "") -> int:
    """Start a daemon of SLURM, or of one node."""
    command = [name, "-N", node] if node else [name]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return _read_pid(folder / (f"{name}-{node}.pid" if node else f"{name}.pid"))


def _start_munge(folder: Path, environment: dict[str, str]) -> int:
    """Start the daemon that authenticates messages."""
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    names = ("socket", "pid", "log", "seed")
    socket_file, pid, log, seed = (folder / f"munge.{name}" for name in names)
    command = ["munged", "--force", f"--key-file={key}", f"--socket={socket_file}"]
    command += [f"--pid-file={pid}", f"--log-file={log}", f"--seed-file={seed}"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return _read_pid(pid)


def _free_ports(count: int) -> list[int]:
    """Return unused ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _read_pid(path: Path) -> int:
    """Return the process number of a daemon, which it writes after its start."""
    _wait_for(
        lambda: path.exists() and path.read_text(encoding="utf-8").strip(),
        f"{path.name}",
        path.parent,
    )
    return int(path.read_text(encoding="utf-8"))


def _states(environment: dict[str, str]) -> list[str]:
    """Return the states of the nodes."""
    command = ["sinfo", "--noheader", "--Node", "--format", "%T"]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.split()


def _wait_for(done, what: str, folder: Path) -> None:
    """Wait up to 30 seconds until a condition holds."""
    deadline = time.monotonic() + 30
    while not done():
        if time.monotonic() > deadline:
            logs = "".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
            raise TimeoutError(f"waited for {what}\n{logs}")
        time.sleep(0.1)


def _end(pid: int) -> None:
    """End a daemon; kill it after ten seconds."""
    try:
        daemon = psutil.Process(pid)
        daemon.terminate()
        daemon.wait(10)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        daemon.kill()


def _end_jobs(folder: Path) -> None:
    """Kill the processes of jobs until none is left; no daemon starts new ones."""

    def none_left() -> bool:
        found = [one for one in psutil.process_iter() if _belongs_to_a_job(one, folder)]
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return not found

    _wait_for(none_left, "the processes of jobs to end", folder)


def _belongs_to_a_job(process: psutil.Process, folder: Path) -> bool:
    """Tell whether a process runs a step of a job, or was started by one."""
    try:
        if process.name() == "slurmstepd":  # its title has overwritten its environment
            logs = {str(folder / f"slurmd-{node}.log") for node in NODES}
            return not logs.isdisjoint(file.path for file in process.open_files())
        return process.environ().get(MARK) == str(folder)
    except psutil.Error:  # it has ended, or belongs to another user
        return False
