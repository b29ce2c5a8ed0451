"""Bad weather: every refusal becomes the right error, waits as told, and gives nothing away."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count, cycle
from typing import Any

import pytest
from requests.adapters import HTTPAdapter
from urllib3 import Timeout

from plugin.errors import (
    CrmError,
    CrmRateLimited,
    CrmRejected,
    CrmUnauthorized,
    CrmUnavailable,
    PayloadError,
    RecordGone,
    SignatureError,
)
from plugin.ports import FieldUpdate, LinkUpdate, Received, Session, TaskDraft, TaskUpdate
from tests.conformance.account import Account, draft
from tests.conformance.promise import Promise
from tests.stand_in import Fault

LONGEST = 60.0
"""Seconds without a byte after which nobody should still be waiting."""
QUOTING = (
    b'{"status":"error","success":false,"error":"Wrong: secret-word","error_info":"secret-word",'
    b'"message":"Wrong: secret-word","detail":"secret-word","code":"secret-word x",'
    b'"errors":[{"message":"secret-word","code":"secret-word!"}],"context":{"a":["secret-word"]},'
    b'"messageTranslation":{"label":"secret-word x","data":{"value":"secret-word"}},'
    b'"data":{"email":"secret-word"}}'
)
"""An error that repeats what was sent, wherever a CRM may put it."""
ODD_ANSWERS = [
    b"", b"null", b"[]", b"{}", b'"x"', b"7", b"[1]", b"[[]]", b'{"data":7}', b"\xff",
    b'{"list":{},"total":"x"}', b'{"results":7,"data":{"x":null},"success":true}',
    b'{"list":[7],"data":[7],"results":[7]}', b"<html>Wartung</html>",
]  # fmt: skip
WRONG_TOKEN = "a-wrong-token-0123456789abcdef0123456789"
REFUSALS = (400, 401, 403, 404, 409, 422, 429, 500)
TIME = datetime(2026, 9, 1, tzinfo=UTC)


def _reads(contact: str, task: str) -> dict[str, Callable[[Session], object]]:
    return {
        "account": lambda s: s.account(),
        "users": lambda s: s.users(),
        "list_contacts": lambda s: s.list_contacts(None),
        "contacts_changed_since": lambda s: s.contacts_changed_since(TIME, None),
        "deals_changed_since": lambda s: s.deals_changed_since(TIME, None),
        "existing": lambda s: s.existing([contact]),
        "load": lambda s: s.load([contact], history=False, known_deals={}),
        "read_tasks": lambda s: s.read_tasks([task]),
        "find_tasks": lambda s: s.find_tasks([contact]),
        "plan_install": lambda s: s.plan_install(),
        "installed_fields": lambda s: s.installed_fields(),
    }


def _writes(contact: str, task: str) -> dict[str, Callable[[Session], object]]:
    update = FieldUpdate(contact_id=contact, values={"spiral_stage": "loyalty"})
    return {
        "write_fields": lambda s: s.write_fields([update]),
        "create_tasks": lambda s: _create(s, draft("k9", contact)),
        "update_tasks": lambda s: s.update_tasks([TaskUpdate(crm_id=task, done=True)]),
        "delete_tasks": lambda s: s.delete_tasks([task]),
    }


class TestBadWeather(Promise):
    @pytest.fixture
    def ready(self, account: Account) -> Account:
        account.install()
        return account

    @pytest.fixture
    def contact(self, ready: Account) -> str:
        contact = ready.crm.contact("Erika", "Muster")
        ready.crm.deal(contact)
        return contact

    @pytest.fixture
    def task(self, ready: Account, contact: str) -> str:
        return ready.session().create_tasks([draft("k0", contact)]).crm_ids["k0"]

    @pytest.fixture
    def works(self, contact: str, task: str) -> dict[str, Callable[[Session], object]]:
        """All that goes out to the CRM, by the name of the method."""
        return {**_reads(contact, task), **_writes(contact, task)}

    def test_a_bad_token_stops_the_account(
        self, ready: Account, works: dict[str, Callable[[Session], object]]
    ) -> None:
        """Whatever is asked for: nobody counts as gone. Not too often: some CRMs lock the door."""
        for name in ("account", "load", "write_fields", "create_tasks", "plan_install"):
            with pytest.raises(CrmUnauthorized) as caught:
                works[name](ready.session(token=WRONG_TOKEN, admin=""))
            assert caught.value.status in ready.crm.wrong_token_answers, name

    def test_wrong_keys_of_others_do_not_stop_us(self, account: Account) -> None:
        """Where a CRM locks everybody out for a while, that is over by itself."""
        for _ in range(15):
            with pytest.raises(CrmError):
                account.session(token=WRONG_TOKEN, admin="").account()

        with contextlib.suppress(CrmRateLimited, CrmUnavailable):
            assert account.session().account().crm_id == account.crm.account_crm_id

    def test_what_cannot_be_a_token_is_never_sent(self, account: Account) -> None:
        """An empty one, or one with characters that no header holds."""
        for token in ("", " ", "a b", "a\nb", "ä"):
            with pytest.raises(CrmUnauthorized):
                account.session(token=token, admin="").account()

        assert account.crm.calls == []

    def test_too_many_requests_wait_as_told(
        self, ready: Account, works: dict[str, Callable[[Session], object]]
    ) -> None:
        """429 on whatever call: at once, without another try, with the seconds to wait."""
        for name, work in works.items():
            ready.crm.calls.clear()
            ready.crm.faults[:] = [Fault(status=429, headers={"Retry-After": "7"}, times=99)]
            with pytest.raises(CrmRateLimited) as caught:
                work(ready.session())
            assert caught.value.retry_after == 7.0, name
            assert len(ready.crm.calls) == 1, name

    @pytest.mark.parametrize(
        ("header", "least", "most"),
        [("0.5", 0.5, 0.5), ("", 0.1, 86_400), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.1, 86_400),
         ("soon", 0.1, 86_400)],
    )  # fmt: skip
    def test_too_many_requests_wait_at_all_times(
        self, account: Account, header: str, least: float, most: float
    ) -> None:
        """Where the CRM does not say how long, or in words we do not know: a sensible while."""
        headers = {"Retry-After": header} if header else {}
        account.crm.faults[:] = [Fault(status=429, headers=headers, times=99)]

        with pytest.raises(CrmRateLimited) as caught:
            account.session().account()

        assert least <= caught.value.retry_after <= most

    def test_a_crm_that_is_down_is_unavailable(
        self, ready: Account, works: dict[str, Callable[[Session], object]]
    ) -> None:
        """Trying again may help: reads and updates are tried a few times, creations never."""
        statuses = cycle([500, 502, 503, 504])
        for name, work in works.items():
            status = next(statuses)
            ready.crm.calls.clear()
            ready.crm.faults[:] = [Fault(status=status, times=99)]
            with pytest.raises(CrmUnavailable) as caught:
                work(ready.session())
            assert caught.value.status == status, name
            posts = [call for call in ready.crm.calls if call.method == "POST"]
            assert len(ready.crm.calls) <= 3, name
            assert name != "create_tasks" or len(posts) <= 1

    def test_one_stumble_is_nobodys_concern(
        self, ready: Account, works: dict[str, Callable[[Session], object]], pauses: list[float]
    ) -> None:
        """A read or an update that fails once is sent again, after a pause."""
        del works["create_tasks"]
        for name, work in works.items():
            for fault in (Fault(status=503), Fault(lost=True)):
                pauses.clear()
                ready.crm.faults[:] = [fault]
                work(ready.session())
                assert pauses, name
                assert 0 < sum(pauses) < 5, name

    @pytest.mark.parametrize(
        ("status", "error"),
        [(404, RecordGone), (410, RecordGone), (400, CrmRejected), (422, CrmRejected),
         (302, CrmRejected), (401, CrmUnauthorized)],
    )  # fmt: skip
    def test_a_refusal_has_its_class(
        self, account: Account, status: int, error: type[CrmError]
    ) -> None:
        """Trying again is useless; each says which call it was."""
        account.crm.faults[:] = [Fault(status=status, times=99)]

        with pytest.raises(error) as caught:
            account.session().account()

        assert type(caught.value) is error
        assert caught.value.status == status
        assert caught.value.crm == account.crm.name
        assert caught.value.operation
        assert str(status) in str(caught.value)

    def test_an_answer_of_an_odd_form_is_an_error_of_ours(
        self, ready: Account, works: dict[str, Callable[[Session], object]]
    ) -> None:
        """A proxy's page, a list in place of an object: never a ``KeyError``, and never taken for
        a record that is gone."""
        gone = []
        for name, work in works.items():
            for body in ODD_ANSWERS:
                ready.crm.faults[:] = [Fault(status=200, body=body, times=99)]
                try:
                    work(ready.session())
                except RecordGone:
                    gone.append((name, body))
                except CrmError:
                    pass

        assert gone == []

    def test_an_answer_of_an_odd_form_makes_nothing_vanish(
        self, ready: Account, contact: str, task: str
    ) -> None:
        """Whoever is not in it is not therefore deleted: in doubt it is an error."""
        vanished: list[tuple[str, bytes, object]] = []
        for body in ODD_ANSWERS:
            ready.crm.faults[:] = [Fault(status=200, body=body, times=999)]
            session = ready.session()
            with contextlib.suppress(CrmError):
                loaded = session.load([contact], history=False, known_deals={})
                vanished.append(("load", body, loaded.missing))
            with contextlib.suppress(CrmError):
                vanished.append(("existing", body, session.existing([contact])))
            with contextlib.suppress(CrmError):
                vanished.append(("read_tasks", body, session.read_tasks([task])))

        assert vanished == []

    @pytest.mark.parametrize("status", [400, 409, 429, 503])
    def test_an_error_body_of_an_odd_form_changes_no_class(
        self, account: Account, status: int
    ) -> None:
        """The status alone is enough."""
        classes = set()
        for body in (*ODD_ANSWERS, b'{"error":[7]}', b'{"errors":{"a":7},"data":[]}'):
            account.crm.faults[:] = [Fault(status=status, body=body, times=99)]
            with pytest.raises(CrmError) as caught:
                account.session().account()
            classes.add(type(caught.value))

        assert len(classes) == 1

    def test_a_failed_read_makes_nobody_missing(
        self, ready: Account, contact: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Wherever in between it fails, an error is raised: nobody counts as gone, and no deal
        is left out without a word."""
        ready.crm.calls.clear()
        whole = ready.session().load([contact], history=False, known_deals={})
        requests_made = len(ready.crm.calls)

        for at in range(requests_made):
            monkeypatch.setattr(ready.crm, "_fault", _failing_from(at))
            with pytest.raises(CrmUnavailable):
                ready.session().load([contact], history=False, known_deals={})
        monkeypatch.undo()

        assert ready.session().load([contact], history=False, known_deals={}) == whole

    # ------------------------------------------------------------------------- quietness

    def test_errors_quote_nothing(
        self, ready: Account, works: dict[str, Callable[[Session], object]]
    ) -> None:
        """CRMs repeat in their errors what was sent: somebody's data, which goes no further."""
        for status in REFUSALS:
            for name, work in works.items():
                ready.crm.faults[:] = [Fault(status=status, body=QUOTING, times=99)]
                try:
                    told = str(work(ready.session()))
                except CrmError as error:
                    told = f"{error} {error!r} {getattr(error, 'field_errors', '')}"
                assert "secret-word" not in told, name

    def test_every_call_has_a_timeout(
        self, account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """None waits for ever for a connection or an answer."""
        timeouts: list[Any] = []
        send = HTTPAdapter.send

        def watched(self: HTTPAdapter, request: Any, **how: Any) -> Any:
            timeouts.append(how.get("timeout"))
            return send(self, request, **how)

        monkeypatch.setattr(HTTPAdapter, "send", watched)
        account.crm.calls.clear()

        _tour(account)

        assert len(timeouts) == len(account.crm.calls) > 20
        assert [one for one in timeouts if not _is_short(one)] == []

    def test_no_log_line_holds_a_secret_or_a_person(
        self, account: Account, caplog: pytest.LogCaptureFixture
    ) -> None:
        """At the finest level, of every logger, with all errors: not the token, not the admin's
        password, not what signs, not a name, an address, a text."""
        caplog.set_level(logging.DEBUG)
        words = _tour(account)
        session = account.session()
        for status in REFUSALS:
            for work in {**_reads("1", "1"), **_writes("1", "1")}.values():
                account.crm.faults[:] = [Fault(status=status, body=QUOTING, times=99)]
                try:
                    work(session)
                except CrmError:
                    logging.getLogger("conformance").exception("seen by the suite")
        secrets = [account.crm.token, *account.crm.admin.split(":")[1:], *account.secrets]

        here = threading.current_thread().name
        lines = [
            logging.Formatter().format(record)
            for record in caplog.records
            if record.threadName == here
        ]
        assert lines
        told = "\n".join([*lines, repr(session), repr(account.session()), repr(account.crm.link())])
        assert [word for word in (*words, *secrets, "secret-word") if word in told] == []


def _create(session: Session, task: TaskDraft) -> object:
    """As the core does: what stopped it is raised."""
    created = session.create_tasks([task])
    if created.stopped:
        raise created.stopped
    return created


def _failing_from(at: int) -> Callable[[str], Fault | None]:
    """The first requests go well, all others do not."""
    served = count()
    return lambda _: Fault(status=500) if next(served) >= at else None


def _is_short(timeout: object) -> bool:
    """Seconds to connect and to read, or for either or all, and few of them."""
    if isinstance(timeout, Timeout):
        timeout = (timeout.connect_timeout, timeout.total)
    each = timeout if isinstance(timeout, tuple) else (timeout,)
    return all(isinstance(one, int | float) and 0 < one <= LONGEST for one in each)


def _tour(account: Account) -> list[str]:
    """Once through everything; the words that tell of people, and so go nowhere else."""
    person = {"email": "zoe@example.com", "phone": "+498912345678", "company": "Stadtbäckerei"}
    session = account.install()
    account.listen()
    contact = account.crm.contact("Zoë", "Groß-Müller", **person, owner=account.crm.owner_id)
    other = account.crm.contact("Otto", "Beispiel")
    deal = account.crm.deal(contact, name="Traumküche")
    account.later()
    account.crm.change(contact, spiral_rating="delighted", spiral_referrer_name="Frau Dr. Meyer")
    values = {"spiral_stage": "loyalty", "spiral_explanation": "Sehr erfreut war sie"}
    deliveries = account.taken()
    for delivery in deliveries:
        account.adapter.verify(delivery, secrets=account.secrets, now=account.crm.clock())
        account.adapter.parse(account.received(delivery))
        broken = Received(body=delivery.body[:9] + "Groß-Müller".encode(), received_at=TIME)
        with contextlib.suppress(PayloadError):
            account.adapter.parse(broken)
        with contextlib.suppress(SignatureError):
            account.adapter.verify(delivery, secrets=("x",), now=account.crm.clock())
    gone = account.crm.contact("Nimmer", "Wiedersehen")
    account.crm.delete(gone)
    session.write_fields(
        [FieldUpdate(contact_id=one, values=values) for one in (contact, gone)][
            : account.declaration.batch_size
        ]
    )
    session.write_fields(
        [FieldUpdate(contact_id=contact, values={"spiral_stage": "Fehlwert-Stufe"})]
    )
    session.link_referrers([LinkUpdate(contact_id=contact, referrer_id=other)])
    task = draft("k1", contact, deal_id=deal, subject="Traumküche ansprechen")
    ids = session.create_tasks([task]).crm_ids
    session.update_tasks([TaskUpdate(crm_id=one, done=True) for one in ids.values()])
    for work in {**_reads(contact, ids["k1"]), **_writes(contact, ids["k1"])}.values():
        work(session)
    session.deal_contacts([deal])
    session.uninstall(session.plan_uninstall(delete_data=True))
    session.unsubscribe(account.target)
    return [
        "Zoë", "Groß-Müller", *person.values(), "498912345678", "Otto", "Beispiel", "Meyer",
        "Traumküche", "Sehr erfreut", "Nimmer", "Fehlwert-Stufe", task.body,
    ]  # fmt: skip
