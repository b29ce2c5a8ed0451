"""The repository's settings on a machine that lets a process open few files."""

import resource
import runpy
from pathlib import Path

from plugin.web.server import FILES

resource.setrlimit(resource.RLIMIT_NOFILE, (FILES + 40, FILES + 40))

globals().update(
    {
        name: value
        for name, value in runpy.run_path(
            str(Path(__file__).resolve().parents[2] / "gunicorn.conf.py")
        ).items()
        if not name.startswith("_")
    }
)
