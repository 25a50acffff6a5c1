"""The documents say what is there: generated pages are fresh, links lead somewhere, examples run, tests exist.

Every example of README.md and docs/ runs, or says why it does not: Python code page by page in one namespace, each
`lstmfast` command inside this process, the C program with what it prints. A comment above an example may say
`<!-- not run: why -->`, or `<!-- needs: package -->`.
Next: ../docs/hooks.py.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import re
import runpy
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import oracle
import pytest
from command_line import inside
from test_images import RANDOM

import lstmfast
from lstmfast import Input, Sequential, layers
from lstmfast.commands import verify

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
if not DOCS.is_dir():
    pytest.skip("no docs beside these tests (an installed wheel)", allow_module_level=True)

PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
GUARANTEES = DOCS / "guarantees.md"
SHELL, CODE = ("sh", "bash", "console"), ("python", "c", "dockerfile")
# Programs that a page may name in a shell; what `lstmfast` does is run, and what `make` and `python` are given exists.
OTHER_PROGRAMS = {"pip", "uvicorn", "gunicorn", "curl", "pytest"}
# Pages whose commands another test runs.
COMMANDS_RUN_BY = {"cli.md": "test_cli_docs.py"}
# What the code of a page takes for granted, beside `x` and `x_t`.
BEFORE = {
    "other_libraries.md": """
import torch
class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = torch.nn.LSTM(8, 16, batch_first=True), torch.nn.Linear(16, 1)
    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])
network = Network().eval()
""",
}


class Example(NamedTuple):
    """A fenced block of a page, and the comment above it."""

    language: str
    text: str
    mark: str

    @property
    def why_not(self) -> str:
        """Why it is not run."""
        return self.mark.removeprefix("not run:").strip() if self.mark.startswith("not run:") else ""

    @property
    def missing(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        names = self.mark.removeprefix("needs:").replace(",", " ").split() if self.mark.startswith("needs:") else []
        return [name for name in names if importlib.util.find_spec(name) is None]


def examples(text: str) -> list[Example]:
    found = re.findall(r"^(?:<!-- (.*?) -->\n)?```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [Example(language, body, mark) for mark, language, body in found]


def commands(text: str) -> list[list[str]]:
    """The words of each line of a shell example, without its comments and prompts."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    split = [shlex.split(re.sub(r"^\$ ", "", line), comments=True) for line in lines]
    return [words for words in split if words]


def unmarked(text: str) -> list[str]:
    """Examples that are neither run nor marked."""
    wrong = []
    for example in examples(text):
        if example.mark.startswith("not run") and not example.why_not:
            wrong.append(f"not run, without a reason: {example.text.splitlines()[0]}")
        if example.why_not:
            continue
        if example.language == "dockerfile":
            wrong.append("a Dockerfile cannot run here")
        if example.language in SHELL:
            wrong += [" ".join(words) for words in commands(example.text) if not is_known(words)]
    return wrong


def is_known(words: list[str]) -> bool:
    program, *arguments = words
    if program == "make":
        return set(arguments) - makefile_targets() <= {word for word in arguments if "=" in word}
    if program in ("python", ".venv/bin/python"):
        if arguments[0] != "-m":
            return (ROOT / arguments[0]).is_file()
        module = ROOT / arguments[1].replace(".", "/")
        return module.is_dir() or module.with_suffix(".py").is_file() or arguments[1] in OTHER_PROGRAMS
    return program == "lstmfast" or program in OTHER_PROGRAMS


def makefile_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = re.findall(r"^([\w -]+):(?!=)", makefile, flags=re.MULTILINE)
    return {target for line in lines for target in line.split()}


def broken_links(text: str, folder: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
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
    targets = makefile_targets()
    missing += [f"make {name}" for name in re.findall(r"`make\s+([\w-]+)`", text) if name not in targets]
    missing += [name for name in re.findall(r"`(tests/c/\w+\.c)`", text) if not (ROOT / name).is_file()]
    return missing


# ---- generated pages ---------------------------------------------------------------------------------------------


def test_support_is_what_the_code_says():
    page = runpy.run_path(str(DOCS / "make_support.py"))["page"]()
    committed = (DOCS / "support.md").read_text(encoding="utf-8")
    assert committed == page, "docs/support.md is stale: run `python docs/make_support.py`"


@pytest.mark.parametrize(("script", "made"), [("make_support.py", "PAGE"), ("make_panels.py", "PICTURE")])
def test_a_stale_page_is_noticed(script, made, tmp_path, capsys):
    main = runpy.run_path(str(DOCS / script))["main"]
    assert main(["--check"]) == 0
    copy = main.__globals__[made] = tmp_path / "copy"
    assert main(["--check"]) == 1
    copy.write_text("old", encoding="utf-8")
    assert main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0


# ---- links and names ---------------------------------------------------------------------------------------------


def test_no_file_holds_two_versions_of_a_passage():
    """What a merge leaves where it could not decide."""
    for page in (*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"):
        marks = re.findall(r"^(?:<{7} |>{7} |={7}$).*", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert not marks, f"{page}: {marks}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    assert broken_links(page.read_text(encoding="utf-8"), page.parent) == []


def test_every_promise_names_tests_that_exist():
    text = GUARANTEES.read_text(encoding="utf-8")
    assert missing_tests(text) == []
    held = text.split("\n## Not yet shown")[0]
    promises = re.split(r"^- ", held, flags=re.MULTILINE)[1:]
    assert promises
    for promise in promises:
        assert re.search(r"::\w+`|`make\s+[\w-]+`", promise), f"names no test: {promise}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_tests_and_targets_exist(page):
    assert missing_tests(page.read_text(encoding="utf-8")) == []


def test_the_reference_has_every_public_name():
    reference = "".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference").glob("*.md")))
    named = set(re.findall(r"^::: lstmfast\.(?:layers\.)?(\w+)$", reference, re.MULTILINE))
    public = {*lstmfast.__all__, *layers.__all__} - {
        "__version__",
        "activations",
        "initializers",
        "layers",
        "preprocessing",
    }
    aliases = {name for name in layers.__all__ if getattr(layers, name).__name__ != name}
    in_text = {name for name in layers.__all__ if name.islower() or name in RANDOM}
    assert {name for name in in_text if f"`{name}`" not in reference} == set()
    assert public - aliases - in_text - named == set()


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1].split("\ntheme:")[0]
    listed = set(re.findall(r"([\w/-]+\.md)", navigation))
    assert {str(page.relative_to(DOCS)) for page in PAGES[1:]} - listed == set()


def test_wrong_documents_are_noticed():
    assert broken_links("[a](nowhere.md) [b](README.md#x) [c](https://x.org/y)", ROOT) == ["nowhere.md"]
    assert missing_tests("`test_docs.py::test_nothing` `make nothing` `make test` `tests/c/nothing.c`") == [
        "test_docs.py::test_nothing",
        "make nothing",
        "tests/c/nothing.c",
    ]


def test_links_out_of_the_docs_lead_into_the_site():
    hooks = runpy.run_path(str(DOCS / "hooks.py"))
    seen = hooks["outside"](["docs/kernel.md", "docs/examples.md"])
    assert {"README.md", "csrc/core/pack.c", "examples/co2/README.md"} <= set(seen)
    text = "[a](../csrc/core/pack.c) [b](../examples/co2) [c](../README.md#x) [d](cli.md) [e](https://x.org/y)"
    assert hooks["rewritten"](text, "docs/kernel.md") == (
        "[a](csrc/core/pack.c.md) [b](examples/co2/README.md) [c](index.md#x) [d](cli.md) [e](https://x.org/y)"
    )
    assert hooks["rewritten"]("[a](../cli.md)\n```\n[b](../cli.md)\n```\n", "docs/reference/x.md") == (
        "[a](../cli.md)\n```\n[b](../cli.md)\n```\n"
    )
    assert hooks["rewritten"]("[a](docs/cli.md)", "README.md") == "[a](cli.md)"
    assert hooks["rewritten"]("[a](../co2)", "examples/dask/README.md") == "[a](../co2/README.md)"


# ---- examples ----------------------------------------------------------------------------------------------------


@pytest.fixture
def names(tmp_path, monkeypatch, thread_count) -> dict[str, Any]:
    """The folder in which a page is read, and what its code finds there: x (4, 12, 3), x_t (1, 3)."""
    random = np.random.default_rng(0)
    model = Sequential([Input((None, 3)), layers.LSTM(8), layers.Dense(1)])
    model.save(tmp_path / "model.keras")
    Sequential([Input((None, 3)), layers.LSTM(4), Mix(2)]).save(tmp_path / "custom.keras")
    x = random.standard_normal((4, 12, 3)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    monkeypatch.chdir(tmp_path)
    return {"x": x, "x_t": x[0, :1], "__name__": "example"}


class Mix(layers.Layer):
    """What the page on Keras takes from a file by its name."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.gate = units, layers.Dense(units)

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units))

    def call(self, inputs: Any) -> Any:
        return self.gate(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def run_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = words[1:]
    if arguments[0] == "bench":
        arguments += ["--no-keras", "--repeats", "1", "--seconds", "1e-4"]
    ended = inside(capsys, *arguments)
    assert ended.status == 0, f"{words}\n{ended.out}{ended.err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_runs_or_says_why_not(page):
    assert unmarked(page.read_text(encoding="utf-8")) == []


WITH_EXAMPLES = [
    page for page in PAGES if any(e.language in (*SHELL, "python") for e in examples(page.read_text("utf-8")))
]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.name)
def test_examples_run(page, names, capsys, monkeypatch):
    monkeypatch.setattr(verify, "_SECONDS", 1e-4)
    monkeypatch.setattr(verify, "_REPEATS", 1)
    before = BEFORE.get(page.name, "")
    missing: list[str] = []
    for number, example in enumerate(examples(page.read_text(encoding="utf-8"))):
        if example.why_not or example.language not in (*SHELL, "python"):
            continue
        if example.missing:
            missing += example.missing
        elif example.language == "python":
            exec(before, names)
            exec(compile(example.text, f"{page.name}, example {number}", "exec"), names)
            before = ""
        elif page.name not in COMMANDS_RUN_BY:
            missing += run_commands(example.text, capsys)
    if missing:
        pytest.skip(f"the rest ran; not installed: {', '.join(missing)}")


def run_commands(text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run the `lstmfast` lines of an example; what was missing for those that could not."""
    for words in commands(text):
        if words[:2] == ["lstmfast", "verify"] and oracle.live_keras() is None:
            return ["keras"]
        if words[0] == "lstmfast":
            run_command(words, capsys)
    return []


def test_the_server_of_the_page_answers(names):
    (app,) = [example for example in examples((DOCS / "serving.md").read_text("utf-8")) if "async def" in example.text]
    exec(app.text, names)

    def ask(body: bytes) -> tuple[int, Any]:
        sent: list[dict[str, Any]] = []
        parts = [{"body": body[:5], "more_body": True}, {"body": body[5:], "more_body": False}]

        async def receive() -> dict[str, Any]:
            return parts.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(names["app"]({"type": "http"}, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])

    status, answer = ask(json.dumps({"x": names["x"].tolist()}).encode())
    assert status == 200
    assert np.array_equal(np.float32(answer["y"]), names["model"].predict(names["x"]))
    assert ask(b'{"x": [[1, 2]]}')[0] == 400
    assert ask(b"no json")[0] == 400


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_c_example_prints_what_the_page_says(tmp_path):
    page = examples((DOCS / "c-api.md").read_text(encoding="utf-8"))
    (program,) = [example.text for example in page if example.language == "c"]
    (printed,) = [example.text for example in page if example.language == "text"]
    (tmp_path / "example.c").write_text(program, encoding="utf-8")
    sources = sorted(map(str, ROOT.glob("csrc/*/*.c")))
    # the generic kernels alone, unoptimised: a second or two
    flags = [
        "-std=gnu11",
        "-ffp-contract=off",
        "-DLF_NO_AVX512",
        "-DLF_NO_AVX2",
        "-Wall",
        "-Werror=incompatible-pointer-types",
    ]
    folders = [f"-I{ROOT / 'csrc/include'}", f"-I{ROOT / 'csrc'}"]
    command = ["gcc", *flags, *folders, str(tmp_path / "example.c"), *sources, "-o", str(tmp_path / "example"), "-lm"]
    subprocess.run(command, check=True, timeout=250, capture_output=True, text=True)
    ran = subprocess.run([tmp_path / "example"], check=True, timeout=60, capture_output=True, text=True)
    assert ran.stdout == printed


def test_examples_that_do_not_run_are_noticed(names, capsys):
    assert unmarked("```sh\nnonsense --now\nmake nothing\npython no/such.py\nlstmfast info x\n```") == [
        "nonsense --now",
        "make nothing",
        "python no/such.py",
    ]
    assert unmarked("<!-- not run: -->\n```python\nx\n```") == ["not run, without a reason: x"]
    assert unmarked("<!-- not run: a reason -->\n```dockerfile\nFROM x\n```") == []
    assert unmarked("```dockerfile\nFROM x\n```") == ["a Dockerfile cannot run here"]
    (example,) = examples("<!-- needs: no_such_package, json -->\n```python\nassert False\n```")
    assert example.missing == ["no_such_package"]
    with pytest.raises(AssertionError, match="no-such"):
        run_command(["lstmfast", "info", "no-such.keras"], capsys)


def test_the_readme_has_a_python_example():
    assert any(example.language == "python" for example in examples(PAGES[0].read_text(encoding="utf-8")))


def test_most_pages_have_examples_that_run():
    ran = [
        e
        for page in PAGES
        for e in examples(page.read_text("utf-8"))
        if e.language in (*SHELL, *CODE) and not e.why_not
    ]
    assert len(ran) >= 30
