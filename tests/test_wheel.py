"""The package as users get it: built, installed in an environment of its own, away from this repository."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest

from semfed.scenario import built_in

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def call(*words: str | Path, **options: object) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build from, so that what an earlier build has left in this folder does not count."""
    source = tmp_path_factory.mktemp("source")
    for name in ("semfed", "clients", "strategies", "scenarios", "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        call("cp", "-r", ROOT / name, source)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("wheel"))


def build(source: Path, folder: Path, **variables: str) -> Path:
    words = ["wheel", source, "--no-deps", "--no-build-isolation", "--quiet", "-w", folder]
    call(sys.executable, "-m", "pip", *words, env={**os.environ, **variables})
    (made,) = folder.glob("*.whl")
    return made


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        return HeaderParser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def scratch(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; what it depends on is this one's, whose own semfed is not seen."""
    folder = tmp_path_factory.mktemp("scratch")
    call(sys.executable, "-m", "venv", "--without-pip", folder)
    site = Path(call(folder / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    call(sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", site, wheel)
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "zz_dependencies.pth").write_text("\n".join(others))
    return folder


def files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_it_holds_types_and_every_scenario_with_its_page_and_results(wheel: Path) -> None:
    held = files(wheel)
    assert "semfed/py.typed" in held
    for name, path in built_in().items():
        told = [file for file in path.parent.rglob("*") if file.suffix in (".toml", ".md", ".json")]
        assert len(told) >= 3
        assert {f"semfed/scenarios/{name}/{file.relative_to(path.parent)}" for file in told} <= held
    assert not [name for name in held if name.startswith(("clients", "strategies", "scenarios", "tests", "docs"))]
    modules = {f"semfed/{path.relative_to(ROOT / 'semfed')}" for path in (ROOT / "semfed").rglob("*.py")}
    for top in ("clients", "strategies"):
        modules |= {f"semfed/{path.relative_to(ROOT)}" for path in (ROOT / top).rglob("*.py")}
    assert modules <= held


def test_it_says_what_it_is(wheel: Path) -> None:
    told = metadata(wheel)
    assert told["Description-Content-Type"] == "text/markdown"
    assert told["Requires-Python"] == PROJECT["requires-python"]
    assert "Typing :: Typed" in told.get_all("Classifier", [])
    shown, readme = str(told.get_payload()), (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)|(?:src|href)=\"([^\"]+)", shown)
    assert links
    assert all(link.startswith("https://") for pair in links for link in pair if link), "a page cannot follow others"
    assert "![" not in shown, "its pictures are the repository's"
    prose = [line for line in readme.splitlines() if line and not re.search(r"\]\(|^\*|\*$|^against one", line)]
    assert len(prose) > 50
    assert [line for line in prose if line not in shown] == []
    assert [line for line in readme.splitlines() if line.startswith("#")] == [
        line for line in shown.splitlines() if line.startswith("#")
    ]


def test_with_an_address_its_page_has_the_pictures_and_links_of_the_readme(source: Path, tmp_path: Path) -> None:
    address = "https://example.org/semfed"
    told = metadata(build(source, tmp_path, SEMFED_ADDRESS=f"{address}/"))
    assert told.get_all("Project-URL") == [
        f"Source, {address}",
        f"Documentation, {address}/blob/main/docs/index.md",
        f"Changelog, {address}/blob/main/CHANGELOG.md",
    ]
    links = re.compile(r"(!?)\[([^\]]*)\]\(([^)]+)\)")
    shown, readme = (links.findall(str(text)) for text in (told.get_payload(), (ROOT / "README.md").read_text()))
    places = {"": "blob", "!": "raw"}
    assert shown == [
        (mark, text, link if link.startswith("https:") else f"{address}/{places[mark]}/main/{link}")
        for mark, text, link in readme
    ]
    paths = [link.split("/main/")[1] for mark, text, link in shown if "/main/" in link]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_it_runs_away_from_the_repository(scratch: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SEMFED_CACHE": str(tmp_path / "cache")}
    python = scratch / "bin" / "python"
    where = call(python, "-c", "import semfed; print(semfed.__file__)", cwd=tmp_path, env=environment)
    assert Path(where.strip()).is_relative_to(scratch)
    semfed = [python, "-m", "semfed"]
    listed = call(*semfed, "list", cwd=tmp_path, env=environment)
    assert all(name in listed for name in built_in())
    chosen = ["--seeds", "0", "--arms", "individual", "--set", "rounds=1", "--out", "run"]
    call(*semfed, "run", "digits", *chosen, cwd=tmp_path, env=environment)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["complete"]


@pytest.mark.long
def test_type_checkers_see_its_types(scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import semfed\n\nreveal_type(semfed.run('digits').folder)\nsemfed.run(seeds=1.5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", str(scratch / "bin" / "python"), "mine.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'Revealed type is "pathlib.Path"' in done.stdout
    assert 'Argument "seeds" to "run" has incompatible type "float"' in done.stdout
