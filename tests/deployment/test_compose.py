"""What the compose files say, without running anything of it."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deployment.compose import ComposeError, Service, load

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deployment"
ONE = [ROOT / "docker-compose.yml"]
FILES = [*ONE, *sorted(FOLDER.glob("*.yml"))]
SERVER, CLIENTS = [FOLDER / "server.yml"], [FOLDER / "clients.yml"]
LAYOUTS = {
    "one": ONE,
    "server": SERVER,
    "clients": CLIENTS,
    "insecure": [*ONE, FOLDER / "insecure.yml"],
    "gpu": [*ONE, FOLDER / "gpu.yml"],
}
GIVEN = {"SEMFED_SERVER": "192.0.2.1"}


def layout(name: str, variables: Mapping[str, str] = GIVEN) -> dict[str, Service]:
    return load(LAYOUTS[name], variables)


def option(service: Service, name: str) -> str:
    return next(word.split("=", 1)[1] for word in service.command if word.startswith(f"--{name}="))


@cache
def help_of(command: str) -> str:
    path = shutil.which(command, path=sysconfig.get_path("scripts")) or shutil.which(command)
    assert path is not None
    return subprocess.run([path, "--help"], capture_output=True, text=True, check=True).stdout


def test_they_are_what_the_compose_specification_allows() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *FILES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_option_is_one_of_the_installed_flower(name: str) -> None:
    checked = 0
    for service in layout(name).values():
        if service.command[0].startswith("flower-"):
            known = set(re.findall(r"--[a-z-]+", help_of(service.command[0])))
            assert {word.split("=")[0] for word in service.command[1:]} <= known
            checked += 1
    assert checked


@pytest.mark.parametrize("name", ["one", "server", "clients", "gpu"])
def test_tls_and_authentication_are_on_unless_it_is_asked_otherwise(name: str) -> None:
    for service in layout(name).values():
        program, options = service.command[0], {word.split("=")[0] for word in service.command[1:]}
        assert "--insecure" not in options
        if program == "flower-superlink":
            assert {"--enable-supernode-auth", "--ssl-certfile", "--superexec-auth-secret-file"} <= options
        if program == "flower-supernode":
            needed = {"--root-certificates", "--auth-supernode-private-key", "--ssl-certfile"}
            assert needed | {"--superexec-auth-secret-file"} <= options
        if program == "flower-superexec":
            assert {"--root-certificates", "--superexec-auth-secret-file"} <= options


def test_the_insecure_overlay_leaves_no_part_half_secured() -> None:
    for service in layout("insecure").values():
        if service.command[0].startswith("flower-"):
            assert "--insecure" in service.command
            assert not [word for word in service.command if "ssl" in word or "auth" in word or "certificates" in word]


@pytest.mark.parametrize("name", LAYOUTS)
def test_addresses_and_ports_agree(name: str) -> None:
    services = layout(name)
    port = option(load(ONE)["superlink"], "port")
    for service in services.values():
        if service.command[0] == "flower-supernode":
            assert option(service, "superlink") == f"superlink:{port}"
        if service.command[0] == "flower-superexec":
            host, own = option(service, "runtime-api-address").split(":")
            assert option(services[host], "port") == own
            assert set(service.depends_on) == {host}
    for published in [p for service in services.values() for p in service.ports]:
        assert published.split(":")[-2:] == [port, port]


def test_on_one_machine_nothing_is_open_to_the_network() -> None:
    ports = [port for service in layout("one").values() for port in service.ports]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_nobody_sees_the_keys_of_others() -> None:
    for name in ("one", "server", "clients"):
        for service in layout(name, {**GIVEN, "SEMFED_KEYS": "/keys"}).values():
            seen = {mount.source for mount in service.mounts if mount.source.startswith("/keys")}
            number = service.name.rsplit("-", 1)[-1]
            if service.name == "keys":
                assert seen == {"/keys"}
            elif number.isdigit():
                assert seen == {f"/keys/supernode-{number}"}
            else:
                assert seen == {"/keys/control" if service.name == "control" else "/keys/superlink"}


@pytest.mark.parametrize("name", ["one", "clients", "insecure"])
def test_every_supernode_keeps_states_in_a_folder_of_its_own(name: str) -> None:
    services = layout(name, {**GIVEN, "SEMFED_STATES": "/states"})
    for number in "123":
        assert 'state-dir="/srv/states"' in option(services[f"supernode-{number}"], "node-config")
        kept = [mount for mount in services[f"superexec-{number}"].mounts if mount.target == "/srv/states"]
        assert [(mount.source, mount.read_only) for mount in kept] == [(f"/states/supernode-{number}", False)]


def test_two_machines_run_together_what_one_runs() -> None:
    split = {**layout("server"), **layout("clients")}
    together = layout("one")
    assert set(split) == set(together)
    for name, service in together.items():
        assert split[name].command == service.command
        assert split[name].mounts == service.mounts
        assert split[name].environment == service.environment


def test_one_variable_pins_the_version() -> None:
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    flower = next(r for r in map(Requirement, requirements) if r.name == "flwr")
    image = layout("one")["superlink"].image
    assert flower.specifier.contains(image.split(":")[1])
    assert image.split(":")[1] == version("flwr")
    for name in LAYOUTS:
        services = layout(name, {**GIVEN, "FLWR_VERSION": "9.9.9"}).values()
        assert {service.image for service in services} == {"semfed:9.9.9"}
        assert all(s.settings["build"]["args"] == {"FLWR_VERSION": "9.9.9"} for s in services)


def test_every_client_process_gets_the_gpus_of_the_overlay() -> None:
    services = layout("gpu")
    with_gpu = {name for name, service in services.items() if "deploy" in service.settings}
    assert with_gpu == {name for name in services if re.fullmatch(r"superexec-\d+", name)}


def test_the_server_has_to_be_named_on_the_clients_machine() -> None:
    with pytest.raises(ComposeError, match="SEMFED_SERVER is not set: the IP address of the server's machine"):
        layout("clients", {})


def test_what_the_reader_does_not_understand_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "compose.yml"
    file.write_text("services: {a: {image: x, privileged: true}}")
    with pytest.raises(ComposeError, match="a: .*'privileged'.* not understood"):
        load([file])


def test_keys_are_made_once_and_certificates_name_their_service(tmp_path: Path) -> None:
    for program in ("openssl", "ssh-keygen"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is needed")
    make = ["sh", FOLDER / "make-keys.sh", tmp_path / "keys", "2"]
    subprocess.run(make, check=True, capture_output=True)
    first = {path: path.read_bytes() for path in (tmp_path / "keys").rglob("*") if path.is_file()}
    subprocess.run(make, check=True, capture_output=True)
    assert {path: path.read_bytes() for path in first} == first

    for name in ("superlink", "supernode-1", "supernode-2"):
        own = tmp_path / "keys" / name
        verify = ["openssl", "verify", "-purpose", "sslserver", "-verify_hostname", name, "-CAfile", own / "ca.crt"]
        subprocess.run([*verify, own / "server.crt"], check=True, capture_output=True)
        assert subprocess.run([*verify[:5], "other", *verify[6:], own / "server.crt"], check=False).returncode
        assert (own / "server.key").stat().st_mode & 0o077 == 0
        assert not (own / "ca.key").exists()
    secrets = [(tmp_path / "keys" / name / "superexec.secret").read_text() for name in ("superlink", "supernode-1")]
    assert secrets[0] != secrets[1]
