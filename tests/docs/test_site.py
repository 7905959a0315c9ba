"""The site is built from the pages and from the code, without a warning, and asks for nothing from elsewhere."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from semfed.events.metrics import FRAMEWORK
from tests.docs.pages import ROOT
from tests.settings.inventory import options, settings


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in a process that may open no connection."""
    folder = tmp_path_factory.mktemp("site")
    alone = "import socket, sys; socket.socket.connect = None; from mkdocs.__main__ import cli; sys.exit(cli())"
    done = subprocess.run(
        [sys.executable, "-c", alone, "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


class Links(HTMLParser):
    """What a page loads by itself, what it links to, and the places that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        if "id" in given:
            self.places.add(given["id"])
        if "src" in given:
            self.loaded.append(given["src"])
        if "href" in given:
            (self.linked if tag == "a" else self.loaded).append(given["href"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {page: Links(page.read_text(encoding="utf-8")) for page in site.rglob("*.html") if page.name != "404.html"}


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Links], site: Path) -> None:
    for page, links in pages.items():
        for target in links.loaded:
            assert not urlsplit(target).netloc, f"{page}: {target}"
            assert (page.parent / unquote(urlsplit(target).path)).exists(), f"{page}: {target}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", sheet.read_text(encoding="utf-8"))


def test_every_link_leads_somewhere(pages: dict[Path, Links]) -> None:
    for page, links in pages.items():
        for target in links.linked:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            other = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert other.exists() or target in LEFT, f"{page}: {target}"
            if parts.fragment and other in pages:
                assert unquote(parts.fragment) in pages[other].places, f"{page}: {target}"


LEFT = ("warm/",)
"""Folders that a README links to: shown by a repository, not by a site."""


def test_every_page_is_in_the_navigation() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text().split("\nplugins:")[0])["nav"]
    named = set(re.findall(r"[\w/-]+\.md", json.dumps(nav)))
    written = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert written <= named
    assert len(named - written) == 4, "the generated ones"


def text(site: Path, page: str) -> str:
    return re.sub(r"<[^>]+>", "", (site / "reference" / page).read_text(encoding="utf-8"))


def test_the_reference_has_every_setting_with_its_text(site: Path) -> None:
    rows = {
        page: re.findall(r"<tr>\s*<td><code>(.*?)</code></td>\s*<td>(.*?)</td>\s*<td>(.*?)</td>\s*<td>(.*?)</td>", html)
        for page in ("scenario.html", "parts.html")
        for html in [(site / "reference" / page).read_text(encoding="utf-8")]
    }
    assert all(all(row) for found in rows.values() for row in found), "every setting says what it is"
    names = {row[0] for found in rows.values() for row in found}
    for setting in settings():
        name = setting.rpartition(".")[2]
        assert any(shown.rpartition(".")[2] == name for shown in names), setting
    limits = {row[0]: row for row in rows["scenario.html"]}
    assert limits["momentum"][1:3] == ("number ≥ 0 and &lt; 1", "<code>0</code>")
    assert limits["timeout_s"][1:3] == ("number &gt; 0", "<code>3600</code>")


def test_the_reference_has_every_option_and_every_metric(site: Path) -> None:
    commands = text(site, "command-line.html")
    assert all(option.split()[1] in commands for option in options() if option.split()[1].startswith("--"))
    metrics = text(site, "metrics.html")
    assert all(metric.name in metrics for metric in FRAMEWORK)


def test_the_api_has_what_docstrings_say(site: Path) -> None:
    running = text(site, "api/running.html")
    assert "A run folder to go on in, from its last checkpoint" in running
    assert "Distribute training images among clients" in text(site, "api/parts.html")
