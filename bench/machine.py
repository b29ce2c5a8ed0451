"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ("plugin", "adapters", "schemas", "gunicorn.conf.py", "requirements.txt", "bench")
"""Where a change that is not committed makes the commit's name untrue."""


def described() -> dict[str, object]:
    """The machine, its software, the commit and the day; nothing that names the host."""
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{system}, Linux {'.'.join(platform.release().split('.')[:2])}",
        "commit": _git("rev-parse", "--short=10", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--", *MEASURED)),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def measured_on() -> str:
    """The same in one sentence: the day and the commit."""
    told = described()
    changed = ", with changes not committed" if told["changed"] else ""
    return f"{str(told['at'])[:10]}, commit `{told['commit']}`{changed}."


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _git(*words: str) -> str:
    """What git says, "" outside a clone."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
