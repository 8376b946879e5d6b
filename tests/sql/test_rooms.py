"""Every view lies in a room of `sql/` that `ROOMS` lists with the question its views answer."""

from collections import Counter

from personascope.warehouse.asking.views import ROOMS, views
from personascope.warehouse.home import SQL_FOLDER

# What is no room of views: the tables' definitions, the macros, the checks that the view `audit` unites, and queries to begin with.
OTHER_FOLDERS = {"tables", "macros", "audit", "examples"}


def test_every_folder_of_views_is_a_room_and_every_room_has_views():
    folders = {path.name for path in SQL_FOLDER.iterdir() if path.is_dir()} - OTHER_FOLDERS
    assert folders == set(ROOMS), "a folder of `sql/` that ROOMS does not list is read by nobody"
    assert [room for room in ROOMS if not list((SQL_FOLDER / room).glob("*.sql"))] == []


def test_every_file_is_a_view_a_table_a_check_or_macros():
    """None stands outside the rooms, where nobody reads it, and no two bear one name, of which only the last would be read."""
    files = [path.relative_to(SQL_FOLDER) for path in SQL_FOLDER.rglob("*.sql")]
    assert [str(file) for file in files if len(file.parts) != 2] == []
    rooms = Counter(file.stem for file in files if file.parts[0] in ROOMS)
    assert [name for name, times in rooms.items() if times > 1] == []
    checks = {f"audit_{file.stem}" for file in files if file.parts[0] == "audit"}
    assert set(views()) == set(rooms) | checks


def test_every_room_asks_a_question():
    assert [question for question in ROOMS.values() if not question.endswith("?") or len(question) > 100] == []
    assert len(set(ROOMS.values())) == len(ROOMS)
