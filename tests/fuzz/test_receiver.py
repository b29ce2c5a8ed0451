"""Whatever is sent to the web server, it is taken or refused: never a fault of ours."""

from __future__ import annotations

import http.client
import string
from urllib.parse import quote, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from tests.attacks.signing import fresh
from tests.e2e.shop import Shop
from tests.fuzz.drawing import fuzzed

VISIBLE = string.printable.strip()
HEADERS = st.sampled_from(
    [
        "X-HubSpot-Signature-v3", "X-HubSpot-Request-Timestamp", "Signature", "X-Signature",
        "X-BottleCRM-Signature", "Authorization", "Content-Type", "Content-Encoding", "Accept",
        "X-Forwarded-For", "X-Forwarded-Proto", "Cookie", "Range", "Origin", "X-Odd",
    ]
)  # fmt: skip
VALUES = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=60)
METHODS = st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "X"])


def test_no_request_is_a_fault(shop: Shop) -> None:
    """Arbitrary paths, methods, headers and bodies: no 5xx but what the CRM is to be answered
    with, nothing of it kept, and the next delivery is taken."""
    one = fresh(shop)
    parts = urlsplit(one.url)
    before = shop.rows("SELECT count(*) FROM delivery")
    odd_path = st.lists(st.text(max_size=12), max_size=4).map(
        lambda names: (
            "/webhooks/" + "/".join(quote(name.encode("utf-8", "replace")) for name in names)
        )
    )
    raw_path = st.text(VISIBLE.replace("#", ""), max_size=40).map("/".__add__)

    @fuzzed(120)
    @given(
        METHODS,
        st.just(parts.path) | odd_path | raw_path,
        st.lists(st.tuples(HEADERS, VALUES), max_size=5),
        st.binary(max_size=200),
    )
    def fuzz(method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> None:
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        status = connection.getresponse().status
        connection.close()
        assert 200 <= status < 500

    fuzz()

    assert shop.rows("SELECT count(*) FROM delivery") == before
