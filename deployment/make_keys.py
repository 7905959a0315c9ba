"""Make what TLS and authentication need, one folder for every service, which sees no other.

    python make_keys.py FOLDER NODES [--insecure]

::

    authority/      the key of the certificate authority: needed to make more certificates, by no service
    superlink/      certificate and key of the server, and the secret that its SuperExec shows
    superexec/      that secret, and whom to trust
    supernode-<k>/  the key that proves who the node is, and certificate, key and secret for its own SuperExec
    superexec-<k>/  that secret, and whom to trust
    control/        public keys of the nodes and a configuration of `flwr`, to register nodes and to start runs

What is there already is kept. With ``--insecure``, `flwr`'s configuration is all that there is.
"""

import argparse
import os
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM = serialization.Encoding.PEM
VALID = timedelta(days=825)
EARLIER = timedelta(days=1)
"""Certificates are valid from then on, for a machine whose clock is late."""
ADDRESS = "superlink:8000"
CONFIG = """[superlink]
default = "semfed"

[superlink.semfed]
address = "{address}"
{trust}
"""


def make(folder: Path, nodes: int) -> None:
    """Make all keys for a number of SuperNodes.

    Parameters
    ----------
    folder : Path
        Must exist: who owns it can read the keys.
    nodes : int
    """
    authority = folder / "authority"
    if not (folder / "ca.crt").exists():
        authority.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP384R1())
        _write(authority / "ca.key", _pem(key))
        _write(folder / "ca.crt", _certificate("semfed authority", key, None, key).public_bytes(PEM), mode=0o644)
    pairs = [("superlink", "superexec", ["localhost", "127.0.0.1"])]
    pairs += [(f"supernode-{k}", f"superexec-{k}", []) for k in range(1, nodes + 1)]
    for name, executor, aliases in pairs:
        _certify(folder, name, [name, *aliases])
        _copy(folder / "ca.crt", folder / executor)
        _copy(folder / name / "superexec.secret", folder / executor)
    control = folder / "control"
    _copy(folder / "ca.crt", control)
    for name, _, _ in pairs[1:]:
        if not (folder / name / "node").exists():
            make_node_key(folder / name)
        _write(control / f"{name}.pub", (folder / name / "node.pub").read_bytes())
    _write(
        control / "config.toml", CONFIG.format(address=ADDRESS, trust='root-certificates = "/srv/flwr/ca.crt"').encode()
    )


def make_insecure(folder: Path, nodes: int) -> None:
    """Make empty folders in the place of keys, and a configuration of `flwr` that asks for none."""
    numbered = [f"{kind}-{k}" for kind in ("supernode", "superexec") for k in range(1, nodes + 1)]
    for name in ("superlink", "superexec", "control", *numbered):
        (folder / name).mkdir(exist_ok=True)
    _write(folder / "control" / "config.toml", CONFIG.format(address=ADDRESS, trust="insecure = true").encode())


def make_node_key(folder: Path) -> None:
    """Make the key by which a SuperNode proves who it is, and its public half, as OpenSSH writes them."""
    key = ec.generate_private_key(ec.SECP384R1())
    openssh = serialization.PublicFormat.OpenSSH
    _write(folder / "node.pub", key.public_key().public_bytes(serialization.Encoding.OpenSSH, openssh) + b"\n")
    _write(folder / "node", _pem(key, serialization.PrivateFormat.OpenSSH))


def _certify(folder: Path, name: str, names: Sequence[str]) -> None:
    own = folder / name
    _copy(folder / "ca.crt", own)
    if (own / "superexec.secret").exists():  # the last that is written
        return
    authority = serialization.load_pem_private_key((folder / "authority" / "ca.key").read_bytes(), None)
    assert isinstance(authority, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    key = ec.generate_private_key(ec.SECP384R1())
    _write(own / "server.key", _pem(key))
    _write(own / "server.crt", _certificate(name, key, issuer, authority, names).public_bytes(PEM))
    _write(own / "superexec.secret", secrets.token_hex(32).encode() + b"\n")


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    authority: ec.EllipticCurvePrivateKey,
    names: Sequence[str] = (),
) -> x509.Certificate:
    """Certify a key: a server's for some host names, or the authority's own without an issuer."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .add_extension(_usage(signs_certificates=issuer is None), critical=True)
    )
    if issuer is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(authority, hashes.SHA384())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(
    key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8
) -> bytes:
    return key.private_bytes(PEM, form, serialization.NoEncryption())


def _copy(file: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    _write(folder / file.name, file.read_bytes())


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file whole: one that is there is complete."""
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_name(f".{path.name}.new")
    scratch.touch(0o600)
    scratch.write_bytes(content)
    scratch.chmod(mode)
    scratch.replace(path)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("nodes", type=int)
    parser.add_argument("--insecure", action="store_true", help="no keys at all")
    given = parser.parse_args()
    if not os.access(given.folder, os.W_OK | os.X_OK):
        sys.exit(f"user {os.getuid()} cannot write in '{given.folder}': make that folder belong to SEMFED_USER")
    os.umask(0o077)
    (make_insecure if given.insecure else make)(given.folder, given.nodes)


if __name__ == "__main__":
    main()
