"""The environment → one frozen object. Whatever is missing or wrong is named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from plugin.errors import ConfigurationError
from plugin.reach import LOOPBACK, SETTING, Network, Reach, form_fault, read_networks
from plugin.registry import adapters

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_DATABASE_URL = f"sqlite:///{ROOT / 'instance' / 'referrals.db'}"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
KEY_LENGTH = 16
SECRET_LENGTH = 8
MAKE_A_KEY = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'


@dataclass(frozen=True, kw_only=True, slots=True)
class CrmSettings:
    """One CRM's settings. ``secrets`` sign its deliveries (several while rotating) where accounts
    share an address; ``token`` and ``app_id`` are the defaults for connecting an account;
    ``base_url`` is the API's, "" where an account has to tell it; ``admin`` is ``user:password``
    of an administrator, for installing."""

    name: str
    secret_setting: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    app_id: str = ""
    base_url: str
    token: str = field(default="", repr=False)
    admin: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All settings. ``secret_keys``: the current key first, then those being rotated out.
    ``database_url`` may hold a password. ``public_url`` is "" where it is not set.
    ``worker_threads``: how many accounts one worker process works for at the same time.
    ``delivery_days``: how long deliveries are kept after they were digested.
    ``crm_networks``: where a CRM may be, besides public addresses; see ``plugin.reach``."""

    database_url: str = field(default=DEFAULT_DATABASE_URL, repr=False)
    secret_keys: tuple[str, ...] = field(repr=False)
    public_url: str = ""
    log_level: str = "INFO"
    worker_threads: int = 8
    delivery_days: int = 30
    crm_networks: tuple[Network, ...] = ()
    crms: tuple[CrmSettings, ...] = ()

    def crm(self, name: str) -> CrmSettings:
        """One CRM's settings. Raises ``ConfigurationError`` where there is no such CRM."""
        for crm in self.crms:
            if crm.name == name:
                return crm
        known = ", ".join(crm.name for crm in self.crms)
        raise ConfigurationError(f"no CRM is called {name!r}; known are: {known}")

    def require_serving(self, *, own_addresses: bool) -> None:
        """Raises ``ConfigurationError`` naming all that receiving webhooks still needs: an
        address, and something to tell authentic deliveries by. ``own_addresses``: whether there
        are accounts with an address, and so secrets, of their own."""
        missing = []
        if not self.public_url:
            missing.append(
                "PUBLIC_URL is missing: the address under which the CRM reaches this server, "
                "such as https://referrals.example.com"
            )
        if not own_addresses and not any(crm.secrets for crm in self.crms):
            names = " or ".join(crm.secret_setting for crm in self.crms if crm.secret_setting)
            missing.append(
                f"{names} is missing: the secret with which the CRM signs webhooks. For other "
                "CRMs connect an account first: python -m plugin connect --help"
            )
        if missing:
            raise ConfigurationError("\n".join(missing))


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment, or from the one given.

    Without one, a ``.env`` file in the working directory fills in what the environment leaves
    unset. An empty value is as good as none. Raises ``ConfigurationError`` with all faults, a
    line each; the value of a setting is never in it, as it may be a secret, but for networks.
    """
    source = _Source(_environment() if environ is None else environ)
    networks = source.networks(SETTING)
    settings = Settings(
        database_url=source.text("DATABASE_URL", DEFAULT_DATABASE_URL),
        secret_keys=source.secrets("SECRET_KEY", KEY_LENGTH),
        public_url=source.public_url("PUBLIC_URL"),
        log_level=source.log_level("LOG_LEVEL"),
        worker_threads=source.number("WORKER_THREADS", 8, most=64),
        delivery_days=source.number("DELIVERY_DAYS", 30, most=3_650),
        crm_networks=networks,
        crms=tuple(source.crm(name, networks) for name in adapters()),
    )
    if not settings.secret_keys:
        source.faults.insert(0, f"SECRET_KEY is missing; make one with: {MAKE_A_KEY}")
    if source.faults:
        raise ConfigurationError("\n".join(source.faults))
    return settings


def _environment() -> dict[str, str]:
    try:
        # Without interpolation a "$" in a secret stays what it is; "-sig" drops the byte order
        # mark of Windows editors.
        file = dotenv_values(Path(".env"), interpolate=False, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f".env is not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise ConfigurationError(f".env cannot be read: {error.strerror}") from error
    return {**{name: value for name, value in file.items() if value is not None}, **os.environ}


class _Source:
    """Takes settings out of an environment and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.faults: list[str] = []

    def text(self, name: str, default: str = "") -> str:
        """The setting, or the default; a setting without a name is one the CRM does not have."""
        return self.environ.get(name, "").strip() or default

    def secrets(self, name: str, length: int) -> tuple[str, ...]:
        parts = tuple(part.strip() for part in self.text(name).split(",") if part.strip())
        if any(len(part) < length for part in parts):
            self.faults.append(
                f"{name} must have at least {length} characters (between commas, where there "
                "are several)"
            )
        return parts

    def public_url(self, name: str) -> str:
        value = self.text(name).rstrip("/")
        if value and (fault := form_fault(value) or _unsafe(value)):
            self.faults.append(f"{name} {fault}")
        return value

    def crm_url(self, name: str, default: str, reach: Reach) -> str:
        value = self.text(name, default).rstrip("/")
        if value and (fault := reach.url_fault(value)):
            self.faults.append(f"{name} {fault}")
        return value

    def networks(self, name: str) -> tuple[Network, ...]:
        try:
            return read_networks(self.text(name))
        except ValueError as error:
            self.faults.append(f"{name} {error}")
            return ()

    def login(self, name: str) -> str:
        value = self.text(name)
        user, _, password = value.partition(":")
        if value and not (user and password):
            self.faults.append(f"{name} must be user:password")
        return value

    def number(self, name: str, default: int, *, most: int) -> int:
        value = self.text(name, str(default))
        if not value.isascii() or not value.isdigit() or not 1 <= int(value[:9]) <= most:
            self.faults.append(f"{name} must be a whole number from 1 to {most}")
            return default
        return int(value)

    def log_level(self, name: str) -> str:
        level = self.text(name, "INFO").upper()
        if level not in LOG_LEVELS:
            self.faults.append(f"{name} must be one of {', '.join(LOG_LEVELS)}")
        return level

    def crm(self, name: str, networks: tuple[Network, ...]) -> CrmSettings:
        declared = adapters()[name].declaration
        return CrmSettings(
            name=name,
            secret_setting=declared.secret_setting,
            secrets=self.secrets(declared.secret_setting, SECRET_LENGTH),
            app_id=self.text(declared.app_id_setting),
            base_url=self.crm_url(
                declared.url_setting,
                declared.default_url,
                Reach(hosts=declared.hosts, networks=networks),
            ),
            token=self.text(declared.token_setting),
            admin=self.login(declared.admin_setting),
        )


def _unsafe(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        return "must begin with https:// (http:// is for this machine only)"
    return None
