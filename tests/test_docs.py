"""The pages of docs tell the truth: their examples run, their links lead somewhere."""

import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_examples_of_a_page_run(name, tmp_path, monkeypatch):
    page = (ROOT / name).read_text(encoding="utf-8")
    blocks = list(re.finditer(r"```python\n(.*?)```", page, flags=re.DOTALL))
    assert blocks
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    module = types.ModuleType("page")
    # Files and pickles look for the classes of a page there.
    monkeypatch.setitem(sys.modules, "page", module)
    for block in blocks:
        code = "\n" * page.count("\n", 0, block.start(1)) + block[1]
        exec(compile(code, name, "exec"), vars(module))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", *PAGES])
def test_links_lead_somewhere(name):
    page = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page):
        assert (ROOT / name).parent.joinpath(target).exists(), target


def test_readme_links_to_every_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in PAGES if f"]({name})" not in readme] == []
