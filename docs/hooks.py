"""What mkdocs needs to know of this repository: pages may link to files outside docs/, and README.md is the home page.

The links are those that lead somewhere in a checkout. What they lead to outside docs/ becomes part of the site, at its
path in the repository: Markdown and source code as pages, anything else as it is.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
HOME = "README.md"
ALSO = (HOME, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")  # in the navigation, whoever links to them
LANGUAGES = {".py": "python", ".pyx": "cython", ".c": "c", ".h": "c", ".inc": "c", ".toml": "toml", "Makefile": "make"}

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")
FENCE = re.compile(r"^ *(```|~~~)")


def prose(text: str) -> Iterator[tuple[str, bool]]:
    """The lines of a page, and whether each is outside fenced code."""
    inside = False
    for line in text.splitlines(keepends=True):
        fence = FENCE.match(line) is not None
        yield line, not (inside or fence)
        inside ^= fence


def target_of(link: str, page: str) -> str:
    """The path in the repository that a link of a page leads to; of a folder its README."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return posixpath.join(path, HOME) if (ROOT / path / HOME).is_file() else path


def language(path: str) -> str:
    """Of source code, else an empty string."""
    return LANGUAGES.get(posixpath.splitext(path)[1] or posixpath.basename(path), "")


def place(path: str) -> str:
    """Where in the site's sources a file of the repository is."""
    if path == HOME:
        return "index.md"
    return path.removeprefix("docs/") + (".md" if language(path) else "")


def outside(pages: list[str]) -> list[str]:
    """The files outside docs/ that these pages lead to, and those that lead on from there."""
    seen, left = list(ALSO), [*pages, *ALSO]
    while left:
        page = left.pop()
        if not page.endswith(".md"):
            continue
        for line, counts in prose((ROOT / page).read_text(encoding="utf-8")):
            for link in LINK.findall(line) if counts else ():
                path = target_of(link, page)
                if not path.startswith(("docs/", "..")) and path not in seen and (ROOT / path).is_file():
                    seen.append(path)
                    left.append(path)
    return seen


def rewritten(text: str, page: str) -> str:
    """A page with its links as they are in the site."""
    here = posixpath.dirname(place(page))
    lines = []
    for line, counts in prose(text):
        lines.append(LINK.sub(lambda link: relative(link[0], page, here), line) if counts else line)
    return "".join(lines)


def relative(link: str, page: str, here: str) -> str:
    path = target_of(link, page)
    return posixpath.relpath(place(path), here) if (ROOT / path).is_file() else link


def source_page(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    return f"# {path}\n\n``````{language(path)}\n{text}``````\n"


# ---- what mkdocs calls -------------------------------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    from mkdocs.structure.files import File

    pages = ["docs/" + file.src_uri for file in files.documentation_pages()]
    for path in outside(pages):
        made: dict[str, Any] = {"content": source_page(path)} if language(path) else {"abs_src_path": str(ROOT / path)}
        files.append(File.generated(config, place(path), **made))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    uri = page.file.src_uri
    path = HOME if uri == "index.md" else uri
    if language(path.removesuffix(".md")):
        return markdown
    return rewritten(markdown, path if page.file.generated_by else "docs/" + path)
