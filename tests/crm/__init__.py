"""The plugin against a real CRM, BottleCRM, run on this machine: ``make test-crm``.

Nobody here wrote what sends these webhooks and answers these calls.
"""
