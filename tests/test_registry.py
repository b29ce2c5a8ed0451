"""From the manifest's names to adapters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from plugin import registry
from plugin.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two invented CRMs in the manifest, and nothing cached."""
    manifest = SimpleNamespace(crms={"alpha": object(), "beta": object()})
    monkeypatch.setattr(registry, "manifest", lambda: manifest)
    registry.adapters.cache_clear()
    yield
    registry.adapters.cache_clear()


def provide(monkeypatch: pytest.MonkeyPatch, **adapters: Any) -> None:
    """Put a module with this ADAPTER in place for each CRM."""
    for name, adapter in adapters.items():
        module = ModuleType(f"adapters.{name}")
        module.__dict__["ADAPTER"] = adapter
        monkeypatch.setitem(sys.modules, f"adapters.{name}", module)


def test_every_crm_of_the_manifest_has_its_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of the manifest, in its order, each with its module's ADAPTER."""
    provide(monkeypatch, beta="the second", alpha="the first")
    assert list(registry.adapters().items()) == [("alpha", "the first"), ("beta", "the second")]
    assert registry.adapter("beta") == "the second"


def test_adapters_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call answers from memory."""
    provide(monkeypatch, alpha="the first", beta="the second")
    assert registry.adapters() is registry.adapters()


def test_a_missing_module_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CRM without its module is an error, not a warning."""
    provide(monkeypatch, alpha="the first")
    with pytest.raises(ConfigurationError) as caught:
        registry.adapters()
    assert str(caught.value) == (
        "manifest.json names beta, but adapters.beta cannot be imported: "
        "No module named 'adapters.beta'"
    )


def test_a_module_without_adapter_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module must say which object is its adapter."""
    provide(monkeypatch, alpha="the first")
    monkeypatch.setitem(sys.modules, "adapters.beta", ModuleType("adapters.beta"))
    with pytest.raises(ConfigurationError, match=r"^adapters\.beta has no ADAPTER$"):
        registry.adapters()


def test_an_unknown_name_is_told_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error shows what could have been meant."""
    provide(monkeypatch, alpha="the first", beta="the second")
    with pytest.raises(ConfigurationError) as caught:
        registry.adapter("gamma")
    assert str(caught.value) == "no CRM is called 'gamma'; known are: alpha, beta"
