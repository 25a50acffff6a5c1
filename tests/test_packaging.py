"""What the packages say of themselves: the version in one place, every module listed, no wheel that is too large."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest
from programs import run_python

import lstmfast
from lstmfast import _core

ROOT = Path(__file__).resolve().parent.parent
if not (ROOT / "pyproject.toml").is_file():
    pytest.skip("no sources beside these tests (an installed wheel)", allow_module_level=True)

VERSION = re.compile(r"""^\s*(?:__)?version(?:__)?\s*[:=]\s*["']?(\d[\w.]*)""", re.MULTILINE)


def versions(text: str) -> list[str]:
    return VERSION.findall(text)


def test_the_citation_has_the_version():
    assert versions((ROOT / "CITATION.cff").read_text(encoding="utf-8")) == [lstmfast.__version__]


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.py", "lstmfast/__init__.py", "csrc/include/lstmfast.h"])
def test_nothing_else_repeats_it(name):
    assert versions((ROOT / name).read_text(encoding="utf-8")) == []


def test_a_second_version_is_noticed():
    assert versions('version = "1.2"') == versions("version: 1.2") == versions('__version__ = "1.2"') == ["1.2"]


def test_every_module_is_in_a_package():
    """`packages.find` leaves out a folder without __init__.py."""
    folders = {path.parent for path in (ROOT / "lstmfast").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


# -- `import lstmfast` imports what is asked for ---------------------------------------------------------------------


def test_import_is_light():
    """It takes the extension, so that what cannot run fails here; all else waits for the first name."""
    code = """
    import sys
    import lstmfast
    found = sorted(name for name in sys.modules if name.startswith("lstmfast."))
    assert found == ["lstmfast._core", "lstmfast._environment", "lstmfast._version"], found
    from lstmfast import *
    assert {"lstmfast.models", "lstmfast.saving", "lstmfast.layers.lstm"} <= set(sys.modules)
    heavy = {"h5py", "tensorflow", "keras", "tf_keras", "torch", "onnx", "scipy", "pandas", "multiprocessing"}
    assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))
    """
    run_python(code)


def test_every_public_name_is_found_and_typed():
    """The three lists of __init__.py: for people, for type checkers, for the import."""
    tree = ast.parse((ROOT / "lstmfast/__init__.py").read_text(encoding="utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    places = {}
    for statement in typed.body:
        assert isinstance(statement, ast.ImportFrom)
        places |= {alias.name: statement.module for alias in statement.names}
    assert sorted([*places, "__version__"]) == sorted(lstmfast.__all__)
    for name, module in places.items():
        assert getattr(lstmfast, name) is getattr(importlib.import_module(module), name), name
    assert set(lstmfast.__all__) <= set(dir(lstmfast))
    for module in lstmfast._MODULES:
        assert getattr(lstmfast, module) is importlib.import_module(f"lstmfast.{module}")


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(lstmfast, "fit")
    with pytest.raises(AttributeError, match="module 'lstmfast' has no attribute 'Sequentail'") as caught:
        _ = lstmfast.Sequentail
    assert (caught.value.name, caught.value.obj) == ("Sequentail", lstmfast)  # Python makes "Did you mean" of these
    with pytest.raises(ImportError, match="cannot import name 'Sequentail'"):
        exec("from lstmfast import Sequentail")


def test_threads_may_ask_for_the_first_names_in_any_order():
    """Modules that import each other in a circle, or a package that imports its own, lock two threads out."""
    code = """
    import importlib, pkgutil, random, sys, threading
    import lstmfast
    names = [name for name in lstmfast.__all__ if name != "__version__"]
    modules = [name for _, name, _ in pkgutil.walk_packages(lstmfast.__path__, "lstmfast.") if "__main__" not in name]
    jobs = [(getattr, lstmfast, name) for name in names] + [(importlib.import_module, name) for name in modules]
    random.Random(int(sys.argv[1])).shuffle(jobs)
    start, wrong = threading.Barrier(len(jobs)), []

    def ask(function, *arguments):
        start.wait()
        try:
            function(*arguments)
        except Exception as error:
            wrong.append((*arguments, error))

    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=ask, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    """
    for seed in range(4):
        run_python(code.replace("sys.argv[1]", str(seed)), timeout=200)


def test_import_leaves_h5py_alone_until_a_file_is_loaded():
    golden = ROOT / "tests/golden/two-features.h5"
    code = f"""
    import sys
    from lstmfast import *
    import lstmfast
    assert "h5py" not in sys.modules, "imported with lstmfast"
    lstmfast.load_model({str(golden)!r})
    assert "h5py" in sys.modules
    """
    run_python(code)


def test_the_pythons_that_are_built_for_are_those_declared(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    import pythons

    declared = re.findall(r"Programming Language :: Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert {version.rstrip("t") for version in pythons.VERSIONS} == set(declared)


def test_pythons_finds_this_one(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    import pythons

    version = "{}.{}".format(*sys.version_info)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    (tmp_path / f"python{version}").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(pythons.find([version, "3.1"])) == [version]
    with pytest.raises(SystemExit, match=r"none of the Pythons 3\.1 "):
        pythons.find(["3.1"])


STUB = ROOT / "lstmfast" / "_core.pyi"


def stubbed(owner, nodes):
    """What the stub names as callable, as names of the extension, with their arguments there."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and not (node.name.startswith("__") and node.name != "__init__"):
            arguments = [argument.arg for argument in node.args.args if argument.arg != "self"]
            yield owner if node.name == "__init__" else f"{owner}.{node.name}".lstrip("."), arguments
        elif isinstance(node, ast.ClassDef):
            yield from stubbed(node.name, node.body)


def signature(name):
    """Arguments of a function of the extension as the first line of its docstring has them."""
    found = _core
    for part in name.split("."):
        found = getattr(found, part)
    line = (found.__doc__ or "").partition("\n")[0]
    inside = re.search(r"\((.*)\)", line)
    if inside is None and isinstance(found, type):  # its constructor is that of its base, or C's own
        return None
    assert inside, f"_core.{name} has no signature"
    arguments = (argument.partition("=")[0].split()[-1] for argument in inside[1].split(",") if argument.strip())
    return [argument for argument in arguments if argument != "self"]


def test_the_stub_of_the_extension_is_true():
    known = dict(stubbed("", ast.parse(STUB.read_text(encoding="utf-8")).body))
    true = {name: found for name in known if (found := signature(name)) is not None}
    assert true == {name: known[name] for name in true}
    public = {name for name in vars(_core) if not name.startswith("_")}
    assert public - {"perf_counter"} == {name.partition(".")[0] for name in known} | {"Blocks", "Calls"}
