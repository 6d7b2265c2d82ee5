"""``lockstep check``: what it prints and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from announcer.cli.check import check

GOOD = "peers:\n- peer-address: 10.0.0.1\n  peer-asn: 64512\n  my-asn: 64512\nbgp-communities: {a: '1:2'}\n"
BAD = "peers:\n- peer-address: 10.0.0.1\n  peer_asn: 64512\n  my-asn: 0\nfoo: 1\n"


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(check, arguments, input=stdin)


def write(folder: Path, content: str | bytes) -> str:
    path = folder / "bgp.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_a_valid_file(tmp_path: Path) -> None:
    result = run(write(tmp_path, GOOD))
    assert result.exit_code == 0
    assert result.output == f"{tmp_path}/bgp.yaml: valid: 1 peer, 0 pools, 1 community name\n"


def test_an_empty_file_is_valid_but_said_to_be_empty(tmp_path: Path) -> None:
    result = run(write(tmp_path, ""))
    assert result.exit_code == 0
    assert "valid, but there are neither peers nor pools in it" in result.output


def test_every_problem_of_an_invalid_file_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, BAD)
    result = run(path)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f'{path}:3:3: peers[0].peer_asn: "peer_asn" is not a key here',
        '    did you mean "peer-asn"?',
        f"{path}:4:11: peers[0].my-asn: 0 is out of range",
        "    it must be from 1 to 4294967295",
        f'{path}:5:1: foo: "foo" is not a key here',
        "    the keys here are peers, address-pools, bgp-communities, bfd-profiles, pod-cidrs, drain",
        f"{path}: not valid, 3 problems",
    ]


def test_json_of_a_valid_file(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    result = run("--json", path)
    assert result.exit_code == 0
    assert json.loads(result.output) == {
        "schema": "lockstep.check/v1",
        "file": path,
        "ok": True,
        "problems": [],
        "remarks": [],
        "summary": {"problems": 0, "remarks": 0, "peers": 1, "pools": 0, "communities": 1},
    }


def test_json_of_an_invalid_file(tmp_path: Path) -> None:
    result = run(write(tmp_path, BAD), "--json", "--dialect", "auto")
    assert result.exit_code == 1
    answer = json.loads(result.output)
    assert (answer["ok"], answer["summary"]["problems"], answer["summary"]["peers"]) == (False, 3, None)
    assert answer["problems"][1] == {
        "line": 4,
        "column": 11,
        "path": "peers[0].my-asn",
        "problem": "0 is out of range",
        "hint": "it must be from 1 to 4294967295",
    }


def test_standard_input() -> None:
    result = run("-", stdin=BAD)
    assert result.exit_code == 1
    assert "<stdin>:4:11: peers[0].my-asn: 0 is out of range" in result.output
    assert run("-", stdin=GOOD).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("/nonexistent/bgp.yaml",), "'/nonexistent/bgp.yaml' does not exist"),
        (("/",), "'/' is a directory"),
        ((), "Missing argument 'FILE'"),
        (("--dialect", "metallb-0.13", "-"), "'metallb-0.13' is not one of 'auto', 'cilium-1.10',"),
    ],
)
def test_wrong_use_ends_with_2_and_says_why(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    "content", [b"x" * 5_000_000, b"\xff\xfe\x00", b"peers: [", b"\x00", b"- a", b"peers: 65000:10"]
)
def test_bad_input_never_ends_in_a_traceback(tmp_path: Path, content: bytes) -> None:
    result = run(write(tmp_path, content))
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert "bgp.yaml: not valid, 1 problem\n" in result.output


def test_the_program_answers_for_5_mb_in_well_under_a_second(tmp_path: Path) -> None:
    path = write(tmp_path, b"peers: x\n" * 555_556)
    program = Path(sys.executable).parent / "lockstep"
    began = time.monotonic()
    done = subprocess.run([program, "check", path], capture_output=True, text=True, timeout=30, check=False)
    spent = time.monotonic() - began
    assert (done.returncode, done.stderr) == (1, "")
    assert "is larger than 1 MiB" in done.stdout
    # About 0.3 s, nearly all of it the start of the interpreter; the rest is for a machine that is busy.
    assert spent < 15
