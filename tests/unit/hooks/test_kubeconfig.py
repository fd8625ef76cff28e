"""A kubeconfig as MicroK8s and kubectl write it is read; anything else is refused with its line."""

import base64
import contextlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from snapedge_hooks import kubeconfig
from snapedge_hooks.kubeconfig import KubeconfigError

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
B64 = base64.b64encode(PEM.encode()).decode()
MICROK8S = f"""apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {B64}
    server: https://127.0.0.1:16443
  name: microk8s-cluster
contexts:
- context:
    cluster: microk8s-cluster
    user: admin
  name: microk8s
current-context: microk8s
kind: Config
preferences: {{}}
users:
- name: admin
  user:
    client-certificate-data: {B64}
    client-key-data: {B64}
"""


def parse(text: str) -> kubeconfig.Credentials:
    return kubeconfig.parse(text, beside=Path("/nowhere"))


def test_what_microk8s_writes_is_read() -> None:
    assert parse(MICROK8S) == kubeconfig.Credentials(
        server="https://127.0.0.1:16443", authority=PEM, certificate=PEM, key=PEM
    )


def test_json_is_read_too() -> None:
    assert parse(json.dumps(yaml.safe_load(MICROK8S))) == parse(MICROK8S)


def test_a_token_signs_in() -> None:
    text = MICROK8S.replace(
        f"    client-certificate-data: {B64}\n    client-key-data: {B64}\n", "    token: 'it''s: me'\n"
    )
    assert parse(text).token == "it's: me"


def test_certificates_may_lie_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(PEM)
    path = tmp_path / "client.config"
    path.write_text(MICROK8S.replace(f"certificate-authority-data: {B64}", "certificate-authority: ca.crt"))
    assert kubeconfig.read(path).authority == PEM


def test_secrets_are_not_shown() -> None:
    assert repr(parse(MICROK8S)) == "Credentials(server='https://127.0.0.1:16443')"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ((MICROK8S, ""), "client.config: is empty"),
        (("https://127.0.0.1:16443", "http://127.0.0.1:16443"), "is not https://host:port"),
        (("current-context: microk8s", "current-context: other"), "contexts has no 'other'"),
        (("    cluster: microk8s-cluster", "    cluster: x"), "clusters has no 'x'"),
        (
            ("    server:", "    insecure-skip-tls-verify: true\n    server:"),
            "insecure-skip-tls-verify is not accepted",
        ),
        (("    client-key-data:", "    exec:\n      command: steal\n    client-key-data:"), "user.exec is not a way"),
        ((f"    client-key-data: {B64}\n", ""), "but not both"),
        ((f"certificate-authority-data: {B64}", "certificate-authority-data: '!!'"), "is not base64 of PEM"),
        ((f"    certificate-authority-data: {B64}\n", ""), "no certificate-authority-data"),
        (("kind: Config", "kind: &a Config"), "line 13: has YAML that a kubeconfig does not need"),
        (("preferences: {}", "preferences: {a: b}"), "line 14: has YAML that a kubeconfig does not need"),
        (("kind: Config", "kind: |\n  Config"), "line 13: has YAML"),
        (("kind: Config", "kind:\tConfig"), "line 13: has a tab"),
        (("kind: Config", "kind: Config\nkind: Config"), "line 14: kind stands twice"),
        (("kind: Config", "---\nkind: Config"), "line 13: has more than one document"),
        (("kind: Config", "   kind: Config"), "line 13: is indented unlike its neighbours"),
        (("kind: Config", "kind"), "line 13: is not `key: value`"),
        (("kind: Config", 'kind: "a\\n"'), "line 13: has a quoted text we do not read"),
    ],
)
def test_anything_else_is_refused_with_its_place(change: tuple[str, str], problem: str) -> None:
    with pytest.raises(KubeconfigError) as caught:
        parse(MICROK8S.replace(*change))
    assert problem in caught.value.brief


@pytest.mark.parametrize("data", [b"\xff", b"{", b"[" * 100_000, b"- a\n- b\n", b"x" * (kubeconfig.MAX_BYTES + 1)])
def test_junk_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "client.config"
    path.write_bytes(data)
    with pytest.raises(KubeconfigError):
        kubeconfig.read(path)


def test_a_missing_file_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        kubeconfig.read(tmp_path / "client.config")


KEYS = st.text("abcxyz-9", min_size=1, max_size=8).map(lambda text: "k" + text)
SCALARS = st.text("aZ9+/=. :-#'", max_size=20)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(KEYS, inner, min_size=1, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40)
@given(st.dictionaries(KEYS, DOCUMENTS, min_size=1, max_size=3))
def test_what_it_reads_is_what_yaml_reads(document: dict[str, object]) -> None:
    text = yaml.safe_dump(document, width=10**6, default_flow_style=False)
    try:
        found = kubeconfig.parse_yaml(text)
    except KubeconfigError:
        return
    assert found == yaml.load(text, yaml.BaseLoader) == document


@given(st.text(alphabet="ab:- {}[]#'\"\n&*|>\t!", max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(KubeconfigError):
        kubeconfig.parse_yaml(text)
