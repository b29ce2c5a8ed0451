"""gunicorn's settings; every one can be overridden on the command line.

Threads share one writer that commits together whatever arrived meanwhile (see
``plugin/storage/inbox.py``), so one process answers well; more may run.
"""

import os
import subprocess
import sys
from pathlib import Path

bind = "127.0.0.1:8000"
worker_class = "plugin.web.server.Worker"
workers = 1
threads = 16
worker_connections = 512  # of a process; a new one takes the place of the oldest that waits
timeout = 30
graceful_timeout = 30
# Longer than proxies keep theirs (nginx and AWS 60 seconds, Heroku 90, Caddy 120): a delivery that
# a proxy sends just as the connection closes here would be answered with 502.
keepalive = 150
limit_request_line = 4094
limit_request_fields = 60
# Where a worker shows that it lives: memory, where there is such a place. A full disk would end
# gunicorn as a whole when it starts a worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# Nobody's header names the path or the scheme, also not that of a proxy on this machine: addresses
# are made from PUBLIC_URL.
forwarder_headers = ""
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
control_socket_disable = True  # it would lie in the home directory, one for all gunicorns there


def on_starting(server: object) -> None:  # noqa: ARG001 - gunicorn passes its master
    """A fault in the settings is told once, here, and not by every worker.

    In a process of its own: what the master has imported, a reload (HUP) would not renew.
    """
    done = subprocess.run(
        [sys.executable, "-c", "from plugin.app import check; check()"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    if done.returncode:
        sys.exit(done.returncode)
