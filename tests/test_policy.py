"""The policy file: what it may say, and how it is told what is wrong."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin.errors import ConfigurationError
from plugin.policy import DEFAULT_PATH, load_policy
from plugin.referral.model import TaskKind
from plugin.referral.policy import AskPolicy, MatchPolicy, Policy, SpiralPolicy, TaskPolicy


def faults(text: str) -> list[str]:
    """The lines of the error this text raises."""
    with pytest.raises(ConfigurationError) as caught:
        load_policy(text, name="policy.toml")
    return str(caught.value).split("\n")


# ------------------------------------------------------------------------ what it may say


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "[asks]\n"])
def test_what_is_left_out_is_default(text: str | None) -> None:
    """No file, an empty one and an empty section all mean the defaults."""
    assert load_policy(text) == Policy()


def test_the_default_file_holds_the_defaults() -> None:
    """The commented file beside the code says what the code does."""
    assert load_policy(DEFAULT_PATH.read_text("utf-8")) == Policy()


def test_the_default_file_names_every_threshold() -> None:
    """Whoever reads the default file sees all that can be changed."""
    text = DEFAULT_PATH.read_text("utf-8")
    written = {found[1] for found in re.finditer(r"^(?:# )?(\w+) = ", text, re.MULTILINE)}
    sections = {"spiral", "asks", "matching", "tasks", "due"}
    parts = (Policy, SpiralPolicy, AskPolicy, MatchPolicy, TaskPolicy)
    known = {field.name for part in parts for field in fields(part)} - sections
    assert written == known | {kind.value for kind in TaskKind}


def test_every_section_is_read() -> None:
    """One changed key in each section changes exactly that threshold."""
    text = """
        [spiral]
        enthusiasm_delights = 3
        [asks]
        per_owner_and_week = 10
        [matching]
        link_score = 1
        [tasks]
        off = ["campaign_ask_origin", "tell_outcome"]
        due.repair = 1
        [accounts]
        pipelines = ["default", " 17 "]
        company_domains = ["@Example.com", "mail.example.org"]
        csat_maximum = 10
        rate_share = 0.5
    """
    assert load_policy(text) == Policy(
        spiral=SpiralPolicy(enthusiasm_delights=3),
        asks=AskPolicy(per_owner_and_week=10),
        matching=MatchPolicy(link_score=1.0),
        tasks=TaskPolicy(
            off=frozenset({TaskKind.CAMPAIGN_ASK_ORIGIN, TaskKind.TELL_OUTCOME}),
            due={**TaskPolicy().due, TaskKind.REPAIR: 1},
        ),
        pipelines=frozenset({"default", "17"}),
        company_domains=frozenset({"example.com", "mail.example.org"}),
        csat_maximum=10,
        rate_share=0.5,
    )


def test_windows_line_ends_and_byte_order_mark_are_read() -> None:
    """A file saved by a Windows editor is as good."""
    text = "\ufeff[asks]\r\nper_owner_and_week = 7\r\n"
    assert load_policy(text) == replace(Policy(), asks=AskPolicy(per_owner_and_week=7))


# ------------------------------------------------------------------------ what it may not


@pytest.mark.parametrize(
    ("section", "line", "said"),
    [
        ("asks", "per_owner_and_week = 0", "must be between 1 and 100, not 0"),
        ("asks", "per_owner_and_week = 101", "must be between 1 and 100, not 101"),
        ("asks", 'per_owner_and_week = "5"', 'must be a whole number between 1 and 100, not "5"'),
        ("asks", "per_owner_and_week = true", "must be a whole number between 1 and 100, not true"),
        ("asks", "per_owner_and_week = 5.0", "must be a whole number between 1 and 100, not 5.0"),
        ("matching", "link_lead = 0", "must be a number between 0.05 and 1, not 0"),
        ("matching", "link_lead = nan", "must be a number between 0.05 and 1, not NaN"),
        ("matching", "link_lead = true", "must be a number between 0.05 and 1, not true"),
        (
            "matching",
            "candidate_score = 0.8",
            "must not put candidate_score (0.8) above link_score (0.75)",
        ),
        (
            "asks",
            "per_owner_and_weak = 5",
            "is unknown here; did you mean per_owner_and_week?",
        ),
        ("asks", "quiet_after_days = 5", "is unknown here; it belongs under [tasks]"),
        ("tasks", "repair = 1", "is unknown here; it belongs under [tasks.due]"),
        (
            "spiral",
            "x = 1",
            "is unknown here; allowed are enthusiasm_delights, loyalty_after_days, "
            "sympathy_after_days",
        ),
        ("tasks", "due = 3", "must be a section with keys of its own"),
        ("tasks", 'off = "repair"', "must be a list of kinds of task"),
        ("tasks", 'off = ["repairs"]', 'names no kind of task: "repairs"; did you mean repair?'),
        ("accounts", "pipelines = []", "must name a pipeline; leave the key out to mean all"),
        ("accounts", "pipelines = [17]", "must hold ids in quotes, not 17"),
        (
            "accounts",
            'company_domains = ["Müller AG"]',
            'must hold domains such as example.com, not "Müller AG"',
        ),
    ],
)
def test_a_fault_names_file_line_key_and_what_is_allowed(
    section: str, line: str, said: str
) -> None:
    """An admin reads where to look and what to write."""
    text = f"# a comment\n[{section}]\n\n{line}\n"
    assert faults(text) == [f"policy.toml, line 4: [{section}] {line.split(' ')[0]} {said}"]


@pytest.mark.parametrize(
    "domain",
    ["gmail.com", "gmx.de", "gmx.at", "web.de", "outlook.com", "t-online.de", "yahoo.co.uk"],
)
def test_a_free_mail_domain_is_no_company(domain: str) -> None:
    """Else every customer with an address there would count as an employee."""
    assert faults(f'[accounts]\ncompany_domains = ["{domain}"]') == [
        f"policy.toml, line 2: [accounts] company_domains must not hold {domain}: anybody may "
        "have an address there, so its users would all count as employees"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ask]\n", "line 1: [ask] is unknown here; did you mean asks?"),
        ("\nasks = 5\n", "line 2: [asks] must be a section with keys of its own"),
        ("[[asks]]\n", "line 1: [asks] must be a section with keys of its own"),
        ("rate_share = 0.5", "line 1: rate_share is unknown here; it belongs under [accounts]"),
        ("\n\n[asks\n", "line 3: no valid TOML: Expected ']' at the end of a table declaration"),
        ("[asks]\n\n[asks]", "line 3: no valid TOML: Cannot declare ('asks',) twice"),
        ("[tasks]\noff = [1,\n", "line 2: no valid TOML: Invalid value"),
    ],
)
def test_a_fault_of_the_file_itself_names_its_line(text: str, said: str) -> None:
    """Unknown sections, sections that are none, and text that is no TOML."""
    assert faults(text) == [f"policy.toml, {said}"]


def test_all_faults_are_listed_by_line_however_they_are_written() -> None:
    """Dotted and quoted keys, inline tables and lists over several lines keep exact lines."""
    text = """\
asks.per_owner_and_week = 0
spiral = { enthusiasm_delights = 0, loyalty_after_days = 0 }
[matching]
"link_score" = 0 # link_lead = 5
[tasks] # off = ["nothing"]
off = [
  "repair", # ["repair"]

  "nothing",
  7]
check_experience_after_days = '''
14'''
[tasks."due"]
'repair' = -1
"""
    found = [fault.split(" must")[0].split(" names")[0] for fault in faults(text)]
    assert found == [
        "policy.toml, line 1: [asks] per_owner_and_week",
        "policy.toml, line 2: [spiral] enthusiasm_delights",
        "policy.toml, line 2: [spiral] loyalty_after_days",
        "policy.toml, line 4: [matching] link_score",
        "policy.toml, line 9: [tasks] off",
        "policy.toml, line 10: [tasks] off",
        "policy.toml, line 11: [tasks] check_experience_after_days",
        "policy.toml, line 14: [tasks.due] repair",
    ]


def test_a_value_that_fills_the_screen_is_shortened() -> None:
    """The fault stays readable."""
    (fault,) = faults(f'[asks]\nper_owner_and_week = "{"x" * 500}"')
    assert fault.endswith(f'not "{"x" * 58}…')


def test_values_nested_too_deeply_are_a_configuration_error() -> None:
    """Not even a hostile file ends in a traceback."""
    assert faults(f"x = {'[' * 100_000}") == ["policy.toml: values are nested too deeply"]


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    ["0", "-1", "1e400", "nan", "true", '""', '"a.b"', "[]", "[[1]]", "{}", "{a=1}", "1979-05-27"]
)


@given(
    section=st.sampled_from(["spiral", "asks", "matching", "tasks", "tasks.due", "accounts", "x"]),
    key=st.sampled_from(
        ["off", "due", "repair", "pipelines", "link_score", "rate_share", "_schema"]
    ),
    value=VALUES,
)
def test_any_value_anywhere_is_read_or_refused_with_its_line(
    section: str, key: str, value: str
) -> None:
    """Whatever stands where: a policy, or a fault on its line."""
    said = ""
    try:
        load_policy(f"\n[{section}]\n{key} = {value}\n")
    except ConfigurationError as error:
        said = str(error)
    assert all(re.match(r"policy, line [23]: ", fault) for fault in said.splitlines())
