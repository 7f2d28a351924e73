"""A real Slurm cluster of one machine, for as long as a test needs it.

As root, with Debian's packages slurm-wlm, slurmdbd, munge and mariadb-server. All daemons are
started by hand in a temporary folder, on loopback and ports of their own, and are gone at the end.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import psutil

PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch")
_CPUS = 4


def why_not() -> str | None:
    """Say what keeps this machine from having a cluster; None if nothing does."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"no {missing[0]}: apt-get install slurm-wlm slurmdbd munge mariadb-server"
    return None


class Cluster:
    """One controller, one node, one database of accounts; jobs run as root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._host = socket.gethostname().split(".")[0]
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, list[str]] = {}
        self._environ = os.environ.get("SLURM_CONF")

    def __enter__(self) -> "Cluster":
        for name in ("munge", "mysql", "state", "spool", "log"):
            (self.root / name).mkdir(mode=0o700)
        self._configure(*_free_ports(3))
        os.environ["SLURM_CONF"] = str(self.root / "slurm.conf")
        try:
            self._start_all()
        except BaseException:
            self._stop_all()
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        subprocess.run(["scancel", "--me"], check=False)
        wait_for(lambda: not _output("squeue", "--noheader"), 30)
        self._stop_all()

    def running(self) -> int:
        """Return how many jobs run."""
        states = _output("squeue", "--noheader", "--states=running", "--format=%A")
        return len(states.split())

    def kill_controller(self) -> None:
        """Kill slurmctld as a crash would."""
        self._daemons["slurmctld"].kill()
        self._daemons["slurmctld"].wait()

    def start_controller(self) -> None:
        """Start slurmctld from what it saved, and wait until it answers."""
        self._start("slurmctld")
        wait_for(lambda: "UP" in _output("scontrol", "ping"), 60)

    def _start_all(self) -> None:
        run = self.root
        subprocess.run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={run}/mysql", "--user=root"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._start("munged")
        self._start("mariadbd")
        wait_for(lambda: (run / "munge/socket").exists() and (run / "mysql/socket").exists(), 60)
        self._start("slurmdbd")
        accounts = ("sacctmgr", "--immediate", "add", "cluster", "stemma")
        wait_for(lambda: subprocess.run(accounts, capture_output=True).returncode == 0, 60)
        self._start("slurmctld")
        self._start("slurmd")
        wait_for(lambda: "idle" in _output("sinfo", "--noheader", "--format=%T"), 60)

    def _start(self, name: str) -> None:
        with (self.root / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [_program(name) or name, *self._commands[name]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"MYSQL_UNIX_PORT": str(self.root / "mysql/socket")},
            )

    def _stop_all(self) -> None:
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        left = [p for p in psutil.process_iter() if _of_job(p, self.root)]
        for process in left:
            process.kill()
        if self._environ is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = self._environ
        assert not left, f"the cluster left processes behind: {left}"

    def _configure(self, controller: int, node: int, accounts: int) -> None:
        run = self.root
        key = run / "munge/key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        munge = f"socket={run}/munge/socket"
        (run / "slurm.conf").write_text(
            _SLURM.format(
                run=run,
                host=self._host,
                munge=munge,
                controller=controller,
                node=node,
                accounts=accounts,
                cpus=_CPUS,
            )
        )
        database = run / "slurmdbd.conf"
        database.write_text(_SLURMDBD.format(run=run, munge=munge, accounts=accounts))
        database.chmod(0o600)
        self._commands = {
            "munged": [
                *("--foreground", "--force", f"--socket={run}/munge/socket"),
                *(f"--key-file={key}", f"--pid-file={run}/munge/pid"),
                *(f"--log-file={run}/munge/log", f"--seed-file={run}/munge/seed"),
            ],
            "mariadbd": [
                *("--no-defaults", f"--datadir={run}/mysql", "--user=root"),
                *(f"--socket={run}/mysql/socket", f"--pid-file={run}/mysql/pid"),
                *("--skip-networking", "--skip-grant-tables", "--innodb-buffer-pool-size=32M"),
            ],
            "slurmdbd": ["-D"],
            "slurmctld": ["-D"],
            "slurmd": ["-D"],
        }


_SLURM = """\
ClusterName=stemma
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthInfo={munge}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.pid
SlurmctldLogFile={run}/log/slurmctld
SlurmdLogFile={run}/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
SchedulerParameters=batch_sched_delay=0,sched_interval=5
MpiDefault=none
ReturnToService=2
SlurmdTimeout=20
KillWait=5
MinJobAge=10
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounts}
AccountingStoragePass={run}/munge/socket
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
"""

_SLURMDBD = """\
AuthType=auth/munge
CommunicationParameters=NoInAddrAny
AuthInfo={munge}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounts}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
LogFile={run}/log/slurmdbd
PidFile={run}/slurmdbd.pid
"""


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _of_job(process: psutil.Process, root: Path) -> bool:
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    mine = environment.get("SLURM_CONF") == str(root / "slurm.conf")
    return mine and process.pid != os.getpid() and "SLURM_JOB_ID" in environment


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def wait_for(done: Callable[[], bool], seconds: float) -> None:
    """Wait until something is so; fail if it does not come."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "the cluster does not do what it should"
        time.sleep(0.1)
