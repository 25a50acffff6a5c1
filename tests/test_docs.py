"""The documents say what is there: the generated page is fresh, links lead somewhere, examples compile, tests exist."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
if not DOCS.is_dir():
    pytest.skip("no docs beside these tests (an installed wheel)", allow_module_level=True)

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
GUARANTEES = DOCS / "guarantees.md"


def fences(page: Path) -> list[str]:
    """The Python examples of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def broken_links(text: str, folder: Path) -> list[str]:
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", text)
    targets = [target for target in targets if not re.match(r"[a-z]+:", target)]
    return [target for target in targets if target.startswith("/") or not (folder / target).exists()]


def missing_tests(text: str) -> list[str]:
    """Tests and make targets that a text names and that do not exist."""
    missing = []
    for name, test in re.findall(r"`(\w+\.py)::(\w+)`", text):
        path = ROOT / "tests" / name
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
        if not any(isinstance(node, ast.FunctionDef) and node.name == test for node in tree.body):
            missing.append(f"{name}::{test}")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):(?!=)", makefile, flags=re.MULTILINE))
    missing += [f"make {name}" for name in re.findall(r"`make\s+([\w-]+)`", text) if name not in targets]
    missing += [name for name in re.findall(r"`(tests/c/\w+\.c)`", text) if not (ROOT / name).is_file()]
    return missing


def test_support_is_what_the_code_says():
    page = runpy.run_path(str(DOCS / "make_support.py"))["page"]()
    committed = (DOCS / "support.md").read_text(encoding="utf-8")
    assert committed == page, "docs/support.md is stale: run `python docs/make_support.py`"


def test_a_stale_page_is_noticed(tmp_path, capsys):
    main = runpy.run_path(str(DOCS / "make_support.py"))["main"]
    assert main(["--check"]) == 0
    main.__globals__["PAGE"] = tmp_path / "support.md"
    assert main(["--check"]) == 1
    (tmp_path / "support.md").write_text("old", encoding="utf-8")
    assert main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    assert broken_links(page.read_text(encoding="utf-8"), page.parent) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_compile(page):
    for example in fences(page):
        compile(example, page.name, "exec")


def test_the_readme_has_a_python_example():
    assert fences(ROOT / "README.md")


def test_every_promise_names_tests_that_exist():
    text = GUARANTEES.read_text(encoding="utf-8")
    assert missing_tests(text) == []
    held = text.split("\n## Not yet shown")[0]
    promises = re.split(r"^- ", held, flags=re.MULTILINE)[1:]
    assert promises
    for promise in promises:
        assert re.search(r"::\w+`|`make\s+[\w-]+`", promise), f"names no test: {promise}"


def test_wrong_documents_are_noticed():
    assert broken_links("[a](nowhere.md) [b](README.md#x) [c](https://x.org/y)", ROOT) == ["nowhere.md"]
    assert missing_tests("`test_docs.py::test_nothing` `make nothing` `make test` `tests/c/nothing.c`") == [
        "test_docs.py::test_nothing",
        "make nothing",
        "tests/c/nothing.c",
    ]
