"""What the compose files say, without running anything of it."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import yaml
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
GIVEN = {"SEMFED_SERVER": "192.0.2.1", "SEMFED_USER": "1000:1000"}
WRAPPED = {"/srv/supernode.py": "flower-supernode", "/srv/warm/superexec.py": "flower-superexec"}


def layout(name: str, variables: Mapping[str, str] = GIVEN) -> dict[str, Service]:
    return load(LAYOUTS[name], variables)


def option(service: Service, name: str) -> str:
    return next(word.split("=", 1)[1] for word in service.command if word.startswith(f"--{name}="))


def program(service: Service) -> str:
    """Return Flower's program that a service runs, directly or through one of the project's."""
    first, *rest = service.command
    return WRAPPED.get(rest[0], rest[0]) if first == "python" else first


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
        if program(service).startswith("flower-"):
            known = set(re.findall(r"--[a-z-]+", help_of(program(service))))
            assert {word.split("=")[0] for word in service.command if word.startswith("-")} <= known
            checked += 1
    assert checked


@pytest.mark.parametrize("name", ["one", "server", "clients", "gpu"])
def test_tls_and_authentication_are_on_unless_it_is_asked_otherwise(name: str) -> None:
    for service in layout(name).values():
        options = {word.split("=")[0] for word in service.command[1:]}
        assert "--insecure" not in options
        if program(service) == "flower-superlink":
            assert {"--enable-supernode-auth", "--ssl-certfile", "--superexec-auth-secret-file"} <= options
        if program(service) == "flower-supernode":
            needed = {"--root-certificates", "--auth-supernode-private-key", "--ssl-certfile"}
            assert needed | {"--superexec-auth-secret-file"} <= options
        if program(service) == "flower-superexec":
            assert {"--root-certificates", "--superexec-auth-secret-file"} <= options


def test_the_insecure_overlay_leaves_no_part_half_secured() -> None:
    for service in layout("insecure").values():
        if program(service).startswith("flower-"):
            assert "--insecure" in service.command
            assert not [word for word in service.command if "ssl" in word or "auth" in word or "certificates" in word]


@pytest.mark.parametrize("name", LAYOUTS)
def test_addresses_and_ports_agree(name: str) -> None:
    services = layout(name)
    port = option(layout("one")["superlink"], "port")
    for service in services.values():
        if program(service) == "flower-supernode":
            assert option(service, "superlink") == f"superlink:{port}"
        if program(service) == "flower-superexec":
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
            assert seen == {"/keys" if service.name == "keys" else f"/keys/{service.name}"}


@pytest.mark.parametrize("name", ["one", "clients"])
def test_apps_of_clients_reach_their_own_supernode_only(name: str) -> None:
    services = layout(name)
    networks = yaml.safe_load(LAYOUTS[name][0].read_text())["networks"]
    for number in "123":
        own = f"node-{number}"
        assert services[f"superexec-{number}"].networks == (own,)
        assert networks[own] == {"internal": True}
        members = {other.name for other in services.values() if own in other.networks}
        assert members == {f"superexec-{number}", f"supernode-{number}"}


@pytest.mark.parametrize("name", ["one", "server"])
def test_the_app_of_the_server_reaches_the_superlink_only(name: str) -> None:
    services = layout(name)
    assert yaml.safe_load(LAYOUTS[name][0].read_text())["networks"]["server"] == {"internal": True}
    assert services["superexec"].networks == services["control"].networks == ("server",)
    assert {other.name for other in services.values() if "server" in other.networks} == {
        "superlink", "superexec", "control"}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_container_can_do_as_little_as_possible(name: str) -> None:
    for service in layout(name).values():
        assert service.settings["user"] == "1000:1000"
        assert service.settings["read_only"] is True
        assert service.settings["cap_drop"] == ["ALL"]
        assert service.settings["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_one_service_builds_the_image_and_no_other_pulls_it(name: str) -> None:
    services = layout(name).values()
    builds = [service.settings["build"] for service in services if "build" in service.settings]
    assert builds == [load(ONE, GIVEN)["keys"].settings["build"]]
    assert all(service.settings["pull_policy"] == "never" for service in services)


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_folder_that_is_written_to_is_made_for_root(name: str) -> None:
    written = {mount.target: mount.made for service in layout(name).values() for mount in service.mounts
               if not (mount.read_only or mount.named or mount.source.endswith("/control"))}  # fmt: skip
    assert written
    assert not any(written.values())


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
    assert f"flwr=={image.split(':')[1]}" in (ROOT / "constraints.txt").read_text().splitlines()
    for name in LAYOUTS:
        services = layout(name, {**GIVEN, "FLWR_VERSION": "9.9.9"}).values()
        assert {service.image for service in services} == {"semfed:9.9.9"}
        assert [s.settings["build"]["args"] for s in services if "build" in s.settings] == [{"FLWR_VERSION": "9.9.9"}]


def test_every_client_process_gets_the_gpus_of_the_overlay() -> None:
    services = layout("gpu")
    with_gpu = {name for name, service in services.items() if "deploy" in service.settings}
    assert with_gpu == {name for name in services if re.fullmatch(r"superexec-\d+", name)}


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("SEMFED_SERVER", "SEMFED_SERVER is not set: the IP address of the server's machine"),
        ("SEMFED_USER", "SEMFED_USER is not set: write SEMFED_USER=.* into .env beside the compose file"),
    ],
)
def test_what_has_to_be_said_is_asked_for(missing: str, message: str) -> None:
    with pytest.raises(ComposeError, match=message):
        layout("clients", {name: value for name, value in GIVEN.items() if name != missing})


def test_what_the_reader_does_not_understand_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "compose.yml"
    file.write_text("services: {a: {image: x, privileged: true}}")
    with pytest.raises(ComposeError, match="a: .*'privileged'.* not understood"):
        load([file])


def test_the_image_is_made_of_the_package_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")]
    assert (lines[0], lines[-1]) == ("*", "**/__pycache__")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {Path(folder).parts[0] for folder in project["tool"]["setuptools"]["package-dir"].values()}
    needed |= {"pyproject.toml", "setup.py", "README.md", *project["project"]["license-files"]}
    assert set(lines[1:-1]) == {f"!{name}" for name in (*needed, "deployment/requirements.txt")}


def test_versions_in_the_image_are_exact_and_those_that_the_project_asks_for() -> None:
    lines = (FOLDER / "requirements.txt").read_text().splitlines()
    exact = {r.name: str(r.specifier) for r in (Requirement(line) for line in lines if not line.startswith("#"))}
    assert all(re.fullmatch("==[^,*]+", specifier) for specifier in exact.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for wanted in map(Requirement, project["project"]["dependencies"] + project["build-system"]["requires"]):
        if wanted.name != "flwr":  # FLWR_VERSION
            assert wanted.specifier.contains(exact[wanted.name.lower()].removeprefix("==")), wanted


def test_dependencies_are_installed_before_the_source_is_there() -> None:
    steps = re.findall("^(COPY|RUN) (.*)", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    assert steps[0] == ("COPY", "deployment/requirements.txt /tmp/")
    assert steps[1][1].startswith("pip install")
    assert steps[2] == ("COPY", ". /tmp/semfed")
    assert "--no-deps --no-build-isolation" in steps[3][1]


def test_what_has_to_be_set_is_in_the_example() -> None:
    shown = (FOLDER / "example.env").read_text()
    asked = {name for file in FILES for name in re.findall(r"\$\{(\w+):\?", file.read_text())}
    assert asked == {"SEMFED_SERVER", "SEMFED_USER"}
    assert asked <= set(re.findall(r"^#? ?(\w+)=", shown, re.MULTILINE))
