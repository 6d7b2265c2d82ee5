"""No password is ever shown: not in problems, reprs, JSON, tracebacks, and not where it stands in the wrong place."""

from __future__ import annotations

import json
import traceback

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from announcer.cli.check import check
from announcer.config import load
from announcer.config.originals import Dialect, inspect
from announcer.config.secrets import public
from announcer.config.sessions import password_fault

CANARY = "hunter2canary"

_WAYS = [["-"], ["-", "--json"], *(["-", "--dialect", dialect.value] for dialect in Dialect)]

PEER = f"""\
peers:
- peer-address: 10.0.0.1
  peer-asn: 64512
  my-asn: 64512
  password: {CANARY}
  hold-time: 30s
- {{peer-address: 10.0.0.2, peer-asn: 1, my-asn: 2, password: {CANARY}, passive: false}}
address-pools:
- name: default
  protocol: bgp
  addresses: [192.0.2.0/24]
"""


def said(text: str) -> str:
    """Everything that is said about a file in any way."""
    result = load(text, "f")
    outputs = [repr(result), str(result), *map(str, result.problems)]
    runner = CliRunner()
    outputs += [runner.invoke(check, arguments, input=text).output for arguments in _WAYS]
    try:
        json.dumps(result)
    except TypeError as error:
        outputs += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    else:
        pytest.fail("a result is not JSON")
    # The argument itself is a local of this function; everything else in the traceback is ours.
    return "\n".join(output for output in outputs if "text = " not in output)


def test_a_valid_password_is_not_shown() -> None:
    assert load(PEER).config is not None
    assert "Password(…)" in said(PEER)
    assert CANARY not in said(PEER)


@pytest.mark.parametrize(
    "value",
    [
        f"'{CANARY} x'",
        f'"{CANARY};"',
        f"'{CANARY}\"'",
        f"{CANARY * 8}",
        f"*{CANARY}",
        f"!{CANARY}",
        f"&{CANARY}",
        f"&a {CANARY}\n  router-id: *a",
        f"[{CANARY}]",
        f"{{{CANARY}: 1}}",
        f"{{{CANARY}}}",
        f"|\n    {CANARY}\n    {CANARY}",
        f'"{CANARY}',
        f"{CANARY}: x",
        f"@{CANARY}",
        f"{CANARY}\n  password: {CANARY}",
        f"{CANARY}\n  password-secret: {CANARY}",
    ],
)
def test_a_wrong_password_is_not_shown(value: str) -> None:
    text = PEER.replace(f"password: {CANARY}\n", f"password: {value}\n")
    assert load(text).problems
    assert CANARY not in said(text)


@pytest.mark.parametrize(
    "line",
    [
        f"passwd: {CANARY}",
        f"Password: {CANARY}",
        f"md5-password: '{CANARY} x'",
        f"pasword: {CANARY}",
        f"password {CANARY}",
        f"password:{CANARY}",
        f"password={CANARY}",
        f"router-id: password={CANARY}",
        f"psk {CANARY}",
        f"    psk {CANARY}",
        f"    psk:{CANARY}",
        f"<<: {{psk:{CANARY}, {CANARY}, psk={CANARY}, psk {CANARY}}}",
        f"password-secret: {CANARY}",
        f"password-secret: {{name: '{CANARY}!'}}",
        f"password-secret: {{name: a, key: '{CANARY}!'}}",
        f"password-secret: {{{CANARY}}}",
        f"password-secret: {{name: [{CANARY}]}}",
        f"bfd-profile: x\n  password: {CANARY}",
        f"node-selectors: [{{match-labels: {{password: '{CANARY}!'}}}}]",
        f"node-selectors: [{{match-labels: {{password:{CANARY}: x}}}}]",
        f"node-selectors: [{{password:{CANARY}}}]",
        f"<<: {{password:{CANARY}, passwd={CANARY}: 1}}",
        f"<<: {{password:{CANARY}: 1, password:{CANARY}: 2}}",
    ],
)
def test_a_password_in_the_wrong_place_is_not_shown(line: str) -> None:
    text = PEER.replace(f"password: {CANARY}\n", f"{line}\n")
    assert load(text).problems
    assert CANARY not in said(text)


@pytest.mark.parametrize("value", [f"!{CANARY} x", f"*{CANARY}"])
def test_a_password_in_a_manifest_that_is_no_text_is_not_shown(value: str) -> None:
    text = f"kind: ConfigMap\ndata:\n  config.yaml:\n    peers:\n    - password: {value}\n"
    assert [problem.line for problem in load(text).problems] == [5]
    assert CANARY not in said(text)


def test_a_missing_colon_is_named_where_it_is_missing() -> None:
    text = PEER.replace(f"password: {CANARY}\n", f"    pass {CANARY}\n")
    problems = load(text, "f").problems
    assert [(problem.line, problem.path) for problem in problems] == [(4, "peers[0].my-asn")]
    assert 'does a key in the next line lack its ": "?' in problems[0].problem


def test_other_keys_and_values_are_quoted_as_ever() -> None:
    text = PEER.replace("hold-time: 30s", "hold-tme: 30s\n  router-id: abc")
    found = said(text)
    assert '"hold-tme" is not a key here' in found
    assert '"abc" is not an IPv4 address' in found
    keys = ("password-secrets", "example.com/a", "a b", "password b")
    assert [public(key) for key in keys] == ["password-secrets", "example.com/a", "a b", "password…"]


@given(st.data())
@settings(max_examples=400)
def test_no_accident_of_an_editor_shows_a_password(data: st.DataObject) -> None:
    """One place of a valid file is changed, but not inside the password, nor so much that its key is gone."""
    first, second = PEER.index(CANARY), PEER.rindex(CANARY)
    ends = (first, first + len(CANARY), second, second + len(CANARY))
    begin, end = data.draw(st.sampled_from([(0, ends[0]), (ends[1], ends[2]), (ends[3], len(PEER))]))
    at = data.draw(st.integers(begin, end))
    until = min(end, at + data.draw(st.integers(0, 9)))
    piece = data.draw(st.text(max_size=2) | st.sampled_from(list("\t\n:-[]{}&*!|>'\"%@`#,?=")))
    text = PEER[:at] + piece + PEER[until:]
    found = load(text.encode(errors="replace"), "f")
    assert CANARY not in repr(found)
    assert CANARY not in "".join(map(str, found.problems))
    dialect = data.draw(st.sampled_from(list(Dialect)))
    assert CANARY not in repr(inspect(text.encode(errors="replace"), dialect))


@pytest.mark.parametrize("word", ["", "a b", "é", "a" * 81, "\x00", "a;b"])
def test_the_rule_for_passwords_of_secrets_quotes_nothing(word: str) -> None:
    fault = password_fault(word)
    assert fault
    assert word not in fault or not word
    assert password_fault("a" * 80) == ""
