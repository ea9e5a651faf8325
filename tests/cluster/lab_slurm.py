# Slurm over the hosts of a lab: munged and slurmctld beside the launcher, one slurmd on each host.
#
# The daemons stay in the foreground of sessions that the lab records, so it ends them, and no others,
# like all that it starts. Their configuration, key, sockets, ports and logs are this lab's own: a
# Slurm of the machine, or of another lab, is neither seen nor disturbed.
#
# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import re
import secrets
import shutil
import socket
import subprocess
import time

DAEMONS = ["munged", "slurmctld", "slurmd"]
PATIENCE_S = 30.0
CORES_PER_HOST = 4  # said, not counted: hosts share the machine's


class SlurmError(Exception):
    """What failed, in one line."""


def find(program):
    """Daemons are in /usr/sbin, which not everybody's PATH has."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def missing():
    """What must be installed first; an empty list when nothing is missing."""
    wanted = [*DAEMONS, "srun", "sbatch", "scontrol", "sinfo"]
    return [program for program in wanted if find(program) is None]


def free_port(address):
    with socket.create_server((address, 0)) as server:
        return server.getsockname()[1]


class Slurm:
    """folder: all of its files; lab gives hosts, addresses, processes and how to enter a host."""

    def __init__(self, lab, folder, enter, pmi):
        self.lab = lab
        self.folder = pathlib.Path(folder)
        self.enter = enter  # (host, command) -> command that runs it there
        self.pmi = pmi  # how ranks that srun starts find each other, when it is not told

    @property
    def is_up(self):
        return (self.folder / "ready").exists()

    @property
    def environment(self):
        """For Slurm's commands, and for the jobs that they start."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def _configuration(self):
        folder, lab = self.folder, self.lab
        launcher = str(lab.network[1])
        first, last = lab.hosts[0], lab.hosts[-1]
        lines = {
            "ClusterName": "lab",
            "SlurmctldHost": f"{socket.gethostname().split('.')[0]}({launcher})",
            "SlurmctldPort": free_port(launcher),
            "SlurmUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={folder}/munge/socket",
            "CredType": "cred/munge",
            "StateSaveLocation": folder / "state",
            "SlurmctldPidFile": folder / "slurmctld.pid",
            "SlurmctldLogFile": folder / "slurmctld.log",
            # Of each host its own: with one TmpFS the second host's pmix plugin says "File exists".
            "SlurmdSpoolDir": f"{folder}/spool/%n",
            "SlurmdPidFile": f"{folder}/%n.pid",
            "SlurmdLogFile": f"{folder}/%n.log",
            "TmpFS": f"{folder}/tmp/%n",
            # Neither cgroups nor binding: the hosts' cores are the same ones.
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "SlurmdParameters": "config_overrides",
            "MpiDefault": self.pmi,
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core",
            "ReturnToService": 2,
            "JobRequeue": 1,
            # A lost host is noticed, and a lost job is over, within a test's patience.
            "SlurmdTimeout": 10,
            "KillWait": 2,
            "SchedulerParameters": "sched_interval=1,sched_min_interval=0,batch_sched_delay=0",
        }
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        for host in lab.hosts:
            text += (f"NodeName={host} NodeAddr={lab.address(host)} CPUs={CORES_PER_HOST} "
                     f"Boards=1 SocketsPerBoard=1 CoresPerSocket={CORES_PER_HOST} ThreadsPerCore=1\n")
        nodes = first if first == last else f"h[1-{len(lab.hosts)}]"
        return text + f"PartitionName=lab Nodes={nodes} Default=YES MaxTime=INFINITE State=UP\n"

    def _make_folders(self):
        for name in ("munge", "state", *(f"{kind}/{host}" for kind in ("spool", "tmp")
                                         for host in self.lab.hosts)):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        (self.folder / "slurm.conf").write_text(self._configuration())

    def _start(self, name, command):
        with (self.folder / f"{name}.out").open("w") as out:
            # slurmd's steps become daemons, and write their titles over their environment: they, and
            # jobs that hide, are known by their ancestor.
            return self.lab.processes.start(command, adopts=True, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out)

    def _complaint(self, name):
        """The last words of a daemon."""
        lines = []
        for path in (self.folder / f"{name}.log", self.folder / f"{name}.out"):
            lines += path.read_text(errors="replace").splitlines() if path.exists() else []
        errors = [line for line in lines if re.search("error|fatal", line, re.IGNORECASE)]
        return (errors or lines or ["it said nothing"])[-1]

    def _wait(self, daemons, what, is_done):
        end = time.monotonic() + PATIENCE_S
        while not is_done():
            for name, daemon in daemons.items():
                if daemon.poll() is not None:
                    raise SlurmError(f"{name} ended with exit code {daemon.returncode}: "
                                     f"{self._complaint(name)}")
            if time.monotonic() > end:
                said = "; ".join(f"{name}: {self._complaint(name)}" for name in daemons)
                raise SlurmError(f"no {what} within {PATIENCE_S:.0f} s; {said}")
            time.sleep(0.05)

    def _idle_hosts(self):
        done = subprocess.run([find("sinfo"), "-h", "-N", "-t", "idle", "-o", "%N"], text=True,
                              capture_output=True, check=False,
                              env={**os.environ, **self.environment})
        return done.stdout.split()

    def up(self):
        """All daemons, ready for jobs on every host; or none."""
        if self.is_up:
            return
        daemons = {}
        try:
            self._make_folders()
            self._start_daemons(daemons)
            (self.folder / "ready").touch()
        except BaseException:
            for daemon in daemons.values():
                daemon.terminate()
            for daemon in daemons.values():
                daemon.wait()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _start_daemons(self, daemons):
        folder, munge = self.folder, self.folder / "munge"
        # By force: it wants folders that everybody may enter, and the only user here is root.
        daemons["munged"] = self._start("munged", [
            find("munged"), "--foreground", "--force", f"--socket={munge}/socket",
            f"--key-file={munge}/key", f"--pid-file={munge}/pid", f"--seed-file={munge}/seed",
            f"--log-file={folder}/munged.log"])
        self._wait(daemons, "socket of munged", (munge / "socket").exists)
        conf = f"{folder}/slurm.conf"
        daemons["slurmctld"] = self._start("slurmctld", [find("slurmctld"), "-D", "-c", "-f", conf])
        for host in self.lab.hosts:
            daemons[host] = self._start(host, self.enter(host, [
                "env", f"SLURM_CONF={conf}", find("slurmd"), "-D", "-N", host, "-f", conf]))
        self._wait(daemons, "idle hosts", lambda: set(self._idle_hosts()) == set(self.lab.hosts))
