"""What the packages say of themselves: the version in one place, every module listed, no wheel that is too large."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from programs import run_python

import lstmfast

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


def test_import_leaves_h5py_alone_until_a_file_is_loaded():
    golden = ROOT / "tests/golden/two-features.h5"
    code = f"""
    import sys
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
    assert set(pythons.VERSIONS) <= set(declared)


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
