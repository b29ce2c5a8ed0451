"""Only the CRM itself is believed: every delivery is verified before anything is kept."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from plugin.errors import SignatureError
from plugin.ports import Adapter, Delivery
from tests.conformance.account import Account
from tests.conformance.crms import CASES, Case, new_adapter
from tests.conformance.promise import Promise

WINDOW = timedelta(minutes=5)
"""Where the CRM tells when it sent: how far that may be from now."""
EDGE = timedelta(seconds=10)
ODD = ["", " ", "x", "=", "Basic", "Basic !", "Basic Og==", "t=,v1=", "t=1,v1=00", ":", "é", "\0",
       "\udcff", "٣", "0" * 5000, "-1", "9" * 400]  # fmt: skip
"""Values a header may have that no CRM would send."""


class TestVerification(Promise):
    @pytest.fixture
    def delivery(self, account: Account) -> Delivery:
        """An authentic one, made by the stand-in just now."""
        account.listen()
        account.crm.contact("Erika", "Muster", email="erika@example.com")
        return account.taken()[0]

    def test_what_the_crm_sends_is_believed(self, account: Account, delivery: Delivery) -> None:
        """The bytes, headers and secrets as they are."""
        account.adapter.verify(delivery, secrets=account.secrets, now=account.crm.clock())

    @pytest.mark.parametrize("case", [case for case in CASES if case.secrets], ids=str)
    def test_what_was_recorded_is_believed(self, case: Case) -> None:
        """Signatures that a real CRM made."""
        adapter = new_adapter(case.crm)

        adapter.verify(case.delivery, secrets=case.secrets, now=case.verified_at)
        if adapter.declaration.signed:
            other = replace(case.delivery, body=case.body + b" ")
            assert not believed(adapter, other, case.secrets, case.verified_at)

    def test_a_secret_in_rotation_is_believed(self, account: Account, delivery: Delivery) -> None:
        """The old and the new one are good at the same time, in either order."""
        now = account.crm.clock()
        others = stale_secrets(account)

        account.adapter.verify(delivery, secrets=(*others, *account.secrets), now=now)
        account.adapter.verify(delivery, secrets=(*account.secrets, *others), now=now)
        assert not believed(account.adapter, delivery, others, now)

    def test_without_a_secret_nothing_is_believed(
        self, account: Account, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even what was signed with an empty one, which anybody can."""
        now = account.crm.clock()
        forged = replace(delivery, headers=_without_password(delivery.headers))
        _let_an_empty_key_sign(monkeypatch, account, delivery)

        for secrets in ((), ("",), ("", ""), tuple(map(_emptied, account.secrets))):
            for one in (delivery, forged):
                assert not believed(account.adapter, one, secrets, now), secrets

    def test_every_byte_counts(self, account: Account, delivery: Delivery) -> None:
        """Changed, added or missing: where nothing is signed, the password alone must be right."""
        now = account.crm.clock()
        body = delivery.body
        tampered = [
            body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] for at in (0, len(body) // 2, -1)
        ]
        tampered[2] = body[:-1] + bytes([body[-1] ^ 1])

        taken = [
            believed(account.adapter, replace(delivery, body=one), account.secrets, now)
            for one in (*tampered, body + b" ", body[:-1], b"")
        ]

        assert taken == [not account.declaration.signed] * 6

    def test_a_missing_header_is_not_believed(self, account: Account, delivery: Delivery) -> None:
        """Of the headers that are needed, each."""
        now = account.crm.clock()

        for bare in _barest(account, delivery):
            assert bare.headers
            for name in bare.headers:
                rest = {k: v for k, v in bare.headers.items() if k != name}
                forged = replace(bare, headers=rest)
                assert not believed(account.adapter, forged, account.secrets, now), name

    def test_an_odd_header_is_not_believed(self, account: Account, delivery: Delivery) -> None:
        """Each that is needed in turn, then all at once; and no error but the one."""
        now = account.crm.clock()
        odd = [
            replace(bare, headers={**bare.headers, name: value})
            for value in ODD
            for bare in _barest(account, delivery)
            for name in bare.headers
        ]
        odd += [replace(delivery, headers=dict.fromkeys(delivery.headers, v)) for v in ODD]

        taken = [one.headers for one in odd if believed(account.adapter, one, account.secrets, now)]

        assert taken == []

    def test_a_cut_or_changed_signature_is_not_believed(
        self, account: Account, delivery: Delivery
    ) -> None:
        """Whatever is left out of it, put into it or added."""
        now = account.crm.clock()
        for bare in _barest(account, delivery):
            for name, value in bare.headers.items():
                # Not the very last: of base64 it may carry bits that mean nothing.
                turned = value[:-4] + _turned(value[-4]) + value[-3:]
                for other in (value[:-4], turned, value + "x"):
                    forged = replace(bare, headers={**bare.headers, name: other})
                    assert not believed(account.adapter, forged, account.secrets, now), name

    def test_an_old_delivery_is_refused_or_harmless(
        self, account: Account, delivery: Delivery
    ) -> None:
        """Where the CRM tells when it sent, a late one is refused; where it does not, it is taken
        and says what it said the first time, under the same keys."""
        for late in (WINDOW + EDGE, -WINDOW - EDGE, timedelta(days=1)):
            now = account.crm.clock() + late
            taken = believed(account.adapter, delivery, account.secrets, now)
            assert taken is not account.declaration.replay_window

        first = account.adapter.parse(account.received(delivery))
        again = account.adapter.parse(account.received(delivery, after=timedelta(days=1)))
        assert [one.key for one in first.events] == [one.key for one in again.events]

    def test_a_delivery_under_way_for_minutes_is_believed(
        self, account: Account, delivery: Delivery
    ) -> None:
        """Nor need the clocks agree: just under five minutes either way are nobody's fault."""
        for late in (WINDOW - EDGE, EDGE - WINDOW):
            now = account.crm.clock() + late
            account.adapter.verify(delivery, secrets=account.secrets, now=now)

    def test_a_delivery_is_good_at_its_own_address_only(
        self, account: Account, delivery: Delivery
    ) -> None:
        """Where the address tells what happened, a signature is no good at another one; where it
        does not, an address below ours changes nothing of what is read."""
        other = next(t for t in account.declaration.event_types if t != delivery.topic)
        moved = replace(delivery, topic=other, url=f"{account.target}/{other}")

        if delivery.topic:
            now = account.crm.clock()
            assert not believed(account.adapter, moved, account.secrets, now)
        else:
            read = account.adapter.parse(account.received(delivery))
            at_other = account.adapter.parse(account.received(moved))
            assert [one.kind for one in at_other.events] == [one.kind for one in read.events]

    def test_a_refusal_gives_no_secret_away(self, account: Account, delivery: Delivery) -> None:
        """The error says which setting to look at, and quotes nothing."""
        forged = replace(delivery, headers=dict.fromkeys(delivery.headers, "a-forged-value"))

        with pytest.raises(SignatureError) as caught:
            account.adapter.verify(forged, secrets=account.secrets, now=account.crm.clock())

        told = str(caught.value)
        assert told
        assert [one for one in (*account.secrets, "a-forged-value") if one in told] == []


def believed(adapter: Adapter, delivery: Delivery, secrets: Sequence[str], now: datetime) -> bool:
    """Whether it is authentic; any error but the one that says so is a fault."""
    try:
        adapter.verify(delivery, secrets=secrets, now=now)
    except SignatureError:
        return False
    return True


def stale_secrets(account: Account) -> tuple[str, ...]:
    """Secrets of the same form that are not good: the last letters or digits are others."""
    return tuple(one[:-6] + "".join(map(_turned, one[-6:])) for one in account.secrets)


def _let_an_empty_key_sign(
    monkeypatch: pytest.MonkeyPatch, account: Account, delivery: Delivery
) -> None:
    """From now on an empty key makes the signature that the right one made."""
    keys: list[bytes] = []
    new, digest = hmac.new, hmac.digest

    def key_for(key: bytes) -> bytes:
        keys.append(key or keys[-1])
        return keys[-1]

    monkeypatch.setattr(hmac, "new", lambda key, *rest, **how: new(key_for(key), *rest, **how))
    monkeypatch.setattr(hmac, "digest", lambda key, *rest: digest(key_for(key), *rest))
    assert believed(account.adapter, delivery, account.secrets, account.crm.clock())
    if account.declaration.signed:
        assert keys


def _emptied(secret: str) -> str:
    """Without its last part, which is the key where a secret has several."""
    return secret[: secret.rfind(":") + 1]


def _barest(account: Account, delivery: Delivery) -> list[Delivery]:
    """The delivery with only those headers that make it authentic. Where one of two is enough,
    there is one delivery for each."""
    now = account.crm.clock()
    found = []
    for names in (list(delivery.headers), list(delivery.headers)[::-1]):
        bare = delivery
        for name in names:
            rest = {k: v for k, v in bare.headers.items() if k != name}
            if believed(account.adapter, replace(bare, headers=rest), account.secrets, now):
                bare = replace(bare, headers=rest)
        found.append(bare)
    return found


def _turned(letter: str) -> str:
    """Another letter or digit."""
    return "b" if letter == "a" else "a"


def _without_password(headers: Mapping[str, str]) -> dict[str, str]:
    """The same headers, with the password of Basic authentication empty."""
    changed = dict(headers)
    if changed.get("authorization", "").startswith("Basic "):
        user = base64.b64decode(changed["authorization"][6:]).partition(b":")[0]
        changed["authorization"] = f"Basic {base64.b64encode(user + b':').decode()}"
    return changed
