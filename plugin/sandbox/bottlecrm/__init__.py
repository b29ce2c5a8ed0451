"""A real CRM for the demo and the tests: BottleCRM, run on this machine by ourselves.

It is installed by name (``django-crm``) into an environment of its own, as it needs Python 3.12
and top-level packages called ``tasks`` and ``contacts``. ``environment.py`` makes that,
``stage.py`` starts, seeds and connects it, ``crm.py`` is the CRM as the people of the story use
it, ``script.py`` says what plays out differently there and why. Whatever is in ``inside`` runs
within the CRM's own processes and imports nothing of the plugin.
"""
