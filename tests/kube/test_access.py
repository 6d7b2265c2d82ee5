"""Credentials: whatever a file holds, a wrong one is a trouble in words, and a new one is taken up."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from announcer.sources.kube import ClusterAccess, Timing
from announcer.sources.kube.patience import Trouble

POD = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}


async def header(access: ClusterAccess) -> tuple[str, str]:
    async with access.connect(Timing()) as connection:
        assert "canary" not in repr(connection)
        return connection.server, connection.headers.get("authorization", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "- a\n- b\n",
        "\x00\x01",
        "*alias",
        "just text",
        "current-context: x\ncontexts: []\nclusters: []\nusers: []\n",
        "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: 5\nusers: []\n",
        (
            "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\n"
            "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority: /nowhere}}]\nusers: []\n"
        ),
        (
            "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\n"
            "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority-data: '%%%'}}]\nusers: []\n"
        ),
    ],
)
def test_a_wrong_kubeconfig_is_a_trouble_in_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(Trouble, match="no usable credentials"):
        asyncio.run(header(ClusterAccess(kubeconfig=path)))


def test_a_missing_kubeconfig_is_one_as_well(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="no usable credentials"):
        asyncio.run(header(ClusterAccess(kubeconfig=tmp_path / "none")))


def test_a_pod_shows_the_token_that_it_has_now(tmp_path: Path) -> None:
    now = 0.0
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"]
    subprocess.run(
        [*made, "-keyout", tmp_path / "ca.key", "-out", tmp_path / "ca.crt"], check=True, capture_output=True
    )
    (tmp_path / "token").write_text("canary-1\n")
    access = ClusterAccess(service_account=tmp_path, environ=POD, clock=lambda: now)
    assert asyncio.run(header(access)) == ("https://[fd00::1]:443", "bearer canary-1")
    (tmp_path / "token").write_text("canary-2")
    assert asyncio.run(header(access))[1] == "bearer canary-1", "not read at every connection"
    access.refused()
    assert asyncio.run(header(access))[1] == "bearer canary-2", "at once when it was refused"
    (tmp_path / "token").write_text("canary-3")
    now = 61.0
    assert asyncio.run(header(access))[1] == "bearer canary-3", "and after a minute"


def test_a_pod_without_its_files_is_a_trouble(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="token file"):
        asyncio.run(header(ClusterAccess(service_account=tmp_path, environ=POD)))
