"""The storeys of the house: a module imports only from below, frameworks stay in one place, import is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "hoplon"
SIBLINGS = {"attacks", "artifacts", "lipschitz", "explain"}  # blind to one another
MAY_IMPORT = {
    "core": set(),
    **{room: {"core"} for room in SIBLINGS},
    "artifacts": {"core", "lipschitz"},  # files hold our own layers
    "certify": {"core", "lipschitz"},  # it reads the layers' classes
    "zoo": {"core", "lipschitz"},
    "audit": {"core", "zoo", "certify", *SIBLINGS},
    "cli": {"core", "zoo", "certify", "audit", *SIBLINGS},
    "__init__": {"core"},
    "__main__": {"cli"},
}
FRAMEWORKS = {"jax", "torch", "tensorflow"}
FILES = sorted(SRC.rglob("*.py"))


def room_of(path):
    return path.relative_to(SRC).with_suffix("").parts[0]


def imports(path):
    package = ("hoplon", *path.relative_to(SRC).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *filter(None, [node.module])))
            yield from (f"{stem}.{a.name}" for a in node.names)


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_dependencies_point_down(path):
    for name in imports(path):
        if name.startswith("hoplon.") and name.split(".")[1] not in ("__version__",):
            assert name.split(".")[1] in MAY_IMPORT[room_of(path)] | {room_of(path)}, f"{path}: {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_only_the_backend_names_a_framework(path):
    if path.parent.name != "backend":
        assert not {name.split(".")[0] for name in imports(path)} & FRAMEWORKS


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_below_the_audit_nothing_speaks_or_writes(path):
    if room_of(path) in {"core", "attacks", "lipschitz", "certify", "explain"} and path.name != "callbacks.py":
        heard = {"print", "open", "input", "np.random.seed", "keras.utils.set_random_seed"} & set(calls(path))
        assert not heard
        if "backend" not in path.parts:
            assert "os" not in set(imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_files_and_functions_are_small(path):
    tree = ast.parse(path.read_text())
    assert path.read_text().count("\n") <= 400
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name
            assert len(node.args.posonlyargs + node.args.args) <= 10, node.name


def test_every_storey_is_known():
    assert {room_of(path) for path in FILES} <= set(MAY_IMPORT)


@pytest.mark.parametrize("arguments", [["--help"], ["audit", "--help"], ["--version"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys, hoplon, hoplon.cli\n"
        f"code = hoplon.cli.main({arguments!r})\n"
        "heavy = {'keras', 'numpy', 'scipy', 'pydantic', 'jax', 'torch', 'tensorflow'} & set(sys.modules)\n"
        "sys.exit(f'{code} {sorted(heavy)}' if code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "hoplon" in done.stdout
