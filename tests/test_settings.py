"""From the environment to one frozen object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace

import pytest

from plugin import registry, settings
from plugin.errors import ConfigurationError
from plugin.reach import read_networks
from plugin.settings import CrmSettings, Settings, load_settings

KEY = "key-0123456789abcdef"
SECRET = "signing-secret"
ENOUGH = {"SECRET_KEY": KEY, "PUBLIC_URL": "https://example.com", "ACME_SECRET": SECRET}


def declared(name: str) -> SimpleNamespace:
    """An adapter that declares its settings and nothing else."""
    upper = name.upper()
    return SimpleNamespace(
        declaration=SimpleNamespace(
            secret_setting=f"{upper}_SECRET",
            url_setting=f"{upper}_URL",
            default_url=f"https://api.{name}.example.com",
            hosts=("api.zeta.example.com",) if name == "zeta" else (),
            token_setting=f"{upper}_TOKEN",
            app_id_setting=f"{upper}_APP_ID",
            admin_setting=f"{upper}_ADMIN",
        )
    )


@pytest.fixture(autouse=True)
def _two_crms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two invented CRMs, so that nothing here knows a real one."""
    both = {"acme": declared("acme"), "zeta": declared("zeta")}
    monkeypatch.setattr(settings, "adapters", lambda: both)


def faults(environ: Mapping[str, str]) -> list[str]:
    """The lines of the error this environment raises."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ)
    return str(caught.value).split("\n")


# ------------------------------------------------------------------------ what is read


def test_a_secret_key_is_enough_to_start() -> None:
    """All else has a default; an empty value is as good as none."""
    loaded = load_settings({"SECRET_KEY": KEY, "PUBLIC_URL": "", "LOG_LEVEL": " "})
    root = Path(settings.__file__).parent.parent
    assert loaded == Settings(
        database_url=f"sqlite:///{root}/instance/referrals.db",
        secret_keys=(KEY,),
        public_url="",
        log_level="INFO",
        crms=(
            CrmSettings(
                name="acme",
                secret_setting="ACME_SECRET",
                base_url="https://api.acme.example.com",
            ),
            CrmSettings(
                name="zeta",
                secret_setting="ZETA_SECRET",
                base_url="https://api.zeta.example.com",
            ),
        ),
    )


def test_every_setting_is_read() -> None:
    """Spaces around a value and slashes at the end of an address go."""
    loaded = load_settings(
        {
            "SECRET_KEY": KEY,
            "DATABASE_URL": "postgresql+psycopg://user:password@localhost/referrals",
            "PUBLIC_URL": " https://example.com/referrals/ ",
            "LOG_LEVEL": "debug",
            "ZETA_SECRET": SECRET,
            "CRM_NETWORKS": "10.0.0.0/8, 127.0.0.1,, fd00::/8",
            "ZETA_URL": "http://127.0.0.1:8080/",
            "ZETA_TOKEN": "token",
            "ZETA_APP_ID": "77",
            "ZETA_ADMIN": "admin:password",
        }
    )
    assert loaded.database_url == "postgresql+psycopg://user:password@localhost/referrals"
    assert loaded.public_url == "https://example.com/referrals"
    assert loaded.log_level == "DEBUG"
    assert loaded.crm_networks == read_networks("10.0.0.0/8,127.0.0.1/32,fd00::/8")
    assert loaded.crm("zeta") == CrmSettings(
        name="zeta",
        secret_setting="ZETA_SECRET",
        secrets=(SECRET,),
        app_id="77",
        base_url="http://127.0.0.1:8080",
        token="token",
        admin="admin:password",
    )


def test_secrets_are_several_while_rotating() -> None:
    """Separated by commas, the current one first; blanks between commas are none."""
    loaded = load_settings(
        {"SECRET_KEY": f" {KEY} ,, old-{KEY},", "ACME_SECRET": ",new-secret, old-secret"}
    )
    assert loaded.secret_keys == (KEY, f"old-{KEY}")
    assert loaded.crm("acme").secrets == ("new-secret", "old-secret")


def test_an_unknown_crm_is_told_the_known_ones() -> None:
    """A typing error shows what could have been meant."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(ENOUGH).crm("omega")
    assert str(caught.value) == "no CRM is called 'omega'; known are: acme, zeta"


def test_settings_are_frozen_and_show_no_secret() -> None:
    """Neither a traceback nor a log tells a secret; nothing changes them later."""
    secrets = {
        "SECRET_KEY": "hidden-0123456789",
        "ACME_SECRET": "hidden-secret",
        "ACME_TOKEN": "hidden-token",
        "ACME_ADMIN": "admin:hidden-password",
        "DATABASE_URL": "postgresql+psycopg://user:hidden-password@localhost/referrals",
    }
    loaded = load_settings(secrets)
    assert "hidden" not in repr(loaded)
    with pytest.raises(FrozenInstanceError):
        loaded.public_url = "https://example.org"  # type: ignore[misc]


# ------------------------------------------------------------------------ the .env file


def test_the_env_file_fills_in_what_the_environment_leaves_unset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The environment wins; a "$" in a secret and a byte order mark change nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PUBLIC_URL", "https://example.com")
    monkeypatch.delenv("SECRET_KEY", raising=False)
    Path(".env").write_text(
        f"\ufeffSECRET_KEY={KEY}$HOME${{HOME}}\nPUBLIC_URL=https://example.org\nACME_TOKEN\n",
        "utf-8",
    )
    loaded = load_settings()
    assert loaded.secret_keys == (f"{KEY}$HOME${{HOME}}",)
    assert loaded.public_url == "https://example.com"


def test_a_given_environment_is_all_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the process's environment nor a .env file leaks into it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PUBLIC_URL", "https://example.com")
    Path(".env").write_text("LOG_LEVEL=DEBUG\n", "utf-8")
    loaded = load_settings({"SECRET_KEY": KEY})
    assert (loaded.public_url, loaded.log_level) == ("", "INFO")


def test_an_env_file_that_is_no_text_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Saved in another encoding, it is refused and not misread."""
    monkeypatch.chdir(tmp_path)
    Path(".env").write_bytes("SECRET_KEY=schlüssel".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"^\.env is not UTF-8 at byte 15$"):
        load_settings()


def test_the_example_names_every_setting_and_sets_none() -> None:
    """What can be set is in .env.example; a copy of it holds no secret somebody else knows."""
    lines = (settings.ROOT / ".env.example").read_text("utf-8").splitlines()
    written = [line for line in lines if line and not line.startswith("#")]
    declarations = [adapter.declaration for adapter in registry.adapters().values()]
    crms = {
        name
        for d in declarations
        for name in (
            d.secret_setting, d.app_id_setting, d.token_setting, d.url_setting, d.admin_setting
        )
        if name
    }  # fmt: skip
    general = {
        "SECRET_KEY", "PUBLIC_URL", "DATABASE_URL", "LOG_LEVEL", "CRM_NETWORKS", "WORKER_THREADS",
        "DELIVERY_DAYS",
    }  # fmt: skip
    assert sorted(written) == sorted(f"{name}=" for name in general | crms)


# ------------------------------------------------------------------------ what is refused


def test_a_missing_secret_key_is_named_with_how_to_make_one() -> None:
    """The first start tells the one command that is needed."""
    assert faults({}) == [
        "SECRET_KEY is missing; make one with: "
        'python -c "import secrets; print(secrets.token_urlsafe(32))"'
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("SECRET_KEY", f"{KEY},shortshortshort"), ("ACME_SECRET", "1234567")]
)
def test_a_short_secret_is_refused_and_not_shown(name: str, value: str) -> None:
    """Each one between commas counts; the error can be pasted into a ticket."""
    (fault,) = faults({"SECRET_KEY": KEY, name: value})
    assert re.match(rf"{name} must have at least (16|8) characters", fault)
    assert value.split(",")[-1] not in fault


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/referrals",
        "http://localhost:5000",
        "http://127.0.0.1",
        "http://[::1]:5000",
    ],
)
@pytest.mark.parametrize("name", ["PUBLIC_URL", "ACME_URL"])
def test_an_address_is_https_or_this_machine(name: str, url: str) -> None:
    """Or, for a CRM, a network of one's own. What is fine stays as it is written."""
    loaded = load_settings({**ENOUGH, "CRM_NETWORKS": "127.0.0.0/8, ::1", name: url})
    assert url == (loaded.public_url if name == "PUBLIC_URL" else loaded.crm("acme").base_url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://example.com", "must begin with https:// and a host"),
        ("example.com", "must begin with https:// and a host"),
        ("https://", "must begin with https:// and a host"),
        ("https://example.com:port", "is no valid address"),
        ("https://[::1", "is no valid address"),
        ("https://hidden:word@example.com", "must not hold a user name or password"),
        ("http://hidden@localhost", "must not hold a user name or password"),
        ("https://example.com?hidden=1", "must not have a query or fragment"),
        ("https://example.com/#", "must not have a query or fragment"),
        ("https://exa mple.com", "must be written in plain ASCII without spaces"),
        ("https://example.com/\tx", "must be written in plain ASCII without spaces"),
        ("https://bäckerei.example.com", "must be written in plain ASCII without spaces"),
        ("https://example.com\\@localhost", "must be written in plain ASCII without spaces"),
    ],
)
@pytest.mark.parametrize("name", ["PUBLIC_URL", "ACME_URL"])
def test_another_address_is_refused_and_not_shown(name: str, url: str, said: str) -> None:
    """The same rules hold for our address and for the CRM's."""
    assert faults({**ENOUGH, name: url}) == [f"{name} {said}"]


@pytest.mark.parametrize("url", ["http://example.com", "http://127.0.0.1.example.com"])
def test_an_address_without_encryption_is_refused(url: str) -> None:
    """Ours is for this machine only; a CRM's is for networks of one's own."""
    assert faults({**ENOUGH, "PUBLIC_URL": url}) == [
        "PUBLIC_URL must begin with https:// (http:// is for this machine only)"
    ]
    assert faults({**ENOUGH, "ACME_URL": url}) == [
        "ACME_URL must begin with https:// (http:// is for addresses in CRM_NETWORKS only)"
    ]


@pytest.mark.parametrize(
    ("name", "url", "said"),
    [
        (
            "ACME_URL",
            "https://10.1.2.3",
            "leads to 10.1.2.3, which is no public address; where that is meant, put 10.1.2.3, or "
            "the network it is in, into CRM_NETWORKS",
        ),
        (
            "ZETA_URL",
            "https://zeta.example.com",
            "must be at api.zeta.example.com, or at an address in CRM_NETWORKS",
        ),
    ],
)
def test_an_address_where_no_crm_should_be_is_refused(name: str, url: str, said: str) -> None:
    """One that is private, or another host than the CRM's own; until the operator allows it."""
    assert faults({**ENOUGH, name: url}) == [f"{name} {said}"]


@pytest.mark.parametrize("networks", ["intern", "10.0.0.0/33", "10.0.0.0-10.0.0.9"])
def test_networks_that_are_none_are_refused_and_not_shown(networks: str) -> None:
    """Which one it is tells its number."""
    assert faults({**ENOUGH, "CRM_NETWORKS": f"127.0.0.1, {networks}, ::1"}) == [
        "CRM_NETWORKS must be networks such as 10.0.0.0/8, with commas between them; number 2 is "
        "none"
    ]


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "2000::/3"])
def test_networks_that_hold_half_the_internet_are_refused(network: str) -> None:
    """They would switch the guard off."""
    assert faults({**ENOUGH, "CRM_NETWORKS": f"127.0.0.1, {network}"}) == [
        f"CRM_NETWORKS must be networks of your own; {network} is too broad for one"
    ]
    assert load_settings({**ENOUGH, "CRM_NETWORKS": "10.0.0.0/8, fc00::/7"}).crm_networks


def test_an_address_with_a_prefix_is_told_both_readings() -> None:
    """Whether one machine was meant or the network, nobody guesses."""
    assert faults({**ENOUGH, "CRM_NETWORKS": "::1, 10.0.0.1/8"}) == [
        "CRM_NETWORKS must be networks: number 2 is the address 10.0.0.1, or the network "
        "10.0.0.0/8, not both"
    ]


def test_an_unknown_log_level_is_told_the_known_ones() -> None:
    """The words are those of the standard library."""
    assert faults({**ENOUGH, "LOG_LEVEL": "loud"}) == [
        "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"
    ]


@pytest.mark.parametrize("login", ["admin", "admin:", ":hidden"])
def test_half_an_administrators_login_is_refused(login: str) -> None:
    """Both stand in one setting; neither is shown."""
    assert faults({**ENOUGH, "ACME_ADMIN": login}) == ["ACME_ADMIN must be user:password"]


def test_all_faults_are_told_at_once() -> None:
    """Nobody has to start five times to find five faults."""
    environ = {"PUBLIC_URL": "x", "LOG_LEVEL": "x", "ACME_SECRET": "x", "ZETA_URL": "x"}
    names = [fault.split(" ")[0] for fault in faults(environ)]
    assert names == ["SECRET_KEY", "PUBLIC_URL", "LOG_LEVEL", "ACME_SECRET", "ZETA_URL"]


# ------------------------------------------------------------------------ serving


def test_an_address_and_one_signing_secret_are_enough_to_serve() -> None:
    """A CRM that is not used needs no secret."""
    load_settings(ENOUGH).require_serving(own_addresses=False)


def test_accounts_with_addresses_of_their_own_need_no_shared_secret() -> None:
    """What signs their deliveries is kept with them."""
    environ = {"SECRET_KEY": KEY, "PUBLIC_URL": "https://example.com"}
    load_settings(environ).require_serving(own_addresses=True)


def test_all_that_serving_needs_is_named() -> None:
    """The address, and which settings could hold a signing secret."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"SECRET_KEY": KEY}).require_serving(own_addresses=False)
    assert str(caught.value).split("\n") == [
        "PUBLIC_URL is missing: the address under which the CRM reaches this server, such as "
        "https://referrals.example.com",
        "ACME_SECRET or ZETA_SECRET is missing: the secret with which the CRM signs webhooks. "
        "For other CRMs connect an account first: python -m plugin connect --help",
    ]
