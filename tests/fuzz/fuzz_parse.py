"""Coverage-guided fuzzing with atheris: what strangers send, what CRMs answer, what people write.

    make fuzz [SECONDS=60] [TARGET=parse-hubspot]

Each target runs for so many seconds in a process of its own, from the recorded deliveries on.
Whatever raises anything but the errors that are promised is printed, and kept as a file in
``crashes`` beside this one; ``python -m tests.fuzz.fuzz_parse TARGET FILE`` runs it again.
atheris is no part of our own environment: ``make fuzz`` gives it one.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["adapters", "schemas", "marshmallow"]):
    from adapters import signatures
    from adapters.markers import last_marker
    from adapters.rich_text import to_html, to_text
    from adapters.untrusted import read_json
    from plugin.registry import adapters

    adapters()  # loads them

from bench.machine import measured_on
from docs.tables import RELIABILITY, filled
from plugin.errors import PayloadError, SignatureError
from tests.conformance.crms import cases_of

HERE = Path(__file__).parent
CRASHES = HERE / "crashes"
MARKER = "[spiral:repair:aaaaaaaaaaaaaaaaaaaa]"
NOW = datetime(2026, 9, 14, 8, tzinfo=UTC)
Target = Callable[[bytes], None]


def parse(crm: str, body: bytes) -> None:
    """Reading a delivery at each of the CRM's addresses, and forgetting somebody in it."""
    adapter = adapters()[crm]
    for case in {one.received.topic: one for one in cases_of(crm)}.values():
        received = case.received_as(body)
        with contextlib.suppress(PayloadError):
            parsed = adapter.parse(received)
            ids = frozenset(event.record_id for event in parsed.events)
            left = adapter.redact(
                received, account_crm_id=received.account_crm_id, contact_ids=ids, words=["erika"]
            )
            if left:
                json.loads(left)


def verify(body: bytes) -> None:
    """Headers of any text, to every scheme: no other error, and nobody is let in."""
    data = atheris.FuzzedDataProvider(body)
    text = data.ConsumeUnicode(400)
    for check in _checks(text, body):
        try:
            check()
        except SignatureError:
            continue
        raise AssertionError(f"{check} let a stranger in")


def _checks(text: str, body: bytes) -> list[Callable[[], None]]:
    stamp, _, signature = text.partition("\n")
    at = {"x-hubspot-request-timestamp": stamp, "x-hubspot-signature-v3": signature}
    return [
        partial(
            signatures.verify_hubspot_v3,
            method="POST", url=text, headers=at, body=body, secrets=["secret"], now=NOW,
        ),
        partial(
            signatures.verify_espocrm,
            topic="Contact.update", headers={"signature": stamp, "x-signature": signature},
            body=body, secrets=["Contact.update:1:secret"],
        ),
        partial(
            signatures.verify_bottlecrm,
            headers={"x-bottlecrm-signature": text}, body=body, secrets=["secret"], now=NOW,
        ),
        partial(
            signatures.verify_basic,
            headers={"authorization": text}, user="spiral", passwords=["secret"],
        ),
    ]  # fmt: skip


def answer(body: bytes) -> None:
    """JSON that a CRM answers with."""
    with contextlib.suppress(ValueError):
        json.dumps(read_json(body), allow_nan=False).encode()


def text(body: bytes) -> None:
    """The body of a task, in which anybody may have written anything above our marker."""
    written = body.decode("utf-8", "replace") + MARKER
    assert last_marker(written) == last_marker(to_text(written)) == MARKER
    assert last_marker(to_text(to_html(to_text(written)))) == MARKER


def targets() -> Mapping[str, Target]:
    reading = {f"parse-{crm}": partial(parse, crm) for crm in adapters()}
    return {**reading, "signatures": verify, "answers": answer, "texts": text}


# ------------------------------------------------------------------------------- running


def seeds(name: str, folder: Path) -> None:
    """The recorded deliveries that this target begins with."""
    for crm in adapters():
        if name in (f"parse-{crm}", "answers"):
            for case in cases_of(crm):
                (folder / str(case)).write_bytes(case.body)
    if name == "signatures":
        for n, text in enumerate(
            ["1789372800000\nAAAA", "t=1789372800,v1=" + "0" * 64, "Basic eA=="]
        ):
            (folder / str(n)).write_text(text)


def run_all(seconds: int, only: str, *, write_docs: bool) -> int:
    """Every target in a process of its own; how many of them found something."""
    CRASHES.mkdir(exist_ok=True)
    found = 0
    rows = [
        f"{seconds} seconds each; {measured_on()}", "", "| target | runs | found |", "|---|--:|--:|"
    ]  # fmt: skip
    for name in [only] if only else targets():
        with tempfile.TemporaryDirectory() as corpus:
            seeds(name, Path(corpus))
            ran = subprocess.run(
                [sys.executable, "-m", "tests.fuzz.fuzz_parse", name, corpus,
                 f"-max_total_time={seconds}", f"-artifact_prefix={CRASHES}/{name}-",
                 "-max_len=20000", "-timeout=10", "-rss_limit_mb=1024"],
                check=False, capture_output=True, text=True, errors="replace",
            )  # fmt: skip
        told = ran.stderr.splitlines()
        last = next((line for line in told[::-1] if line.startswith(("#", "Done"))), "no run")
        sys.stdout.write(f"{name}: {last}\n")
        runs = re.search(r"[0-9]+", last)
        rows.append(f"| `{name}` | {int(runs[0]) if runs else 0:,} | {int(ran.returncode != 0)} |")
        if ran.returncode:
            found += 1
            sys.stdout.write("\n".join(["", *told[-40:], ""]))
        sys.stdout.flush()
    if write_docs:
        page = filled(RELIABILITY.read_text("utf-8"), "fuzz", "\n".join(rows))
        RELIABILITY.write_text(page, "utf-8")
    return found


def main() -> None:
    match sys.argv[1:]:
        case ["all", seconds, "--write-docs"]:
            sys.exit(run_all(int(seconds), "", write_docs=True) != 0)
        case ["all", seconds, *only]:
            sys.exit(run_all(int(seconds), only[0] if only else "", write_docs=False) != 0)
        case [name, path] if Path(path).is_file():
            targets()[name](Path(path).read_bytes())
        case [name, *_]:
            atheris.Setup([sys.argv[0], *sys.argv[2:]], targets()[name])
            atheris.Fuzz()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
