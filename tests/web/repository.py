"""The repository's settings for gunicorn, for the tests' own to begin with."""

import runpy
from pathlib import Path
from typing import Any


def settings() -> dict[str, Any]:
    """Name → value, as ``gunicorn.conf.py`` sets them."""
    read = runpy.run_path(str(Path(__file__).resolve().parents[2] / "gunicorn.conf.py"))
    return {name: value for name, value in read.items() if not name.startswith("_")}
