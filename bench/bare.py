"""What the receiver is compared with: as little as Flask can do. ``gunicorn bench.bare:app``."""

from __future__ import annotations

from flask import Flask, Response, request

app = Flask("bare", static_folder=None)


@app.post("/bare")
def bare() -> Response:
    """204, and nothing else."""
    return Response(status=204)


@app.post("/read")
def read() -> Response:
    """Read the body, then 204."""
    request.get_data(cache=False)
    return Response(status=204)
