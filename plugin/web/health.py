"""Is this process up, and is its database there?"""

from __future__ import annotations

import sqlalchemy as sa
from flask import Blueprint

from plugin.storage.database import Database


def health(database: Database) -> Blueprint:
    """``GET /health``: 200 where a delivery could be stored, 503 where not."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/health")
    def show() -> tuple[dict[str, str], int]:
        try:
            with database.write() as connection:
                connection.execute(sa.select(1))
        except (sa.exc.SQLAlchemyError, OSError):
            return {"status": "no database"}, 503
        return {"status": "ok"}, 200

    return blueprint
