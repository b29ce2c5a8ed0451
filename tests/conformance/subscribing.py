"""Webhooks are made, kept, remade and removed; where the plugin cannot, it leaves them alone."""

from __future__ import annotations

from plugin.ports import Echo, FieldUpdate, Webhooks
from tests.conformance.account import OUR_SECRET, Account
from tests.conformance.crms import PUBLIC_URL
from tests.conformance.promise import Promise

OURS = {"spiral_stage": "loyalty"}
OLD_URL = "https://former.example.com"


class TestSubscribing(Promise):
    def test_all_addresses_are_ours(self, account: Account) -> None:
        """Wherever the CRM sends to is the account's own address, or lies below it."""
        account.listen()

        addresses = account.crm.subscriptions()

        assert addresses
        assert [one for one in addresses if not _is_below(one, account.target)] == []
        assert account.secrets
        assert [one for one in account.secrets if not one or "," in one] == []

    def test_twice_is_as_good_as_once(self, account: Account) -> None:
        """What is there and works stays, with its secrets; nothing is written."""
        account.install()
        account.listen()
        before = account.crm.subscriptions(), account.secrets
        account.crm.calls.clear()

        secrets = account.session().subscribe(account.target, account.secrets)

        assert (account.crm.subscriptions(), secrets) == before
        assert [call for call in account.crm.calls if call.method != "GET"] == []

    def test_what_was_dropped_is_made_anew(self, account: Account) -> None:
        """Where the plugin can; else it does nothing, and its secrets stay."""
        account.install()
        account.listen()
        before = account.crm.subscriptions()
        account.crm.drop_subscriptions()
        account.crm.calls.clear()

        secrets = account.session().subscribe(account.target, account.secrets)

        if account.declaration.webhooks is Webhooks.API:
            assert account.crm.subscriptions() == before
            account.secrets = secrets
            account.crm.deliveries.clear()
            account.crm.contact("Erika", "Muster")
            assert account.events()
        else:
            assert account.crm.calls == []
            assert secrets == account.secrets

    def test_whatever_is_wrong_with_webhooks_is_put_right(self, account: Account) -> None:
        """All that the CRM, or people there, can do to those that the plugin made: afterwards each
        change is told as before, once, and our own writes are what the declaration says."""
        account.install()
        account.listen()
        before = account.crm.subscriptions()
        account.crm.contact("Erika", "Muster")
        told = len(account.events())
        damages = account.crm.damages()
        assert bool(damages) is (account.declaration.webhooks is Webhooks.API)

        for name, damage in damages.items():
            damage()
            session = account.session()
            account.secrets = session.subscribe(account.target, account.secrets)
            account.crm.deliveries.clear()

            assert account.crm.subscriptions() == before, name
            contact = account.crm.contact("Erika", "Muster")
            assert len(account.events()) == told, name
            account.later()
            account.crm.change(contact, spiral_rating="angry")
            assert account.events(), name
            session.write_fields([FieldUpdate(contact_id=contact, values=OURS)])
            echo = account.events()
            assert account.declaration.echo is not Echo.UNSENT or echo == [], name
            assert account.declaration.echo is not Echo.MARKED or all(e.ours for e in echo), name

    def test_webhooks_move_with_our_host(self, account: Account) -> None:
        """Those that lead to the same path on another host are replaced: nothing goes to the old
        one, and nothing comes twice."""
        account.install()
        old = account.target.replace(PUBLIC_URL, OLD_URL)
        before = account.session().subscribe(old, (OUR_SECRET,))
        addresses = account.crm.subscriptions()

        secrets = account.session().subscribe(account.target, before)

        if account.declaration.webhooks is Webhooks.API:
            assert addresses
            assert [one for one in addresses if not _is_below(one, old)] == []
            moved = [one.replace(OLD_URL, PUBLIC_URL) for one in addresses]
            assert account.crm.subscriptions() == moved
            account.secrets = secrets
            account.crm.deliveries.clear()
            account.crm.contact("Erika", "Muster")
            assert account.events()
        else:
            assert (addresses, before, secrets) == ([], (OUR_SECRET,), (OUR_SECRET,))

    def test_an_account_beside_ours_keeps_its_webhooks(self, account: Account) -> None:
        """An address that is not ours, even on our host, is somebody else's."""
        account.install()
        other = f"{account.target}-of-somebody-else"
        account.session().subscribe(other, (OUR_SECRET,))
        theirs = account.crm.subscriptions()

        account.session().subscribe(account.target, (OUR_SECRET,))
        account.session().unsubscribe(account.target)

        assert account.crm.subscriptions() == theirs

    def test_unsubscribing_removes_what_was_made(self, account: Account) -> None:
        """All of it; a second time is no fault. What people made by hand stays."""
        account.install()
        account.listen()
        before = account.crm.subscriptions()

        account.session().unsubscribe(account.target)
        account.session().unsubscribe(account.target)

        made_by_us = account.declaration.webhooks is Webhooks.API
        assert account.crm.subscriptions() == ([] if made_by_us else before)


def _is_below(address: str, target: str) -> bool:
    return address == target or address.startswith(f"{target}/")
