"""What every adapter promises, in one module a kind of promise; run by ``tests/test_conformance``.

Whatever a CRM lacks, its adapter declares, and the fallback is tested in its place: nothing here
skips. A CRM takes part by standing in the manifest.
"""

from pkgutil import iter_modules

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{one.name}" for one in iter_modules(__path__)))
