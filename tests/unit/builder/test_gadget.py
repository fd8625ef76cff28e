"""A gadget's stanzas: what is printed reads back as what snapd and MicroK8s take."""

import pytest
import yaml

from snapedge_builder import gadget
from snapedge_builder.gadget import GadgetError, SeededSnap
from snapedge_hooks.situations import ConfigurationError

RUNTIME, MODEL = "A" * 32, "b1" * 16
SNAPS = [SeededSnap.parse(f"snapedge-onnx={RUNTIME}"), SeededSnap.parse(f"wine-cultivar={MODEL}")]


def test_every_snap_is_connected_and_configured() -> None:
    made = gadget.stanzas(SNAPS, gadget.options(["serve.gate=report", "serve.node-port=30080"]))
    assert made["connections"] == [
        {"plug": f"{RUNTIME}:mk8s", "slot": "EaXqgt1lyCaxKaQCU349mlodBkDCXRcg:microk8s"},
        {"plug": f"{MODEL}:mk8s", "slot": "EaXqgt1lyCaxKaQCU349mlodBkDCXRcg:microk8s"},
    ]
    assert made["defaults"][MODEL] == {"serve": {"gate": "report", "node-port": 30080}}


def test_what_is_printed_reads_back() -> None:
    made = gadget.stanzas(SNAPS, {"registry": "10.0.0.1:5000"})
    printed = gadget.text(SNAPS, made)
    assert printed.startswith(f"# {RUNTIME} is snapedge-onnx\n# {MODEL} is wine-cultivar\nconnections:\n")
    assert "config: |\n" in printed
    assert yaml.safe_load(printed) == made


def test_microk8s_is_told_its_addons_and_where_images_come_from() -> None:
    made = gadget.stanzas(SNAPS, {})
    assert list(made["defaults"]) == [gadget.MICROK8S]
    assert yaml.safe_load(made["defaults"][gadget.MICROK8S]["config"]) == {
        "version": "0.2.0",
        "addons": [{"name": "dns"}, {"name": "hostpath-storage"}, {"name": "registry"}],
        "containerdRegistryConfigs": {
            "localhost:32000": 'server = "http://localhost:32000"\n\n[host."http://localhost:32000"]\n'
            'capabilities = ["pull", "resolve"]\n'
        },
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wine", "'wine' is not name=snap-id; `snap info <name>`"),
        ("wine=short", "'wine=short' is not name=snap-id"),
        (f"Wine={MODEL}", "is not a snap name"),
        (f"wine={MODEL}\n", "is not name=snap-id"),
    ],
)
def test_what_is_no_snap_is_refused(text: str, said: str) -> None:
    with pytest.raises(GadgetError) as caught:
        SeededSnap.parse(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["gate=strict"], "'gate=strict' is not serve.<key>=<value>"),
        (["serve.gate"], "'serve.gate' is not serve.<key>=<value>"),
        (["serve.gate=none", "serve.gate=none"], "serve.gate stands twice"),
        (["serve.gate=off"], "serve.gate: 'off' is not a gate"),
        (["serve.registry=there"], "serve.registry: 'there' is not host:port"),
        (["serve.colour=red"], "serve.colour: is not a key"),
    ],
)
def test_an_option_that_the_device_would_refuse_is_refused_here(settings: list[str], said: str) -> None:
    with pytest.raises((GadgetError, ConfigurationError)) as caught:
        gadget.options(settings)
    assert str(caught.value).startswith(said)


def test_a_snap_stands_once() -> None:
    with pytest.raises(GadgetError, match=f"snap ID {MODEL} stands twice"):
        gadget.stanzas([SNAPS[1], SNAPS[1]], {})
    with pytest.raises(GadgetError, match="no snap is named"):
        gadget.stanzas([], {})
    with pytest.raises(GadgetError, match="'x' is not a snap ID"):
        gadget.stanzas(SNAPS, {}, microk8s="x")


def test_the_snap_that_brings_kserve_is_connected_both_ways() -> None:
    brings = SeededSnap.parse(f"snapedge-microk8s={'c' * 32}")
    made = gadget.stanzas(SNAPS, {"gate": "report"}, configuration_snap=brings)
    assert made["connections"][2:] == [
        {"plug": f"{'c' * 32}:mk8s", "slot": f"{gadget.MICROK8S}:microk8s"},
        {"plug": f"{gadget.MICROK8S}:configuration", "slot": f"{'c' * 32}:configuration"},
    ]
    assert "c" * 32 not in made["defaults"]
