"""What the kernel tells of processes (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The processes this one has started and that are still there."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pid: int) -> float:
    """Processor time it has had so far, in the kernel and outside."""
    # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: fields 14 and 15
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mb(pid: int | str = "self") -> float:
    """The most memory it has had at a time, in MB (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024 / 1e6
    raise RuntimeError(f"the kernel tells no VmHWM of {pid}")


def forget_peak(pid: int | str = "self") -> None:
    """Count ``peak_mb`` anew from what is used now."""
    # https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html
    Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")
