"""A real SLURM of two nodes on loopback: own daemons, keys and ports, in a folder of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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
FILES = ("slurm.conf", "gres.conf", "slurmdbd.conf")
SYSTEM = Path("/etc/slurm")  # where commands look that lost SLURM_CONF, as job steps' do
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
    """Tell what a node, or a node and these programs, lack to be started here; "" if nothing."""
    if os.geteuid() != 0:
        return "SLURM's daemons are started by root"
    if any(os.path.lexists(SYSTEM / name) for name in FILES):
        return f"{SYSTEM} has a SLURM of the machine's own, or of a test that was killed"
    missing = [
        name for name in (*DAEMONS, "sbatch", *more) if shutil.which(name, path=PATH) is None
    ]
    return f"not installed: {', '.join(missing)}" if missing else ""


PATH = f"{os.environ['PATH']}:/usr/sbin"
MARK = "DHL_TEST_NODE"  # in the environment of whatever a job runs: the node's folder


@contextmanager
def slurm_node(folder: Path, *, accounting: bool = False) -> Iterator[dict[str, str]]:
    """Run two nodes, `cpu` and `gpu`, each with all processors and in a partition of its name.

    Only `gpu` has GPUs, two pretended ones. With the nodes ends all that their jobs have started.

    Parameters
    ----------
    folder : Path
        Of the nodes' own.
    accounting : bool
        Whether a database remembers the jobs.

    Yields
    ------
    dict of str to str
        The environment in which SLURM's commands talk to them; jobs have it, and are known by it.
    """
    environment = os.environ | {"PATH": PATH}
    *ports, database, storage = _free_ports(5)
    _write_settings(
        folder,
        ports,
        ACCOUNTING.format(port=database, folder=folder) if accounting else NO_ACCOUNTING,
    )
    with ExitStack() as made:
        for name in FILES:
            (SYSTEM / name).symlink_to(folder / name)
            made.callback((SYSTEM / name).unlink)
        made.callback(_end, _start_munge(folder, environment))
        if accounting:
            made.callback(_end, _start_storage(folder, storage))
            _write_database_settings(folder, port=database, storage_port=storage)
            made.callback(_end, _start("slurmdbd", folder, environment))
            command = ["sacctmgr", "--immediate", "add", "cluster", "test"]
            _wait_for(lambda: _succeeds(command, environment), "the database", folder)
        made.callback(_end_jobs, folder)
        made.callback(_end, _start("slurmctld", folder, environment))
        for node in NODES:
            made.callback(_end, _start("slurmd", folder, environment, node))
        _wait_for(lambda: _states(environment) == ["idle"] * 2, "the nodes to be idle", folder)
        yield environment | {MARK: str(folder)}


def _write_settings(folder: Path, ports: list[int], accounting: str) -> None:
    """Write what the daemons read."""
    host = _host()
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(
        SETTINGS.format(
            folder=folder, host=host, ports=ports, cpus=os.cpu_count(), accounting=accounting,
            memory=psutil.virtual_memory().total // 2**20 - 500,
        )
    )  # fmt: skip
    (folder / "gres.conf").write_text("NodeName=gpu Name=gpu File=/dev/null,/dev/zero\n")


def _write_database_settings(folder: Path, **ports: int) -> None:
    """Write what the daemon of the accounting reads; it insists on being alone to."""
    path = folder / "slurmdbd.conf"
    path.write_text(DATABASE_SETTINGS.format(folder=folder, host=_host(), **ports))
    path.chmod(0o600)


def _host() -> str:
    """Return this machine's name."""
    return socket.gethostname().partition(".")[0]


def _start_storage(folder: Path, port: int) -> int:
    """Start a MariaDB that lets in whoever is on this machine."""
    place = [f"--datadir={folder}/storage", "--user=root"]
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", *place],
        check=True, capture_output=True,
    )  # fmt: skip
    options = ["--skip-grant-tables", "--skip-networking=0", "--bind-address=127.0.0.1"]
    options += [f"--port={port}", f"--socket={folder}/storage.socket", "--innodb-log-file-size=8M"]
    with open(folder / "storage.log", "w") as log:
        daemon = subprocess.Popen(
            ["mariadbd", "--no-defaults", *place, *options],
            env=os.environ | {"PATH": PATH}, stdout=log, stderr=log,
        )  # fmt: skip
    _wait_for((folder / "storage.socket").exists, "the storage", folder)
    return daemon.pid


def _start(name: str, folder: Path, environment: dict[str, str], node: str = "") -> int:
    """Start one of SLURM's daemons, that of a node if one is named."""
    command = [name, "-N", node] if node else [name]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return _read_pid(folder / (f"{name}-{node}.pid" if node else f"{name}.pid"))


def _succeeds(command: list[str], environment: dict[str, str]) -> bool:
    """Tell whether a command does what it should."""
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


def _start_munge(folder: Path, environment: dict[str, str]) -> int:
    """Start the daemon that vouches for who sends a message."""
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
    """Ask the system for ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _read_pid(path: Path) -> int:
    """Read a daemon's process number as soon as it has written it."""
    _wait_for(lambda: path.exists() and path.read_text().strip(), f"{path.name}", path.parent)
    return int(path.read_text())


def _states(environment: dict[str, str]) -> list[str]:
    """Ask for the nodes' states."""
    command = ["sinfo", "--noheader", "--Node", "--format", "%T"]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.split()


def _wait_for(done, what: str, folder: Path) -> None:
    """Wait until it is so, for 30 seconds at the most."""
    deadline = time.monotonic() + 30
    while not done():
        if time.monotonic() > deadline:
            logs = "".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
            raise TimeoutError(f"waited for {what}\n{logs}")
        time.sleep(0.1)


def _end(pid: int) -> None:
    """End a daemon, by force if it takes long."""
    try:
        daemon = psutil.Process(pid)
        daemon.terminate()
        daemon.wait(10)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        daemon.kill()


def _end_jobs(folder: Path) -> None:
    """End what runs the steps of jobs, and what these have started; no daemon starts more."""
    _wait_for(lambda: not _killed(folder), "what the jobs started to end", folder)


def _killed(folder: Path) -> list[psutil.Process]:
    """Kill what belongs to the nodes' jobs; return what still did."""
    found = [process for process in psutil.process_iter() if _belongs_to_a_job(process, folder)]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return found


def _belongs_to_a_job(process: psutil.Process, folder: Path) -> bool:
    """Tell whether a process runs a step of a node, or was started in one."""
    try:
        if process.name() == "slurmstepd":  # its title has overwritten its environment
            logs = {str(folder / f"slurmd-{node}.log") for node in NODES}
            return not logs.isdisjoint(file.path for file in process.open_files())
        return process.environ().get(MARK) == str(folder)
    except psutil.Error:  # it has ended, or is none of ours
        return False
