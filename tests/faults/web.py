"""gunicorn's entry for a run, see ``entry.py``."""

from tests.faults.entry import prepare

prepare()

from plugin.app import serve  # noqa: E402 (the clock comes first)

app = serve()
