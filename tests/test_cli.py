"""``python -m plugin`` and ``gunicorn wsgi:app`` as an admin meets them."""

from __future__ import annotations

import io
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import click
import pytest
import requests
import sqlalchemy as sa

from plugin import app, cli
from plugin.sandbox.portal import CONTACTS, Portal
from plugin.sandbox.records import Fault, Sandbox
from plugin.sandbox.server import serving
from plugin.storage.database import Database
from plugin.storage.tables import account, delivery
from tests.databases import full_disk
from tests.e2e.installation import run_command
from tests.listening import free_port

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PATIENCE = 20.0  # seconds

SERVING = {
    "SECRET_KEY": "a-test-key-of-32-characters-long",
    "PUBLIC_URL": "https://referrals.example.com",
    "HUBSPOT_CLIENT_SECRET": "a-signing-secret",
}
"""What gunicorn needs."""

COMMANDS = (
    "configure",
    "connect",
    "db upgrade",
    "discard",
    "erase",
    "explain",
    "hubspot-project",
    "install",
    "keys forget",
    "keys rotate",
    "pause",
    "replay",
    "resume",
    "secret",
    "status",
    "subscribe",
    "sweep",
    "uninstall",
    "worker",
)
ARGUMENTS = {
    "configure": "hubspot --mode observe",
    "connect": "hubspot",
    "discard": "--quarantined",
    "erase": "hubspot 101",
    "explain": "hubspot 101",
    "hubspot-project": "folder",
    "install": "hubspot",
    "pause": "hubspot",
    "replay": "--quarantined",
    "resume": "hubspot",
    "secret": "bottlecrm",
    "subscribe": "espocrm",
    "sweep": "hubspot",
    "uninstall": "hubspot",
    "worker": "--until-idle",
}
"""The least that each command wants behind its name."""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Shell:
    """Runs commands in an empty folder, with these settings and no others."""

    def __init__(self, folder: Path, url: str, **environ: str) -> None:
        self.folder = folder
        self.url = url
        self.environ = {"DATABASE_URL": self.url, "SECRET_KEY": SERVING["SECRET_KEY"]} | environ

    def run(self, line: str, *, stdin: io.TextIOBase | None = None, **environ: str) -> Ran:
        """A command line within this process; "" takes a setting away."""
        ended = run_command(
            line.split(), environ=self._whole(environ), stdin=stdin or _Untouchable(), alone=True
        )
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    def start(
        self, line: str, *, at: int = subprocess.PIPE, **environ: str
    ) -> subprocess.Popen[str]:
        """``python -m plugin …`` as a process of its own, at pipes or at a terminal."""
        return subprocess.Popen(
            [sys.executable, "-m", "plugin", *line.split()],
            cwd=self.folder,
            env=self._whole(environ) | {"PYTHONPATH": str(ROOT)},
            stdin=at,
            stdout=at,
            stderr=at,
            text=True,
            start_new_session=True,
        )

    def _whole(self, environ: Mapping[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {name: value for name, value in {**kept, **self.environ, **environ}.items() if value}


class _Untouchable(io.TextIOBase):
    """A standard input that is no terminal, and that nobody should read."""

    def isatty(self) -> bool:
        return False

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> NoReturn:
        raise AssertionError("the command reads standard input")

    readline = read  # type: ignore[assignment]


@pytest.fixture
def shell(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Nothing is connected, and there is no CRM."""
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, database_url)


@pytest.fixture
def crm() -> Iterator[tuple[Sandbox, str]]:
    """A sandbox CRM and its address."""
    sandbox = Sandbox(Portal())
    with serving(sandbox) as url:
        yield sandbox, url


@pytest.fixture
def office(shell: Shell, crm: tuple[Sandbox, str]) -> Shell:
    """A shell with settings for the sandbox; nothing is connected yet."""
    sandbox, url = crm
    shell.environ |= {
        "CRM_NETWORKS": "127.0.0.0/8",
        "HUBSPOT_API_URL": url,
        "HUBSPOT_TOKEN": sandbox.portal.token,
    }
    return shell


def done(ran: Ran) -> str:
    """The output of a command that succeeded."""
    assert ran.code == 0, ran.err
    return ran.out


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -------------------------------------------------------------------------------- help


def every_command() -> dict[str, click.Command]:
    """Each command by its words, groups resolved."""
    found: dict[str, click.Command] = {}
    for name, command in cli._group().commands.items():
        if isinstance(command, click.Group):
            found |= {f"{name} {below}": one for below, one in command.commands.items()}
        else:
            found[name] = command
    return found


def test_the_commands_have_the_promised_names() -> None:
    """Others script against these names."""
    assert sorted(every_command()) == sorted(COMMANDS)


@pytest.mark.parametrize("words", ["", "db", *COMMANDS])
def test_every_command_explains_itself_without_any_setting(shell: Shell, words: str) -> None:
    """``--help`` shows usage and a sentence, and every option has one too."""
    shown = done(shell.run(f"{words} --help", SECRET_KEY="", DATABASE_URL=""))
    assert shown.startswith(f"Usage: python -m plugin {words}".rstrip())
    sentence = shown.partition("\n\n")[2].split("\n")[0].strip()
    assert sentence[:1].isupper(), shown
    assert sentence.endswith(".") or shown.count(".") > 0
    options = every_command()[words].params if words in COMMANDS else []
    silent = [o.name for o in options if isinstance(o, click.Option) and not (o.help or "")]
    assert silent in ([], ["account_id"])


def test_no_command_at_all_shows_what_there_is(shell: Shell) -> None:
    """Called alone it lists the commands, and counts as a wrong use."""
    ran = shell.run("")
    assert ran.code == 2
    listed = {line.split()[0] for line in ran.err.partition("Commands:")[2].splitlines() if line}
    assert {name.split()[0] for name in COMMANDS} <= listed


@pytest.mark.parametrize("group", ["", "db", "keys"])
def test_no_summary_is_cut(shell: Shell, group: str) -> None:
    """In a list each command has one whole sentence, at the width of a terminal."""
    listed = done(shell.run(f"{group} --help", COLUMNS="80")).partition("Commands:")[2]
    assert listed
    assert "..." not in listed


# ------------------------------------------------------------------------ wrong use


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("dance", "No such command 'dance'"),
        ("connect", "Missing argument 'hubspot|"),
        ("connect salesforce", "'salesforce' is not one of: hubspot, pipedrive"),
        ("connect hubspot --language fr", "'fr' is not one of 'de', 'en'"),
        ("connect hubspot --mode both", "'both' is not one of 'write', 'observe'"),
        ("connect hubspot --rating-from nps", "--rating-from must look like PROPERTY:nps"),
        ("connect hubspot --rating-from stars:five", "--rating-from must look like PROPERTY:nps"),
        ("connect hubspot --policy nowhere.toml", "--policy nowhere.toml cannot be read"),
        ("connect hubspot --app-id 7", "client secret of that app in HUBSPOT_CLIENT_SECRET"),
        ("configure hubspot", "nothing to change"),
        ("pause hubspot", "no hubspot account is connected: run `python -m plugin connect hubspot"),
        ("explain hubspot 101", "no hubspot account is connected"),
        ("replay", "name one of: DELIVERY_ID, --quarantined, --parked"),
        ("replay 7 --quarantined", "name one of: DELIVERY_ID, --quarantined, --parked"),
        ("replay seven", "'seven' is not a valid integer"),
        ("replay 7", "DELIVERY_ID 7: no such delivery is stored"),
        ("discard", "name one of: DELIVERY_ID, --quarantined"),
        ("discard 7 --quarantined", "name one of: DELIVERY_ID, --quarantined"),
        ("discard 7 --yes", "DELIVERY_ID 7: no such delivery is in quarantine"),
        ("hubspot-project folder", "PUBLIC_URL is missing"),
        ("worker --until-dawn", "No such option"),
    ],
)
def test_a_wrong_use_is_named(shell: Shell, line: str, says: str) -> None:
    """Exit 2, one clear sentence on standard error, no traceback."""
    ran = shell.run(line)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_a_folder_that_cannot_be_written_is_named(shell: Shell) -> None:
    """``hubspot-project`` says which folder, and why."""
    (shell.folder / "taken").write_text("a file")
    for line in ("hubspot-project taken", "hubspot-project taken/below"):
        ran = shell.run(line, **SERVING)
        assert ran.code == 2
        assert "taken" in ran.err


@pytest.mark.sqlite("a server's database is not made by the plugin")
@pytest.mark.parametrize("words", COMMANDS)
def test_a_missing_secret_key_stops_every_command(shell: Shell, words: str) -> None:
    """Exit 2, and the setting is named; no database is made."""
    url = f"sqlite:///{shell.folder / 'referrals.db'}"
    ran = shell.run(f"{words} {ARGUMENTS.get(words, '')}", SECRET_KEY="", DATABASE_URL=url)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("SECRET_KEY is missing")
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "DATABASE_URL is no valid database address"),
        ("postgresql+psycopg://spiral:pa55word@db:port/x", "is no valid database address"),
        ("mysql://spiral:pa55word@db/x", "must begin with sqlite:/// or postgresql+psycopg://"),
        ("postgresql+psycopg2://spiral:pa55word@db/x", "must begin with sqlite:///"),
        ("postgresql://spiral:1234@pa55word@db/x", "more than one @: percent-encode the password"),
        ("postgresql://spiral:1@db/pa55word@db:1/x", "more than one @: percent-encode"),
        ("postgresql://spiral:1@db?pa55word@db:1/x", "more than one @: percent-encode"),
        ("postgresql://db/x?port=pa55word", "DATABASE_URL has an option that is not valid"),
        ("sqlite:///x.db?timeout=pa55word", "DATABASE_URL has an option that is not valid"),
        ("postgresql://127.0.0.1:1/x?pa55word=1", "no database there: its port or an option is"),
        ("sqlite:///:memory:", "DATABASE_URL must name a file"),
        ("sqlite:////proc/nowhere/referrals.db", "DATABASE_URL: /proc/nowhere cannot be made"),
    ],
)
def test_a_wrong_database_is_named_without_its_password(shell: Shell, url: str, says: str) -> None:
    """Exit 2; what is shown may end in a ticket or a log."""
    ran = shell.run("status", DATABASE_URL=url)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert "pa55word" not in ran.err
    assert "Traceback" not in ran.err


def test_a_database_that_does_not_answer_may_answer_later(shell: Shell) -> None:
    """Exit 1, as with a CRM that is down: whoever starts the plugin may try again."""
    ran = shell.run("status", DATABASE_URL="postgresql://spiral:pa55word@127.0.0.1:1/x")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("DATABASE_URL: no database there: ")
    assert ran.err.count("\n") == 1
    assert "\\t" not in ran.err
    assert "pa55word" not in ran.err


@pytest.mark.parametrize(
    "option", ["sslmode=pa55word", "keepalives_idle=pa55word", "service=pa55word"]
)
def test_an_option_of_the_database_that_is_wrong_is_not_shown(shell: Shell, option: str) -> None:
    """The driver would quote it, and it may be a piece of the password."""
    ran = shell.run("status", DATABASE_URL=f"postgresql://127.0.0.1:1/x?{option}")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "DATABASE_URL: no database there: its port or an option is not valid\n"


def test_a_name_with_an_at_sign_needs_no_encoding(shell: Shell) -> None:
    """As some hosters have them; a password with one does, and then is a password."""
    for url in ("spiral@server:pa55word@127.0.0.1:1/x", "spiral:pa%4055word@127.0.0.1:1/x"):
        ran = shell.run("status", DATABASE_URL=f"postgresql://{url}")
        assert ran.code == 1
        assert "Connection refused" in ran.err
        assert "55word" not in ran.err


@pytest.mark.sqlite("a file")
def test_a_file_that_is_no_database_is_left_alone(shell: Shell) -> None:
    """Exit 2, and the file keeps its content."""
    file = shell.folder / "referrals.db"
    file.write_text("shopping list\n" * 100)
    ran = shell.run("status", DATABASE_URL=f"sqlite:///{file}")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "DATABASE_URL: no database there: file is not a database\n"
    assert file.read_text() == "shopping list\n" * 100


@pytest.mark.sqlite("a disk")
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("line", ["status", "worker --until-idle"])
def test_a_full_disk_is_no_fault_of_the_settings(shell: Shell, line: str, old: bool) -> None:
    """Exit 1, which a service manager tries again, and soon there is room."""
    if old:
        (shell.folder / "referrals.db").touch()
        shell.environ["DATABASE_URL"] = f"sqlite:///{shell.folder}/referrals.db"
    with full_disk():
        ran = shell.run(line)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "DATABASE_URL: the database cannot be used: disk I/O error\n"
    assert shell.run(line).code == 0


@contextmanager
def usual_umask() -> Iterator[None]:
    """With which others may read new files."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.sqlite("files")
@pytest.mark.parametrize(("before", "after"), [(None, 0o600), (0o640, 0o640)])
def test_only_who_runs_it_reads_the_database(
    tmp_path: Path, before: int | None, after: int
) -> None:
    """Nor what lies beside it, in a folder that everybody may read; a file that is there keeps the
    mode an admin gave it, and what lies beside it gets the same."""
    file = tmp_path / "referrals.db"
    if before is not None:
        file.touch()
        file.chmod(before)
    with usual_umask(), closing(Database(f"sqlite:///{file}")) as database:
        database.require_current()
        found = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()}
    assert found == {f"referrals.db{ending}": after for ending in ("", "-wal", "-shm", ".lock")}


@pytest.mark.sqlite("a file")
def test_a_database_file_that_cannot_be_made_is_named(shell: Shell) -> None:
    """Exit 2, as with a folder that cannot."""
    (shell.folder / "referrals.db").symlink_to("/proc/nowhere/referrals.db")
    ran = shell.run("status", DATABASE_URL=f"sqlite:///{shell.folder}/referrals.db")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("referrals.db cannot be made: No such file or directory\n")


def test_a_fault_in_the_policy_names_its_line(office: Shell) -> None:
    """Exit 2; nothing is connected with half a policy."""
    (office.folder / "house.toml").write_text("[asks]\n\nper_owner_and_week = 0\n")
    ran = office.run("connect hubspot --policy house.toml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "house.toml, line 3: [asks] per_owner_and_week must be between 1 and 100, not 0\n"
    )
    assert "No account is connected" in done(office.run("status"))


# -------------------------------------------------------------------------- connecting


def test_a_wrong_token_is_refused_and_never_repeated(office: Shell) -> None:
    """Exit 1: the CRM would not; the message says so and does not show the token."""
    ran = office.run("connect hubspot", HUBSPOT_TOKEN="pat-eu1-wrong-token")
    assert (ran.code, ran.out) == (1, "")
    assert "HubSpot answered 401 INVALID_AUTHENTICATION" in ran.err
    assert "wrong-token" not in ran.err


def test_a_crm_that_is_not_there_is_named(office: Shell) -> None:
    """Exit 1 where nobody answers at the API's address."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ran = office.run("connect hubspot", HUBSPOT_API_URL=url)
    assert (ran.code, ran.out) == (1, "")
    assert "HubSpot did not answer GET /account-info/" in ran.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "connect espocrm --url https://10.1.2.3/espo",
            "--url leads to 10.1.2.3, which is no public address; where that is meant, put "
            "10.1.2.3, or the network it is in, into CRM_NETWORKS\n",
        ),
        (
            "connect pipedrive --url https://evil.example.com",
            "--url must be at *.pipedrive.com, or at an address in CRM_NETWORKS\n",
        ),
        (
            "connect bottlecrm --url http://crm.example.com",
            "--url must begin with https:// (http:// is for addresses in CRM_NETWORKS only)\n",
        ),
    ],
)
def test_an_address_where_no_crm_should_be_is_refused(shell: Shell, line: str, says: str) -> None:
    """Exit 2, before a token is asked for; the setting that would allow it is named."""
    assert shell.run(line, stdin=io.StringIO("token")) == Ran(2, "", says)


def test_without_a_token_nothing_is_asked_where_nobody_can_answer(office: Shell) -> None:
    """Exit 2 on an empty standard input, with the two ways to give one."""
    ran = office.run("connect hubspot", stdin=io.StringIO(""), HUBSPOT_TOKEN="")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "Access token of HubSpot is missing: set HUBSPOT_TOKEN, or pipe it in: `… < secret.txt`\n"
    )


def test_an_unknown_fallback_owner_is_refused_with_the_known_ones(office: Shell) -> None:
    """Exit 2; who is there stands in the message, so that the right one can be chosen."""
    ran = office.run("connect hubspot --fallback-owner 999")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("--fallback-owner 999: no active user has this id: 64492917 (")
    assert "No account is connected" in done(office.run("status"))


def test_the_token_of_standard_input_is_seen_nowhere(
    office: Shell, crm: tuple[Sandbox, str]
) -> None:
    """Not in the process list while connecting, nor in any output or log, nor on the disk."""
    sandbox, _ = crm
    with sandbox.lock:
        sandbox.faults.append(Fault(delay=1.0, path="/account-info/"))
    process = office.start("connect hubspot", HUBSPOT_TOKEN="", LOG_LEVEL="DEBUG")
    assert process.stdin is not None
    process.stdin.write(f"{sandbox.portal.token}\n")
    process.stdin.flush()
    until(lambda: not sandbox.faults)
    of_process = Path("/proc") / str(process.pid)
    if of_process.exists():
        seen = (of_process / "cmdline").read_bytes() + (of_process / "environ").read_bytes()
        assert b"connect" in seen
        assert sandbox.portal.token.encode() not in seen
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert f"Connected HubSpot account {sandbox.portal.portal_id}" in out
    assert "/account-info/" in err, "debug lines are shown"
    assert sandbox.portal.token not in out + err
    stored = b"".join(file.read_bytes() for file in office.folder.iterdir())
    assert sandbox.portal.token.encode() not in stored


def test_a_terminal_is_asked_for_the_token_which_is_not_shown(
    office: Shell, crm: tuple[Sandbox, str]
) -> None:
    """Where somebody sits in front of it, ``connect`` asks, and what is typed stays unseen."""
    sandbox, _ = crm
    terminal, theirs = pty.openpty()
    process = office.start("connect hubspot", at=theirs, HUBSPOT_TOKEN="")
    os.close(theirs)
    shown = b""
    answered = False
    with _ends(process):
        while part := _from_terminal(terminal):
            shown += part
            if b"Access token of HubSpot:" in shown and not answered:
                os.write(terminal, sandbox.portal.token.encode() + b"\n")
                answered = True
        assert process.wait(PATIENCE) == 0, shown
    os.close(terminal)
    assert b"Connected HubSpot account" in shown
    assert sandbox.portal.token.encode() not in shown


def _from_terminal(terminal: int) -> bytes:
    """What is shown next; nothing once the other side has hung up."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


# --------------------------------------------------------------------- a whole working day


def test_from_connecting_to_uninstalling(office: Shell, crm: tuple[Sandbox, str]) -> None:
    """Each command says what it did, and ``status`` shows it."""
    sandbox, _ = crm
    portal = sandbox.portal.portal_id
    shown = done(office.run("connect hubspot --language en", **SERVING))
    assert shown == (
        f"Connected HubSpot account {portal}.\n"
        "Webhooks go to https://referrals.example.com/webhooks/hubspot\n"
        "\nHubSpot sends webhooks as an app project tells it:\n"
        "  python -m plugin hubspot-project my-hubspot-app\n"
        "  (cd my-hubspot-app && hs account auth && hs project upload)\n\n"
        "Next: python -m plugin install hubspot\n"
    )
    assert "not installed yet: run `python -m plugin install hubspot`" in done(office.run("status"))

    shown = done(office.run("install hubspot --dry-run"))
    assert shown.count(" create") == 20
    assert shown.endswith("Dry run: nothing was changed.\n")
    assert sandbox.properties.find("contacts", "spiral_stage") is None
    assert done(office.run("install hubspot")).endswith("Installed: 19 of 19 fields are there.\n")
    assert done(office.run("install hubspot --dry-run")).count(" keep") == 20
    assert "state       working" in done(office.run("status"))

    assert "observing, nothing is written" in _after(office, "configure hubspot --mode observe")
    assert "state       paused" in _after(office, "pause hubspot")
    assert "observing, nothing is written" in _after(office, "resume hubspot")
    assert "state       working" in _after(office, "configure hubspot --mode write")

    anna = sandbox.create(CONTACTS, {"firstname": "Anna"}, sandbox.person())
    shown = done(office.run("sweep hubspot"))
    assert shown.startswith("1 modified records and 0 vanished contacts are looked at again")
    assert "contacts    1 known, 0 decided" in done(office.run("status"))
    shown = done(office.run(f"explain hubspot {anna.id}"))
    assert (
        shown
        == f"Anna · {anna.id}\nNot decided about yet: nothing has been heard of this contact.\n"
    )
    assert office.run("explain hubspot 7") == Ran(
        2, "", "CONTACT_ID 7: no such contact is known here\n"
    )

    assert done(office.run("uninstall hubspot --dry-run")).endswith("nothing was changed.\n")
    assert done(office.run("uninstall hubspot --delete-data")).endswith(
        f"Uninstalled; account {portal} is paused.\n"
    )
    assert sandbox.properties.find("contacts", "spiral_stage") is None
    assert "state       paused" in done(office.run("status"))


def _after(shell: Shell, line: str) -> str:
    done(shell.run(line))
    return done(shell.run("status"))


def test_where_several_accounts_are_connected_one_has_to_be_named(office: Shell) -> None:
    """Exit 2 with their ids; ``--account`` chooses, and a wrong one is named."""
    done(office.run("connect hubspot"))
    database = Database(office.url)
    with database.write() as connection:
        first = connection.execute(sa.select(account)).one()._asdict()
        second = {**first, "id": 2, "crm_id": "7654321", "name": ""}
        connection.execute(sa.insert(account).values(second))
    database.close()
    ids = f"{first['crm_id']}, 7654321"

    for words in ("configure", "explain", "install", "pause", "resume", "sweep", "uninstall"):
        ran = office.run(f"{words} {ARGUMENTS[words]}")
        assert (ran.code, ran.out, ran.err) == (
            2,
            "",
            f"several hubspot accounts are connected: name one with --account ({ids})\n",
        )
    assert done(office.run("pause hubspot --account 7654321")).startswith("Paused account 7654321.")
    assert office.run("pause hubspot --account 1") == Ran(
        2, "", "--account 1: no such hubspot account is connected\n"
    )


def test_the_project_files_are_written_where_asked(shell: Shell) -> None:
    """The three files HubSpot's own tooling uploads, for the public address."""
    shown = done(shell.run("hubspot-project upload/here", **SERVING))
    written = sorted(
        str(path.relative_to(shell.folder))
        for path in (shell.folder / "upload").rglob("*")
        if path.is_file()
    )
    assert sorted(shown.split()) == written
    assert written == [
        "upload/here/hsproject.json",
        "upload/here/src/app/app-hsmeta.json",
        "upload/here/src/app/webhooks/webhooks-hsmeta.json",
    ]
    webhooks = (shell.folder / written[-1]).read_text("utf-8")
    assert '"https://referrals.example.com/webhooks/hubspot"' in webhooks


# -------------------------------------------------------------------------- the quarantine


def store(shell: Shell, *states: str) -> None:
    """A delivery in each of these states; the first has the id 1."""
    common = {"crm": "hubspot", "endpoint": "", "received_at": 0, "body": b"[]"}
    with closing(Database(shell.url)) as database, database.write() as connection:
        connection.execute(sa.insert(delivery), [{**common, "state": state} for state in states])


def kept(shell: Shell) -> dict[int, str]:
    with closing(Database(shell.url)) as database, database.read() as connection:
        rows = connection.execute(sa.select(delivery.c.id, delivery.c.state))
        return dict(sorted((row.id, row.state) for row in rows))


def test_only_what_is_in_quarantine_can_be_discarded(shell: Shell) -> None:
    """By its number; what waits to be digested, or was, is named like what was never there."""
    store(shell, "new", "done", "quarantined", "quarantined")
    for number in (1, 2, 9):
        assert shell.run(f"discard {number} --yes") == Ran(
            2, "", f"DELIVERY_ID {number}: no such delivery is in quarantine\n"
        )
    assert done(shell.run("discard 4 --yes")) == "1 deliveries are forgotten.\n"
    assert kept(shell) == {1: "new", 2: "done", 3: "quarantined"}


def test_the_quarantine_is_emptied_in_portions(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that webhooks need not wait; an empty one is no error."""
    monkeypatch.setattr("plugin.pipeline.retention.BATCH", 2)
    store(shell, "quarantined", "new", *["quarantined"] * 4, "done")
    assert done(shell.run("discard --quarantined --yes")) == "5 deliveries are forgotten.\n"
    assert done(shell.run("discard --quarantined")) == "0 deliveries are forgotten.\n"
    assert kept(shell) == {2: "new", 7: "done"}


def test_nothing_is_discarded_without_consent(shell: Shell) -> None:
    """How many it is about is said; where nobody can be asked, --yes is needed."""
    store(shell, "quarantined", "quarantined")
    question = "Forget 2 quarantined deliveries for good?"
    assert shell.run("discard --quarantined") == Ran(
        2, "", f"{question} Nobody can be asked here: say --yes\n"
    )
    for typed, code, left in ((b"n\n", 130, 2), (b"y\n", 0, 0)):
        ours, theirs = pty.openpty()
        process = shell.start("discard --quarantined", at=theirs)
        os.close(theirs)
        os.write(ours, typed)
        shown = b""
        while part := _from_terminal(ours):
            shown += part
        os.close(ours)
        assert question in shown.decode()
        assert process.wait(PATIENCE) == code
        assert len(kept(shell)) == left


# -------------------------------------------------------------------------- the worker


def test_an_idle_worker_ends_by_itself(shell: Shell) -> None:
    """``worker --until-idle`` with nothing to do exits 0, without asking anything."""
    process = shell.start("worker --until-idle")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("wish", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_stops_when_told(shell: Shell, wish: signal.Signals) -> None:
    """Exit 0, soon, and no word of a fault."""
    process = shell.start("worker")
    with _ends(process):
        until(lambda: _catches(process, signal.SIGTERM))  # it sees to the other signal first
        started = time.monotonic()
        process.send_signal(wish)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "", "")
    assert time.monotonic() - started < 10


def _catches(process: subprocess.Popen[str], wish: signal.Signals) -> bool:
    """Whether the process has a handler of its own for this signal (Linux)."""
    status = (Path("/proc") / str(process.pid) / "status").read_text("ascii")
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (wish - 1) & 1)


@contextmanager
def _ends(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens, the process does not outlive the test."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


# ---------------------------------------------------------------------------- gunicorn


def gunicorn(folder: Path, url: str, *options: str, **environ: str) -> subprocess.Popen[str]:
    """The real server with the repository's own settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    settings = {"DATABASE_URL": url} | SERVING | environ
    return subprocess.Popen(
        [str(BIN / "gunicorn"), "-c", str(ROOT / "gunicorn.conf.py"), *options, "wsgi:app"],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT)} | {k: v for k, v in settings.items() if v},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("missing", "workers"),
    [
        (("SECRET_KEY",), 1),
        (("PUBLIC_URL",), 1),
        (("HUBSPOT_CLIENT_SECRET",), 1),
        (("PUBLIC_URL", "HUBSPOT_CLIENT_SECRET"), 3),
    ],
)
def test_gunicorn_does_not_start_without_its_settings(
    database_url: str, tmp_path: Path, missing: tuple[str, ...], workers: int
) -> None:
    """It ends by itself, not with 0, having named each missing setting once."""
    options = ("-b", "127.0.0.1:0", "-w", str(workers))
    process = gunicorn(tmp_path, database_url, *options, **dict.fromkeys(missing, ""))
    with _ends(process):
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode not in (0, None)
    assert [err.count(f"{name} is missing") for name in missing] == [1] * len(missing)
    assert "Traceback" not in err
    assert "Booting worker" not in err


def test_gunicorn_does_not_start_with_the_key_of_another_installation(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    """Nothing could be checked, and whoever was erased would not be known."""
    with database.write() as connection:
        values = {"crm": "hubspot", "crm_id": "1", "token": "of another key", "connected_at": 0}
        connection.execute(sa.insert(account), values)
    process = gunicorn(tmp_path, database_url, "-b", "127.0.0.1:0")
    with _ends(process):
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode not in (0, None)
    assert err.count("SECRET_KEY fits none of 1 connected accounts") == 1
    assert "Traceback" not in err


def test_workers_without_settings_stop_gunicorn_under_other_settings_too(
    database_url: str, tmp_path: Path
) -> None:
    """Without the repository's ``gunicorn.conf.py`` the workers' own check stops it."""
    process = gunicorn(tmp_path, database_url, "-c", os.devnull, "-b", "127.0.0.1:0", SECRET_KEY="")
    with _ends(process):
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode not in (0, None)
    assert err.count("SECRET_KEY is missing") == 1
    assert err.count("Booting worker") == 1


def test_a_web_process_that_finds_no_database_is_started_again(tmp_path: Path) -> None:
    """A server that restarts must not end gunicorn for good; where none is there at all when
    gunicorn itself starts, that ends with 1, which systemd tries again."""
    away = "postgresql://spiral@127.0.0.1:1/x"
    process = gunicorn(tmp_path, away, "-c", os.devnull, "-b", "127.0.0.1:0")
    with _ends(process):
        said = 0
        while said < 2:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line, "gunicorn ended"
            said += "DATABASE_URL: no database there" in line
    process = gunicorn(tmp_path, away, "-b", "127.0.0.1:0")
    with _ends(process):
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert err.count("DATABASE_URL: no database there") == 1


def test_a_database_that_goes_while_gunicorn_starts_is_no_fault_of_the_settings(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends with 1, as where it was away before, and without a traceback."""

    def gone(_connection: object) -> NoReturn:
        raise sa.exc.OperationalError("SELECT", {}, OSError("server closed the connection"))

    for name, value in (SERVING | {"DATABASE_URL": database_url}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(app, "retired_keys", gone)
    monkeypatch.setattr(app, "AGAIN_IN", 0.0)
    with pytest.raises(SystemExit) as ended:
        app.serve()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "DATABASE_URL: server closed the connection\n"


def test_gunicorn_answers_and_stops_when_told(database_url: str, tmp_path: Path) -> None:
    """With good settings ``/health`` is 200; SIGTERM ends it at once, open connections or not."""
    port = free_port()
    process = gunicorn(tmp_path, database_url, "-b", f"127.0.0.1:{port}", "-w", "2")
    with _ends(process), requests.Session() as browser:
        until(lambda: _answers(browser, f"http://127.0.0.1:{port}/health"))
        answer = browser.get(f"http://127.0.0.1:{port}/health", timeout=PATIENCE)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert browser.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE).status_code == 404
        started = time.monotonic()
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
        assert time.monotonic() - started < 10
    assert process.returncode == 0
    assert "Traceback" not in err
    for secret in (SERVING["SECRET_KEY"], SERVING["HUBSPOT_CLIENT_SECRET"]):
        assert secret not in err


def _answers(browser: requests.Session, url: str) -> bool:
    try:
        return browser.get(url, timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False
