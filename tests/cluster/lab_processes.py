# The processes of a lab: started, recorded, found again and ended; and no others.
#
# SPDX-License-Identifier: Apache-2.0
import ctypes
import os
import pathlib
import signal
import subprocess
import time

SET_CHILD_SUBREAPER = 36  # of linux/prctl.h
MARK = "LAMINA_LAB_ID"  # in the environment of all that a lab starts


def stat_of(pid):
    """The fields of /proc/PID/stat from the state on, or None when there is no such process."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def start_time(pid):
    """When a process started, in the kernel's ticks; None when there is none. Ids are used again."""
    fields = stat_of(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def session_of(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def with_ancestors(pid):
    family = set()
    while pid > 0:
        family.add(pid)
        fields = stat_of(pid)
        pid = 0 if fields is None else int(fields[1])
    return family


def carries(pid, mark):
    try:
        return mark in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


class Processes:
    """What a lab started, by a folder of records and an id that is the lab's own (or None).

    A record is named after a process that leads a session, and holds its start time."""

    def __init__(self, records, lab_id):
        self.records = records
        self.lab_id = lab_id

    def _sessions(self):
        sessions = set()
        for record in self.records.glob("*"):
            leader = int(record.name)
            now = start_time(leader)
            try:
                then = record.read_text().strip()
            except FileNotFoundError:
                continue  # its supervisor has just seen it end
            # An id stays taken while a session has its name: a dead leader's members are ours, too.
            if now is None or str(now) == then:
                sessions.add(leader)
        return sessions

    def alive(self):
        """Members of the sessions that the lab opened; descendants that left them and still carry its
        mark; and all that any of these has started. Not who asks, which may be one of them."""
        sessions = self._sessions()
        mark = f"{MARK}={self.lab_id}".encode() if self.lab_id else None
        others = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        others -= with_ancestors(os.getpid())
        others = {pid for pid in others if start_time(pid) is not None}
        ours = {pid for pid in others
                if session_of(pid) in sessions or (mark and carries(pid, mark))}
        # A job manager opens sessions for its jobs, and a job may have asked for a clean environment.
        return [pid for pid in others if pid in ours or with_ancestors(pid) & ours]

    def start(self, command, adopts=False, **options):
        """Start a command in a session of its own, and record it; options of subprocess.Popen.

        Who adopts stays the ancestor of all that it starts, also of daemons and orphans."""

        def record():  # in the child, before it becomes the command, so none can go unrecorded
            (self.records / str(os.getpid())).write_text(str(start_time(os.getpid())))
            if adopts:
                ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)

        # pylint: disable=subprocess-popen-preexec-fn # there are no threads
        return subprocess.Popen(command, start_new_session=True, preexec_fn=record,
                                env={**os.environ, MARK: self.lab_id}, **options)

    def supervise(self, command):
        """Run a command as `start` does, recorded while it runs; its exit code."""
        child = self.start(command)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: child.send_signal(number))
        code = child.wait()
        if not [pid for pid in self.alive() if session_of(pid) == child.pid]:
            (self.records / str(child.pid)).unlink(missing_ok=True)
        return code if code >= 0 else 128 - code

    def end(self, patience_s=3.0):
        """Ask all to end, then make them; those that do not."""
        known = {}  # with start times, as an orphan may no longer be seen to be ours
        for number in (signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + patience_s
            told = set()
            while time.monotonic() < end:
                known |= {pid: start_time(pid) for pid in self.alive()}
                alive = {pid for pid, then in known.items() if then and start_time(pid) == then}
                if not alive:
                    return []
                for pid in alive - told:  # also who was started only just now
                    told.add(pid)
                    try:
                        os.kill(pid, number)
                    except ProcessLookupError:
                        pass
                time.sleep(0.02)
        return sorted(alive)
