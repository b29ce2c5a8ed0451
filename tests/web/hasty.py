"""The repository's settings with shorter patience and less room, so that tests need not wait."""

import runpy
from pathlib import Path

from plugin.web import server

server.HEAD_SECONDS = 0.5
server.REQUEST_SECONDS = 1.0
server.ANSWER_SECONDS = 0.5
server.LINGER_SECONDS = 0.5
server.LOOK_EVERY = 0.1
server.MAX_HELD = 2**20

globals().update(
    {
        name: value
        for name, value in runpy.run_path(
            str(Path(__file__).resolve().parents[2] / "gunicorn.conf.py")
        ).items()
        if not name.startswith("_")
    }
)
keepalive = 1
