# How ranks are started on the hosts of a lab, and which network they use, for each kind of launcher.
#
# The launcher is `mpirun`, or what LAMINA_LAB_MPIRUN names; what kind it is, it says itself. Each kind
# reaches the hosts through the lab's agent in place of ssh, and is kept to TCP on the lab's subnet:
# hosts share the machine's memory, which an MPI would find out.
#
# MPICH before 4.2 with UCX, such as Debian 12's, hangs in MPI_Finalize when hosts are joined by TCP: a
# rank that has closed its connections waits in a barrier of the launcher, and no longer answers those
# that close theirs. With LAMINA_LAB_NETWORK=memory ranks of MPICH use the memory after all, so that
# whatever does not look at the wire can be tested with it.
#
# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import subprocess


class LaunchError(Exception):
    """Why ranks cannot be started here, in one line."""


class OpenMpi:
    """Open MPI's mpirun."""

    name = "Open MPI"
    pmi = "pmix"  # of srun --mpi

    def __init__(self, program):
        self.program = program

    @staticmethod
    def _network(subnet):
        return {"pml": "ob1", "btl": "tcp,self", "btl_tcp_if_include": subnet,
                "oob_tcp_if_include": subnet}

    def environment(self, lab):
        """For ranks that Slurm starts, and for this launcher among them."""
        settings = {**self._network(lab.settings["subnet"]),
                    # Ranks that wait give way: the hosts of a lab share the machine's cores.
                    "mpi_yield_when_idle": 1}
        return {f"OMPI_MCA_{name}": str(value) for name, value in settings.items()}

    def command(self, lab, per_host):
        ranks = per_host * len(lab.hosts)
        mca = {
            "plm": "rsh", "plm_rsh_agent": lab.file("agent"), "plm_rsh_no_tree_spawn": 1,
            # Daemons stay in the sessions that the agent records.
            "orte_leave_session_attached": 1, "orte_tmpdir_base": lab.file("tmp"),
            **self._network(lab.settings["subnet"]),
            # Ranks that wait give way where there are more of them than cores.
            "mpi_yield_when_idle": int(ranks > len(os.sched_getaffinity(0))),
        }
        command = [self.program, "--allow-run-as-root", "--bind-to", "none", "--wdir", os.getcwd(),
                   "--host", ",".join(f"{host}:{per_host}" for host in lab.hosts), "-np", str(ranks)]
        for name, value in mca.items():
            command += ["--mca", name, str(value)]
        return command


class Hydra:
    """mpiexec of MPICH and of what came of it."""

    name = "MPICH"
    pmi = "pmi2"

    def __init__(self, program):
        self.program = program

    @staticmethod
    def environment(_):
        if os.environ.get("LAMINA_LAB_NETWORK") == "memory":
            return {"UCX_TLS": "sm,self"}
        return {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "eth0",  # ch4:ucx, as in Debian 12
                "FI_PROVIDER": "tcp", "FI_TCP_IFACE": "eth0"}  # ch4:ofi

    def command(self, lab, per_host):
        return [self.program, "-launcher", "rsh", "-launcher-exec", str(lab.file("agent")),
                "-localhost", str(lab.network[1]), "-bind-to", "none", "-wdir", os.getcwd(),
                "-hosts", ",".join(lab.hosts), "-ppn", str(per_host),
                "-n", str(per_host * len(lab.hosts))]


def launcher():
    """The launcher to use, of the kind that it is."""
    wanted = os.environ.get("LAMINA_LAB_MPIRUN", "mpirun")
    program = shutil.which(wanted)
    if program is None:
        raise LaunchError(f"{wanted} not found (package openmpi-bin or mpich)")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    for mark, kind in (("Open MPI", OpenMpi), ("OpenRTE", OpenMpi), ("HYDRA", Hydra)):
        if mark in said:
            return kind(program)
    raise LaunchError(f"{program} is neither Open MPI's nor MPICH's launcher: it says '{said[:60]}'")
