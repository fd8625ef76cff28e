"""Every way in which an API can fail us is one of our words, and never a hang or a crash."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.kube import FakeKube
from tests.fakes.model import FakeModel

from snapedge_fleet.virtual import certificates
from snapedge_hooks import kubeconfig
from snapedge_hooks.kubernetes import KubernetesApi
from snapedge_hooks.situations import PayloadBadError, ShortageError
from snapedge_hooks.vocabulary import HealthCode

ISVC = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/wine"
CONFIG_MAP = "/api/v1/namespaces/default/configmaps/wine-snapedge"


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[FakeKube]:
    model = FakeModel()
    made = FakeKube(tmp_path / "pki", model)
    yield made
    made.close()
    model.close()


@pytest.fixture
def api(kube: FakeKube, tmp_path: Path) -> Iterator[KubernetesApi]:
    made = KubernetesApi(kubeconfig.parse(kube.kubeconfig(), beside=tmp_path))
    yield made
    made.close()


def test_an_object_is_applied_read_and_deleted(api: KubernetesApi) -> None:
    assert api.get(CONFIG_MAP) is None
    api.apply(CONFIG_MAP, {"metadata": {"name": "wine-snapedge"}, "data": {"a": "b"}})
    found = api.get(CONFIG_MAP)
    assert found is not None
    assert found["data"] == {"a": "b"}
    assert api.delete(CONFIG_MAP)
    assert not api.delete(CONFIG_MAP)


def test_a_conflict_is_taken_back_by_force(
    kube: FakeKube, api: KubernetesApi, caplog: pytest.LogCaptureFixture
) -> None:
    kube.faults.conflict = True
    api.apply(CONFIG_MAP, {"metadata": {}, "data": {}})
    assert kube.wrote()[-1].endswith("?fieldManager=snapedge&force=true")
    assert "was changed by another writer, taken back" in caplog.text


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        (401, {"message": "Unauthorized"}, HealthCode.API_DOWN, "our credentials are refused (401)"),
        (403, {"message": "forbidden: User"}, HealthCode.API_DOWN, "our credentials are refused (403)"),
        (410, {"message": "too old"}, HealthCode.API_DOWN, "answered 410: too old"),
        (429, {"message": "slow down"}, HealthCode.API_DOWN, "answered 429: slow down"),
        (503, b"", HealthCode.API_DOWN, "answered 503"),
        (200, b'{"half": ', HealthCode.API_DOWN, "something other than JSON"),
        (200, b"[" * 100_000, HealthCode.API_DOWN, "something other than JSON"),
        (500, b"e" * 9_000_000, HealthCode.API_DOWN, "sent more than 8388608 bytes"),
        (
            500,
            {"message": 'Internal error: failed calling webhook "inferenceservice.kserve-webhook"'},
            HealthCode.NO_KSERVE,
            "its webhook does not answer",
        ),
        (302, {"message": "go there"}, HealthCode.API_DOWN, "answered 302"),
    ],
)
def test_a_bad_answer_is_a_shortage(
    kube: FakeKube, api: KubernetesApi, status: int, body: dict[str, str] | bytes, code: HealthCode, words: str
) -> None:
    kube.faults.status[""] = (status, body)
    with pytest.raises(ShortageError) as caught:
        api.get(ISVC)
    assert caught.value.code is code
    assert words in caught.value.brief


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (422, 'InferenceService "x" is invalid: name'),
        (403, 'admission webhook "w" denied the request: PROTOCOL'),
        (400, "strict decoding error"),
    ],
)
def test_what_the_api_refuses_is_our_mistake(kube: FakeKube, api: KubernetesApi, status: int, message: str) -> None:
    kube.faults.status["PATCH"] = (status, {"message": message})
    with pytest.raises(PayloadBadError, match="Kubernetes refused wine: "):
        api.apply(ISVC, {})


def test_a_cluster_without_kserve_is_told_from_one_without_the_object(kube: FakeKube, api: KubernetesApi) -> None:
    assert api.get(ISVC) is None
    kube.faults.no_kserve = True
    with pytest.raises(ShortageError) as caught:
        api.get(ISVC)
    assert caught.value.code is HealthCode.NO_KSERVE


def test_an_unknown_authority_is_refused(kube: FakeKube, tmp_path: Path) -> None:
    other = certificates.load_or_create(tmp_path / "other", "127.0.0.1").authority
    ours = base64.b64encode(other).decode()
    theirs = kube.kubeconfig().split("certificate-authority-data: ")[1].split()[0]
    stranger = KubernetesApi(kubeconfig.parse(kube.kubeconfig().replace(theirs, ours), beside=tmp_path))
    with pytest.raises(ShortageError, match="shows a certificate we do not trust"):
        stranger.get(CONFIG_MAP)
    assert kube.requests == []


def test_an_api_that_is_away_is_down(kube: FakeKube, tmp_path: Path) -> None:
    away = kube.kubeconfig().replace(kube.url, "https://127.0.0.1:1")
    with pytest.raises(ShortageError, match=r"https://127\.0\.0\.1:1 refuses the connection"):
        KubernetesApi(kubeconfig.parse(away, beside=tmp_path)).get(CONFIG_MAP)


def test_a_connection_that_the_server_closed_meanwhile_is_opened_again(kube: FakeKube, api: KubernetesApi) -> None:
    api.get(CONFIG_MAP)
    api._wire._connection.sock.shutdown(2)  # type: ignore[union-attr]
    assert api.get(CONFIG_MAP) is None
