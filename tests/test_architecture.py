"""The floors of the repository (CONTRIBUTING.md): reads the imports of every Python file and checks their direction."""
import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers import ROOT

PROGRAMS = {"data_preparation.py", "test.py", "train.py"}
# A file may import files of its own floor and of the floors below it. `options` is no floor: only programs import it.
FLOORS = {"nvdiffrast": 0, "util": 1, "models": 2, "datasets": 3, "programs": 4}
# BFM holds the scripts that build face models. They may use all floors below the programs; no part of the program uses
# them.
PACKAGES = {*FLOORS, "BFM", "options", "tests"} - {"programs"}
MAX_LINES = 400


def python_files() -> list[Path]:
    """Every Python file of the programs and packages, relative to the repository."""
    files = [*ROOT.glob("*.py")]
    for package in PACKAGES:
        files += (ROOT / package).rglob("*.py")
    return sorted(file.relative_to(ROOT) for file in files)


FILES = python_files()


def room(file: Path) -> str:
    """The floor or package that a file belongs to."""
    return file.parts[0] if len(file.parts) > 1 else "programs"


@cache
def syntax_tree(file: Path) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def module_file(name: str) -> Path | None:
    """The file of this repository that a dotted module name stands for. None if it is not of this repository."""
    path = Path(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate in FILES:
            return candidate
    return None


def imported_names(file: Path) -> Iterator[str]:
    """The dotted names that a file imports, also inside functions; relative imports are made absolute.

    `from a import b` gives a.b and, since b may be a name inside a, also a.
    """
    for node in ast.walk(syntax_tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = file.parts[:len(file.parts) - node.level] if node.level else ()
            module = ".".join([*package, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield inner if module_file(inner) else module


def defined_names(file: Path) -> set[str]:
    """The names that a file defines or imports, at any level."""
    names = set()
    for node in ast.walk(syntax_tree(file)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
    return names


@cache
def imported_files(file: Path) -> set[Path]:
    """The files of this repository that a file imports."""
    return {module_file(name) for name in imported_names(file)} - {None, file}


def arrows() -> Iterator[tuple[Path, Path]]:
    """Every import of one file by another, without the tests, which may import everything."""
    for file in FILES:
        if room(file) != "tests":
            yield from ((file, imported) for imported in sorted(imported_files(file)))


def test_no_file_imports_from_a_floor_above_it():
    upward = [f"{file} imports {imported}" for file, imported in arrows()
              if room(file) in FLOORS and FLOORS.get(room(imported), -1) > FLOORS[room(file)]]
    assert not upward


def test_options_stop_at_the_programs():
    assert not [f"{file} imports {imported}" for file, imported in arrows()
                if room(imported) == "options" and room(file) not in ("programs", "options")]
    assert not [f"{file} imports {imported}" for file, imported in arrows()
                if room(file) == "options" and room(imported) != "options"]
    takers = [f"{file}:{node.lineno}" for file in FILES if room(file) in ("datasets", "models", "util")
              for node in ast.walk(syntax_tree(file)) if isinstance(node, ast.arg)
              and (node.arg == "options" or node.annotation and "Namespace" in ast.unparse(node.annotation))]
    assert not takers, "pass the values that are needed instead of the options"


def test_nothing_imports_programs_tests_or_the_builder_of_the_face_model():
    users = [f"{file} imports {imported}" for file, imported in arrows()
             if room(imported) in ("programs", "tests", "BFM") and room(file) != room(imported)]
    assert not users
    builders = {room(imported) for file, imported in arrows() if room(file) == "BFM"}
    assert builders <= {"BFM", "datasets", "models", "util"}


def test_only_the_training_program_imports_the_rendered_faces():
    synthetic = Path("datasets", "synthetic")
    users = {str(file) for file, imported in arrows() if imported.is_relative_to(synthetic)
             and not file.is_relative_to(synthetic)}
    assert users <= {"train.py"}


def test_imported_names_exist():
    """Scripts that no test runs, such as the benchmarks, keep up with files and names that move."""
    missing = []
    for file in FILES:
        for node in ast.walk(syntax_tree(file)):
            if isinstance(node, ast.ImportFrom) and not node.level and (source := module_file(node.module)):
                names = {alias.name for alias in node.names if not module_file(f"{node.module}.{alias.name}")}
                missing += [f"{file} imports {name} from {source}" for name in names - defined_names(source)]
    assert not missing


def test_no_files_import_each_other_in_a_circle():
    """Follows the imports from every file, depth first. A file met again on its own path closes a circle."""
    finished = set()

    def follow(file: Path, path: list[Path]):
        if file in path:
            pytest.fail(" -> ".join(map(str, [*path[path.index(file):], file])))
        if file in finished:
            return
        for imported in sorted(imported_files(file)):
            follow(imported, [*path, file])
        finished.add(file)

    for file in FILES:
        follow(file, [])


def test_there_is_no_other_top_level_program_or_package():
    assert {str(file) for file in FILES if room(file) == "programs"} == PROGRAMS
    folders = {file.parent.name for file in ROOT.glob("*/*.py") if not file.parent.name.startswith(".")}
    assert folders <= PACKAGES


def test_no_file_is_long():
    lengths = {str(file): len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert not {name for name, length in lengths.items() if length > MAX_LINES}


def test_the_reader_of_imports_finds_them():
    """The checks above would pass if no import was found; these are known ones, of every form."""
    assert Path("models", "coordinates.py") in imported_files(Path("models", "renderer.py"))         # from a.b import c
    assert Path("nvdiffrast", "torch", "__init__.py") in imported_files(Path("models", "renderer.py"))  # import a.b
    assert Path("BFM", "builder", "mesh.py") in imported_files(Path("BFM", "builder", "geometry.py"))   # from .b import
    assert Path("nvdiffrast", "torch", "checks.py") in imported_files(Path("nvdiffrast", "torch", "context.py"))
    assert any(room(imported) == "util" for imported in imported_files(Path("test.py")))      # inside a function
