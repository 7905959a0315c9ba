"""What `mkdocs build` gets beside the pages of this folder: the generated reference, and what pages link to outside.

A page links as the repository lies, so its links work there, too. Files outside of this folder come along with the
pages that link to them, at the same place below the site's root.
"""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))

import reference  # noqa: E402 - it stands beside this file

_LINK = re.compile(r"(?<=\]\()[\w./-]+(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add generated pages, and what is linked outside of the folder of the pages."""
    for uri, text in reference.pages().items():
        files.append(File.generated(config, uri, content=text))
    for page in list(files.documentation_pages()):
        if page.generated_by is None:
            _bring(files, config, page.content_string, Path(config.docs_dir, page.src_uri).parent)
    return files


def _bring(files: Files, config: MkDocsConfig, text: str, folder: Path) -> None:
    """Add the files outside that a text links to, and what they link to themselves."""
    for link in _LINK.findall(text):
        path = (folder / link).resolve()
        if not path.is_file() or path.is_relative_to(config.docs_dir) or not path.is_relative_to(ROOT):
            continue
        uri = path.relative_to(ROOT).as_posix()
        if uri == "README.md":  # would be the site's first page, which there is
            continue
        if files.get_file_from_path(uri) is None:
            found = File.generated(config, uri, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
            files.append(found)
            if path.suffix == ".md":
                _bring(files, config, path.read_text(encoding="utf-8"), path.parent)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links that lead out of the folder of the pages lead to where the file is on the site."""
    source = Path(page.file.src_uri)
    outside = page.file.abs_src_path is not None and not Path(page.file.abs_src_path).is_relative_to(config.docs_dir)

    def here(link: re.Match[str]) -> str:
        folder = ROOT if outside else Path(config.docs_dir)
        path = (folder / source.parent / link[0]).resolve()
        if not path.is_file() or (path.is_relative_to(config.docs_dir) and not outside):
            return link[0]
        base = config.docs_dir if path.is_relative_to(config.docs_dir) else ROOT
        return "../" * (len(source.parts) - 1) + path.relative_to(base).as_posix()

    return _LINK.sub(here, markdown)
