"""What is installed is what the checkout holds: wheel and source archive are built, installed beside a user's own modules, and used from there."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from personascope.warehouse.home import HOME

pytestmark = pytest.mark.slow(60)

INSIDE = ("app_pages", "extract", "ingest", "mlflow", "sql", "study", "warehouse", ".streamlit")
USERS_OWN = ("app.py", "cli.py", "ingest.py", "study.py", "warehouse.py", "extract/__init__.py")
DELTAS = {"persona": "villain", "delta_c1": [[0.1, 0.2], [0.3, 0.4]], "delta_c2": [[0.0, 0.1], [0.2, 0.3]]}
FACTS = {"stage": "check", "metadata": {"git_commit": "a"}}


@dataclass(frozen=True)
class Installed:
    """A fresh environment that holds the wheel, and a folder where a user's own modules bear the names of our rooms: its commands run there."""

    programs: Path
    folder: Path
    environment: dict[str, str]

    def __call__(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(self._line(program, arguments), cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120)

    def start(self, program: str, *arguments: object) -> subprocess.Popen[bytes]:
        """Starts a command in a process group of its own."""
        nowhere = subprocess.DEVNULL
        line = self._line(program, arguments)
        return subprocess.Popen(line, cwd=self.folder, env=self.environment, stdout=nowhere, stderr=nowhere, start_new_session=True)

    def _line(self, program: str, arguments: tuple[object, ...]) -> list[str]:
        return [str(self.programs / program), *map(str, arguments)]


def shipped_files() -> set[str]:
    """The files of the checkout that belong into an installation, by their path in it."""
    listing = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=HOME, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout: what belongs to the repository is not known")
    files = {line for line in listing.stdout.splitlines() if (HOME / line).is_file()}
    return {name for name in files if name.partition("/")[0] in INSIDE or ("/" not in name and name.endswith((".py", "py.typed")))}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of the source tree (`tree/`), the source archive, and the wheel that is built from that archive."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    for name in sorted(shipped_files() | {"pyproject.toml", "README.md", "LICENSE"}):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(HOME / name, source / name)
    for arguments in (["--outdir", folder], ["--wheel", "--outdir", folder / "tree"]):
        done = subprocess.run([sys.executable, "-m", "build", "--no-isolation", *map(str, arguments), str(source)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own, beside modules of a user that raise on import."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    # What the package depends on comes from the present environment; paths in a .pth file do not run that environment's own .pth files.
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")) + "\n")

    folder = tmp_path_factory.mktemp("users")
    for name in USERS_OWN:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("raise ImportError('a module of the user was imported')\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "PERSONASCOPE"))}
    clean |= {"XDG_CACHE_HOME": str(folder / ".cache"), "COLUMNS": "160"}

    made = Installed(environment / "bin", folder, clean)
    assert str(site / "personascope") in made("python", "-c", "import personascope; print(personascope.__file__)").stdout
    return made


@pytest.fixture(scope="module")
def lake(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that the installed command filled with two published files."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "deltas.json").write_text(json.dumps(DELTAS))
    (folder / "facts.json").write_text(json.dumps(FACTS))
    done = installed("personascope", "ingest", "published", folder, "--lake", folder / "lake")
    assert done.returncode == 0 and "2 loaded" in done.stderr, done.stderr
    return folder / "lake"


def test_the_wheel_holds_every_module_and_data_file_below_one_name(built):
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    assert {name.partition("/")[0] for name in names} == {"personascope", next(name for name in names if name.endswith("/RECORD")).partition("/")[0]}
    assert {name.removeprefix("personascope/") for name in names if name.startswith("personascope/")} == shipped_files()


def test_the_source_archive_builds_the_same_wheel(built):
    (first,), (second,) = built.glob("*.whl"), (built / "tree").glob("*.whl")
    from_archive, from_tree = zipfile.ZipFile(first), zipfile.ZipFile(second)
    assert first.name == second.name and sorted(from_archive.namelist()) == sorted(from_tree.namelist())
    assert [name for name in from_tree.namelist() if from_archive.read(name) != from_tree.read(name)] == []


@pytest.mark.parametrize("command", [("personascope",), ("python", "-m", "personascope")])
def test_the_version_is_told(built, installed, command):
    (wheel,) = built.glob("*.whl")
    done = installed(*command, "--version")
    assert (done.returncode, done.stdout) == (0, f"personascope {wheel.name.split('-')[1]}\n"), done.stderr


def test_commands_that_need_no_lake(installed):
    helped = installed("personascope", "-h")
    assert helped.returncode == 0 and "ingest" in helped.stdout and "doctor" in helped.stdout, helped.stderr
    views = installed("personascope", "views")
    assert views.returncode == 0 and "diff_of_diffs" in views.stdout, views.stderr
    studies = installed("personascope", "studies", "list")
    assert studies.returncode == 0 and "marker-attention" in studies.stdout, studies.stderr


def test_published_files_are_asked_checked_and_examined(installed, lake):
    rows = installed("personascope", "sql", "select count(*) as n from published_deltas", "--format", "csv", "--lake", lake)
    assert (rows.returncode, rows.stdout) == (0, "n\n8\n"), rows.stderr
    checked = installed("personascope", "check", "sae-conditions", "--format", "json", "--lake", lake)  # of the claims that ship those that are judged fastest
    assert checked.returncode == 0 and {row["verdict"] for row in json.loads(checked.stdout)} == {"not derivable"}, checked.stderr
    examined = installed("personascope", "doctor", "--lake", lake)
    assert examined.returncode == 0 and "Traceback" not in examined.stderr, examined.stdout + examined.stderr


def test_a_study_is_planned(installed, lake):
    planned = installed("personascope", "run", "marker-attention", "--quick", "--plan", "--lake", lake)
    assert planned.returncode == 0 and "completions" in planned.stdout, planned.stdout + planned.stderr


@pytest.fixture
def served(installed: Installed, lake: Path) -> Iterator[str]:
    """Address of the installed app, started by its command on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = installed.start("personascope", "app", "--lake", lake, "--port", port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=20)


def fetch(address: str) -> str:
    """The answer of a server that may still be starting."""
    ends = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > ends:
                raise
            time.sleep(0.2)


def test_the_app_is_served_and_draws_its_first_page(installed, lake, served):
    assert fetch(f"{served}/_stcore/health") == "ok" and "<title>" in fetch(served)
    script = f"""
import os
from streamlit.testing.v1 import AppTest
import personascope
os.environ["PERSONASCOPE_LAKE"] = {str(lake)!r}
page = AppTest.from_file(personascope.__file__.replace("__init__", "app"), default_timeout=60).run()
print([error.value for error in page.exception], page.title[0].value)
"""
    drawn = installed("python", "-c", script)
    assert drawn.returncode == 0 and drawn.stdout.startswith("[] "), drawn.stdout + drawn.stderr
