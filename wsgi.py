"""gunicorn's entry: ``gunicorn wsgi:app``."""

from plugin.app import serve

app = serve()
