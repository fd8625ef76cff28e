"""The certificate authority of a virtual cluster and the kubeconfig that MicroK8s would write with it.

Keys are made once and kept, as a cluster keeps its own; certificates live for ten years, the device for much less.
"""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCertificates:
    """Everything TLS needs on both sides of one cluster."""

    authority: bytes
    server_certificate: Path
    server_key: Path
    admin: Identity

    def server_context(self) -> ssl.SSLContext:
        """For the API: a client without a certificate gets in and is answered 401, one with a foreign one does not."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_certificate, self.server_key)
        context.load_verify_locations(cadata=self.authority.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def kubeconfig(self, server: str) -> str:
        """YAML of the shape of MicroK8s's credentials/client.config: everything embedded, user admin."""
        document = {
            "apiVersion": "v1",
            "clusters": [
                {
                    "cluster": {"certificate-authority-data": _base64(self.authority), "server": server},
                    "name": "microk8s-cluster",
                }
            ],
            "contexts": [{"context": {"cluster": "microk8s-cluster", "user": "admin"}, "name": "microk8s"}],
            "current-context": "microk8s",
            "kind": "Config",
            "preferences": {},
            "users": [
                {
                    "name": "admin",
                    "user": {
                        "client-certificate-data": _base64(self.admin.certificate),
                        "client-key-data": _base64(self.admin.key),
                    },
                }
            ],
        }
        return yaml.safe_dump(document, sort_keys=False)


def load_or_create(folder: Path, address: str) -> ClusterCertificates:
    """The certificates kept in `folder`, made for `address` if there are none."""
    names = ("ca.crt", "server.crt", "server.key", "admin.crt", "admin.key")
    if not all((folder / name).is_file() for name in names):
        _create(folder, address)
    return ClusterCertificates(
        authority=(folder / "ca.crt").read_bytes(),
        server_certificate=folder / "server.crt",
        server_key=folder / "server.key",
        admin=Identity(certificate=(folder / "admin.crt").read_bytes(), key=(folder / "admin.key").read_bytes()),
    )


def _create(folder: Path, address: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"virtual cluster at {address}")])
    authority = _builder(authority_name, authority_name, authority_key.public_key(), now)
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    authority = authority.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False
    )
    authority = authority.add_extension(_usage(signs_certificates=True), critical=True)
    _save(folder / "ca.crt", authority.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    server_names: list[x509.GeneralName] = [
        x509.IPAddress(IPv4Address(address)),
        x509.IPAddress(IPv4Address("127.0.0.1")),
        x509.DNSName("localhost"),
        x509.DNSName("kubernetes.default.svc"),
    ]
    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    admin = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters"),
            x509.NameAttribute(NameOID.COMMON_NAME, "admin"),
        ]
    )
    for name, subject, usage, alternatives in (
        ("server", server, ExtendedKeyUsageOID.SERVER_AUTH, server_names),
        ("admin", admin, ExtendedKeyUsageOID.CLIENT_AUTH, []),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(subject, authority_name, key.public_key(), now)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(authority_key, hashes.SHA256())
        _save(folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _save(folder / f"{name}.key", private)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFETIME)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _save(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
