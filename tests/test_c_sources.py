"""Lints of csrc: the rules of the house that a compiler does not know.

Every rule is a function from a file's path and text to complaints, so that `test_every_rule_can_fail` can show each of
them a file that breaks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
CYTHON = [path for pattern in ("*.pyx", "*.px[di]") for path in sorted((ROOT / "lstmfast").glob(pattern))]
TEXT = (".py", ".pyx", ".pxd", ".pxi", ".pyi", ".c", ".h", ".inc", ".md", ".toml")
SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in (".c", ".h", ".inc"))
NAMES = {path.name for path in SOURCES}

if not SOURCES:
    pytest.skip("no C sources beside these tests (an installed wheel)", allow_module_level=True)

HEAD_LINES = 6
# A room may include its own files and those of the rooms below it. `include` is the public interface.
BELOW = {
    "include": set(),
    "isa": set(),
    "kernels": {"isa", "include"},
    "core": {"kernels", "isa", "include"},
}
IMPURE = r"malloc|calloc|realloc|free|aligned_alloc|posix_memalign|printf|fprintf|fputs|puts|abort|exit|getenv|fopen"

Rule = Callable[[Path, str], Iterator[str]]


def room(path: Path) -> str:
    return path.relative_to(CSRC).parts[0]


def without_comments(text: str) -> str:
    """`text` with its comments blanked, line breaks kept."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda match: re.sub(r"[^\n]", " ", match.group()), text, flags=re.DOTALL)


def head(text: str) -> str:
    """The comment that a file begins with, or nothing."""
    match = re.match(r"/\*.*?\*/|(?://[^\n]*\n)+", text, flags=re.DOTALL)
    return match.group() if match else ""


def head_is_short_and_names_files(path: Path, text: str) -> Iterator[str]:
    comment = head(text)
    if not comment:
        yield "begins without a comment"
    if len(comment.rstrip().splitlines()) > HEAD_LINES:
        yield f"its head has more than {HEAD_LINES} lines"
    mentioned = set(re.findall(r"[\w/<>]*?(\w+\.(?:c|h|inc)|vec_<isa>\.h)\b", comment))
    if not mentioned:
        yield "its head names no other file"
    for name in mentioned - {"vec_<isa>.h"} - NAMES:
        if not list(ROOT.glob(f"tests/c/{name}")):
            yield f"its head names {name}, which does not exist"


def openmp_stays_in_core(path: Path, text: str) -> Iterator[str]:
    if room(path) != "core" and re.search(r"#\s*pragma\s+omp|omp\.h|\bomp_\w+\s*\(", without_comments(text)):
        yield "uses OpenMP outside core"


def kernels_are_pure(path: Path, text: str) -> Iterator[str]:
    if room(path) not in ("kernels", "isa"):
        return
    code = without_comments(text)
    for match in re.finditer(rf"\b({IMPURE})\s*\(", code):
        yield f"calls {match.group(1)}"
    if path.name not in ("dispatch.c", "cpu.c"):  # the two that keep what the probe found
        for match in re.finditer(r"^static (?!const|inline|_Noreturn)(?!.*\()[^\n]*;", code, flags=re.MULTILINE):
            yield f"keeps state: {match.group()}"


def no_dead_code(path: Path, text: str) -> Iterator[str]:
    if re.search(r"#\s*if\s+[01]\s*$", text, flags=re.MULTILINE):
        yield "holds an `#if 0` or `#if 1`"
    for match in re.finditer(r"^\s*//.*;\s*$", text, flags=re.MULTILINE):
        yield f"holds commented-out code: {match.group().strip()}"


def includes_run_one_way(path: Path, text: str) -> Iterator[str]:
    for quote, name in re.findall(r'^#\s*include\s+(["<])([^">]+)', text, flags=re.MULTILINE):
        if quote == "<":
            if name.startswith("lstmfast") and "include" not in BELOW[room(path)]:
                yield f"{room(path)} includes the public header"
            continue
        target = (path.parent / name).resolve()
        if not target.is_file():
            yield f"includes {name}, which is not there"
        elif room(target) != room(path) and room(target) not in BELOW[room(path)]:
            yield f"{room(path)} includes {room(target)}/{target.name}"


def no_functions_in_macros(path: Path, text: str) -> Iterator[str]:
    for match in re.finditer(r"^#\s*define[^\n]*\\\n(?:[^\n]*\\\n)*[^\n]*", text, flags=re.MULTILINE):
        if match.group().count(";") > 2:
            yield f"a function body in a macro: {match.group().splitlines()[0]}"


def no_build_host_flags(path: Path, text: str) -> Iterator[str]:
    if re.search(r"march\s*=\s*native|mtune\s*=\s*native", text):
        yield "is compiled for the machine that builds it"


def intrinsics_stay_in_isa(path: Path, text: str) -> Iterator[str]:
    if room(path) == "kernels" and re.search(r"\b_mm\d*_\w+|\bv\w+q_f(?:32|64)\b", without_comments(text)):
        yield "uses an intrinsic: those belong in isa/vec_<isa>.h"


RULES: list[Rule] = [
    head_is_short_and_names_files,
    openmp_stays_in_core,
    kernels_are_pure,
    no_dead_code,
    includes_run_one_way,
    no_functions_in_macros,
    no_build_host_flags,
    intrinsics_stay_in_isa,
]

# For each rule a file that breaks it.
BROKEN = {
    "head_is_short_and_names_files": (
        "kernels/x.inc",
        "/* A\n * B\n * C\n * D\n * E\n * F\n * Next: nowhere.inc. */\n",
    ),
    "openmp_stays_in_core": ("kernels/x.inc", "#pragma omp parallel\n"),
    "kernels_are_pure": ("kernels/x.inc", "void f(void) { g(malloc (3)); }\n"),
    "no_dead_code": ("core/x.c", "#if 0\nint x;\n#endif\n"),
    "includes_run_one_way": ("isa/x.h", '#include "../core/layer.h"\n'),
    "no_functions_in_macros": ("core/x.c", "#define F(x) do { \\\n  a(x); \\\n  b(x); \\\n  c(x); } while (0)\n"),
    "no_build_host_flags": ("core/x.c", "#pragma GCC optimize(-march=native)\n"),
    "intrinsics_stay_in_isa": ("kernels/x.inc", "x = _mm512_add_ps(a, b);\n"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_c_sources_keep(rule):
    complaints = [
        f"{path.relative_to(ROOT)}: {complaint}" for path in SOURCES for complaint in rule(path, path.read_text())
    ]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_rule_can_fail(rule):
    name, text = BROKEN[rule.__name__]
    assert list(rule(CSRC / name, text))


def test_cython_sees_the_public_header_alone():
    headers = {
        name
        for path in CYTHON
        for name in re.findall(r'cdef extern from\s+["<]+([^">]+)', path.read_text())
        if not name.startswith(("Python.h", "numpy/", "stdint.h"))
    }
    assert headers == {"lstmfast.h"}


def test_the_core_computes_nothing_in_cython():
    for path in CYTHON:
        assert not re.search(r"\b(exp|tanh|sqrt|prange|parallel)\s*\(", path.read_text()), path


def test_the_public_header_is_small_and_plain():
    text = without_comments((CSRC / "include" / "lstmfast.h").read_text())
    functions = re.findall(r"\b(lf_\w+)\(", text)
    assert 5 <= len(functions) <= 17, functions
    assert set(re.findall(r"#\s*include\s+<([^>]+)>", text)) <= {"stddef.h", "stdint.h"}


def test_no_absolute_paths_in_tracked_text():
    """Paths of a developer's machine have no place in the repository."""
    suspicious = re.compile(r"/(?:home|root|work|opt|Users)/[\w.]+/")
    found = []
    for folder in ("csrc", "lstmfast", "tests", "bench", "examples", "docs", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in TEXT and path != Path(__file__):
                found += [f"{path.relative_to(ROOT)}: {hit}" for hit in suspicious.findall(path.read_text())]
    assert not found, found
