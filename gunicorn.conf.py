"""gunicorn's settings; every one can be overridden on the command line.

Threads share one writer that commits together whatever arrived meanwhile (see
``plugin/storage/inbox.py``), so one process answers well; more may run.
"""

bind = "127.0.0.1:8000"
worker_class = "gthread"
workers = 1
threads = 16
timeout = 30
graceful_timeout = 30
keepalive = 30
limit_request_line = 4094
limit_request_fields = 60
