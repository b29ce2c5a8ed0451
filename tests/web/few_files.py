"""The repository's settings on a machine that lets a process open few files."""

import resource

from plugin.web.server import FILES
from tests.web.repository import settings

resource.setrlimit(resource.RLIMIT_NOFILE, (FILES + 40, FILES + 40))

globals().update(settings())
