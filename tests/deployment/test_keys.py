"""Keys: made once, readable by their owner alone, certificates for one service each."""

import os
import socket
import ssl
import sys
import threading
import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deployment import make_keys

SERVERS = ("superlink", "supernode-1", "supernode-2")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_keys.make(folder, 2)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def handshake(keys: Path, server: str, name: str, trusted: Path) -> str:
    """Let a client that wants to talk to `name` meet a server; return the version of TLS that they agree on."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(keys / server / "server.crt", keys / server / "server.key")
    ours = ssl.create_default_context(cafile=str(trusted))
    ours.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    left, right = socket.socketpair()

    def serve() -> None:
        try:
            theirs.wrap_socket(right, server_side=True).close()
        except OSError:
            right.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours.wrap_socket(left, server_hostname=name) as wrapped:
            return str(wrapped.version())
    finally:
        left.close()
        thread.join()


def test_what_is_there_is_kept(keys: Path) -> None:
    before = files(keys)
    make_keys.make(keys, 2)
    assert files(keys) == before
    more = files(keys)
    make_keys.make(keys, 3)
    assert {name: content for name, content in files(keys).items() if name in more} == before
    assert (keys / "supernode-3" / "node").exists()


@pytest.mark.parametrize("server", SERVERS)
def test_a_certificate_is_good_for_its_service_alone(keys: Path, server: str) -> None:
    assert handshake(keys, server, server, keys / "ca.crt") == "TLSv1.3"
    other = next(name for name in SERVERS if name != server)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(keys, server, other, keys / "ca.crt")


def test_a_certificate_of_another_authority_is_not_trusted(keys: Path, tmp_path: Path) -> None:
    make_keys.make(tmp_path, 1)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(keys, "superlink", "superlink", tmp_path / "ca.crt")


def test_the_superlink_is_found_by_its_machines_own_names(keys: Path) -> None:
    for name in ("localhost", "127.0.0.1"):
        assert handshake(keys, "superlink", name, keys / "ca.crt") == "TLSv1.3"


def test_a_nodes_key_is_of_the_kind_that_flower_reads(keys: Path) -> None:
    private = serialization.load_ssh_private_key((keys / "supernode-1" / "node").read_bytes(), None)
    public = serialization.load_ssh_public_key((keys / "control" / "supernode-1.pub").read_bytes())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert private.public_key() == public
    assert private.curve.name == "secp384r1"


def test_who_runs_apps_gets_no_private_key(keys: Path) -> None:
    for number in ("", "-1", "-2"):
        own = keys / f"superexec{number}"
        assert set(files(own)) == {"ca.crt", "superexec.secret"}
        server = "superlink" if not number else f"supernode{number}"
        assert (own / "superexec.secret").read_bytes() == (keys / server / "superexec.secret").read_bytes()
    assert not [name for name in files(keys / "control") if not name.endswith((".pub", "ca.crt", "config.toml"))]
    assert len({(keys / name / "superexec.secret").read_bytes() for name in SERVERS}) == 3


def test_only_their_owner_reads_them(keys: Path) -> None:
    for path in keys.rglob("*"):
        if path.is_file() and path != keys / "ca.crt":
            assert path.stat().st_mode & 0o077 == 0, path


def test_without_keys_flwr_is_told_so(tmp_path: Path) -> None:
    make_keys.make_insecure(tmp_path, 3)
    assert set(files(tmp_path)) == {"control/config.toml"}
    config = tomllib.loads((tmp_path / "control" / "config.toml").read_text())
    assert config["superlink"]["semfed"] == {"address": "superlink:8000", "insecure": True}


def test_a_folder_of_somebody_else_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["make_keys.py", str(tmp_path), "1"])
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(SystemExit, match=f"user {os.getuid()} cannot write in '{tmp_path}': make that folder belong"):
        make_keys.main()
    assert not files(tmp_path)
