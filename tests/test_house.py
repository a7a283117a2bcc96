"""What is installed, what an import loads, and that README and CI agree with the code."""

import configparser
import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import probgen

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEAVY = {"torch", "pyro", "polars", "matplotlib", "pooch", "click", "rich", "tensorboard"}

installed_wheel = pytest.mark.skipif(
    "PROBGEN_EXPECT_INSTALLED" not in os.environ, reason="looks at an installed wheel; run tox"
)


# What is installed


@installed_wheel
def test_the_tests_import_the_installed_package():
    assert Path(probgen.__file__).is_relative_to(sysconfig.get_paths()["purelib"])


@installed_wheel
def test_the_wheel_holds_the_files_of_the_checkout():
    files = [file for file in metadata.files("probgen") if "__pycache__" not in file.parts]
    inside = {file.as_posix(): file.read_binary() for file in files if file.parts[0] == "probgen"}
    assert inside == _files_of_checkout()

    outside = {file.parts[0] for file in files} - {
        "probgen",
        f"probgen-{probgen.__version__}.dist-info",
        "..",
    }
    assert not outside
    assert not (Path(sysconfig.get_paths()["purelib"]) / "estimators").exists()


@installed_wheel
def test_the_tested_versions_are_the_pinned_ones():
    pins = _pins()
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        if name in pins:
            assert Version(distribution.version).public == pins[name], name


def test_version_has_one_home():
    assert metadata.version("probgen") == probgen.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[(.+?)\]", changes, flags=re.MULTILINE)[1] == probgen.__version__


def test_constraints_pin_all_that_is_asked_for():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    tools = [
        line for section in tox.sections() for line in tox.get(section, "deps", fallback="").split()
    ]
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    asked = {
        canonicalize_name(Requirement(line).name)
        for line in [*PROJECT["dependencies"], *extras, *tools]
    }
    assert asked - {"probgen"} <= _pins().keys()
    assert _pins()["torch"] == "2.13.0"


def test_no_dependency_that_breaks_the_install_of_torch():
    assert not any("torchvision" in line for line in metadata.requires("probgen"))
    for name in ("pyproject.toml", "tox.ini", "constraints.txt", ".ci/run"):
        assert "torchvision" not in (ROOT / name).read_text(encoding="utf-8"), name


# One name for each class


@pytest.mark.skipif(
    not (ROOT / "estimators").is_dir(), reason="this checkout has no link estimators"
)
def test_the_link_refuses_to_be_imported():
    assert (ROOT / "estimators").resolve() == ROOT / "probgen" / "estimators"
    done = subprocess.run(
        [sys.executable, "-c", "import estimators"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert (
        "ImportError: The generators are imported as probgen.estimators, not as 'estimators'"
        in done.stderr
    )


def test_any_other_name_of_the_generators_is_refused():
    spec = importlib.util.spec_from_file_location(
        "copy", ROOT / "probgen" / "estimators" / "__init__.py"
    )
    with pytest.raises(ImportError, match=r"imported as probgen\.estimators, not as 'copy'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


# What an import loads


@pytest.mark.parametrize(
    "statement, unwanted",
    [
        ("import probgen", HEAVY | {"pandas"}),
        (
            "from probgen import GaussianMixture",
            HEAVY,
        ),  # scikit-learn itself loads pandas where it finds it
    ],
)
def test_an_import_stays_light(statement, unwanted, tmp_path):
    code = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert "probgen" in loaded
    assert not loaded & unwanted


def test_every_public_name_opens():
    for name in probgen.__all__:
        assert getattr(probgen, name) is not None
        assert name in dir(probgen)
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = probgen.Nonsense


# README and CI


def _readme_blocks():
    """The README's Python examples, each under the heading above it."""
    headings = list(
        re.finditer(
            r"^#+ (.+)$", re.sub(r"```.*?```", _blank, README, flags=re.DOTALL), re.MULTILINE
        )
    )
    for block in re.finditer(r"```python\n(.*?)```", README, flags=re.DOTALL):
        heading = [match[1] for match in headings if match.start() < block.start()][-1]
        line = README.count("\n", 0, block.start(1))
        yield pytest.param("\n" * line + block[1], id=heading)


def _blank(match):
    return " " * len(match[0])


@pytest.mark.parametrize("code", list(_readme_blocks()))
def test_readme_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_readme_and_ci_run_the_same_command():
    commands = re.findall(r"```sh\n(.*?)\n```", README, flags=re.DOTALL)
    (test_command,) = [command for command in commands if command.endswith("/tox")]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.splitlines()[-1] == test_command
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_readme_main_job_is_a_command_of_the_package():
    assert PROJECT["scripts"] == {"probgen": "probgen.cli:main"}
    assert re.search(
        r'```sh\npython3 -m venv .* -c constraints\.txt "\.\[all\]" .*/probgen compare\n```', README
    )


# Helpers


def _files_of_checkout():
    """The contents of every file of the package by its path from the root."""
    paths = (
        path
        for path in (ROOT / "probgen").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths}


def _pins():
    """The version of each distribution in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))
