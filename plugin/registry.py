"""CRM name → adapter: the one place that turns a name of the manifest into code."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from plugin.errors import ConfigurationError
from plugin.manifest import manifest
from plugin.ports import Adapter


@cache
def adapters() -> Mapping[str, Adapter]:
    """Every CRM of the manifest with its adapter, in the manifest's order.

    Raises ``ConfigurationError`` where one cannot be imported: a server that starts without
    one of its CRMs would refuse that CRM's deliveries.
    """
    return {name: _load(name) for name in manifest().crms}


def adapter(name: str) -> Adapter:
    """The adapter of one CRM. Raises ``ConfigurationError`` where there is none."""
    try:
        return adapters()[name]
    except KeyError:
        known = ", ".join(adapters())
        raise ConfigurationError(f"no CRM is called {name!r}; known are: {known}") from None


def _load(name: str) -> Adapter:
    try:
        module = import_module(f"adapters.{name}")
    except ImportError as error:
        raise ConfigurationError(
            f"manifest.json names {name}, but adapters.{name} cannot be imported: {error}"
        ) from error
    found: Adapter | None = getattr(module, "ADAPTER", None)
    if found is None:
        raise ConfigurationError(f"adapters.{name} has no ADAPTER")
    return found
