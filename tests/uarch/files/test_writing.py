"""Outputs: complete or not at all, whatever the name stands for and whatever happens meanwhile."""

from __future__ import annotations

import ast
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest

from tests.support.full_disk import largest_file
from uarch.files import writing
from uarch.files.writing import check_output, output_file, text_of, write_output

KILLED = """
import sys, time
from pathlib import Path
from uarch.files.writing import output_file
with output_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""
TO_STREAM = "import sys; from pathlib import Path; from uarch.files.writing import write_output as w; "


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "result.txt"
    path.write_text("old")
    return path


def test_the_file_is_replaced_as_a_whole(target: Path) -> None:
    with output_file(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_text_is_written_as_it_is(target: Path) -> None:
    with output_file(target) as file, text_of(file) as text:
        text.write("µs\r\n1\n")
    assert target.read_bytes() == "µs\r\n1\n".encode()


@pytest.mark.parametrize("failure", [ValueError("wrong"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(target: Path, failure: BaseException) -> None:
    def write() -> None:
        with output_file(target) as file:
            file.write(b"new")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("as_text", [False, True])
def test_a_full_disk_leaves_the_old_file(target: Path, as_text: bool) -> None:
    def write() -> None:
        if as_text:
            with output_file(target) as file, text_of(file) as text:
                text.write("n" * 100_000)
        else:
            write_output(target, b"n" * 100_000)

    with largest_file(50_000), pytest.raises(OSError, match="File too large") as caught:
        write()
    assert caught.value.filename == str(target)
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_cleans_up(target: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    assert target.read_text() == "old"
    assert len(list(target.parent.iterdir())) == 2
    write_output(target, "new")
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_the_file_of_a_living_writer_is_left_alone(target: Path) -> None:
    with output_file(target) as slow:
        slow.write(b"slow")
        write_output(target, "quick")
        assert target.read_text() == "quick"
    assert target.read_text() == "slow"
    assert list(target.parent.iterdir()) == [target]


def test_writers_at_the_same_time_leave_one_whole_file(target: Path) -> None:
    contents = [str(number) * 100_000 for number in range(10)] * 3
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_output(target, content), contents))
    assert target.read_text() in contents
    assert list(target.parent.iterdir()) == [target]


def test_symbolic_links_are_followed(target: Path) -> None:
    folder = target.parent / "elsewhere"
    folder.mkdir()
    for name, aim in (("link", "../result.txt"), ("next", "link"), ("dangling", "made.txt")):
        (folder / name).symlink_to(aim)
    write_output(folder / "next", "new")
    write_output(folder / "dangling", "made")
    assert target.read_text() == "new"
    assert (folder / "made.txt").read_text() == "made"
    assert all((folder / name).is_symlink() for name in ("link", "next", "dangling"))


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels") as caught:
        write_output(tmp_path / "a", "new")
    assert caught.value.filename == str(tmp_path / "a")


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(target: Path) -> None:
    victim = target.parent / "victim"
    victim.write_text("precious")
    with output_file(target):
        (temporary,) = (path for path in target.parent.iterdir() if path.suffix == ".part")
    temporary.symlink_to(victim)
    write_output(target, "new")
    assert target.read_text() == "new"
    assert victim.read_text() == "precious"


def test_permissions_of_the_old_file_are_kept(target: Path) -> None:
    target.chmod(0o640)
    write_output(target, "new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    write_output(tmp_path / "new", "")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_written_in_the_order_of_the_lines(name: str, tmp_path: Path) -> None:
    if not Path(name).exists():
        pytest.skip(f"{name} is Linux's")
    script = TO_STREAM + f"print('before'); w(Path({name!r}), 'content\\n'); print('after')"
    piped = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b"before\ncontent\nafter\n"
    with (tmp_path / "out").open("wb") as file:
        subprocess.run([sys.executable, "-c", script], stdout=file, check=True)
    assert (tmp_path / "out").read_bytes() == piped.stdout


def test_pipes_get_the_content(tmp_path: Path) -> None:
    pipe, seen = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = Thread(target=lambda: seen.append(pipe.read_bytes()))
    reader.start()
    with output_file(pipe) as file:
        file.write(b"abcd")
        file.seek(1)
        file.write(b"X")
    reader.join()
    assert seen == [b"aXcd"]
    assert pipe.is_fifo()


def test_devices_get_the_content() -> None:
    write_output(Path("/dev/null"), "new")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OSError, match="No space left") as caught:
        write_output(Path("/dev/full"), "new")
    assert caught.value.filename == "/dev/full"


def test_places_that_cannot_be_written_are_found_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="not a regular file"):
        check_output(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such directory") as caught:
        check_output(tmp_path / "absent" / "file")
    assert caught.value.filename == str(tmp_path / "absent")
    check_output(tmp_path / "file")


def test_more_writers_than_there_is_room_for_are_refused(target: Path) -> None:
    def nested(depth: int) -> None:
        with output_file(target):
            nested(depth + 1)

    with pytest.raises(OSError, match="16 others are writing it"):
        nested(0)
    assert list(target.parent.iterdir()) == [target]


def writes_by_itself(call: ast.Call) -> bool:
    """Whether a call opens a file for writing, or writes one, other than the null device."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("write_text", "write_bytes", "NamedTemporaryFile", "mkstemp", "savetxt", "tofile"):
        return True
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    modes = [each.value for each in arguments if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    to_null = any(isinstance(each, ast.Attribute) and each.attr == "devnull" for each in arguments)
    return (
        name == "open"
        and not to_null
        and any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)
    )


@pytest.mark.parametrize(
    ("source", "writes"),
    [
        ("path.write_text(text)", True),
        ("path.open('w', encoding='utf-8')", True),
        ("open(path, mode='xb')", True),
        ("path.open()", False),
        ("path.open('rb')", False),
        ("open(os.devnull, 'w')", False),
    ],
)
def test_what_counts_as_writing(source: str, writes: bool) -> None:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert writes_by_itself(call) == writes


def test_nothing_is_written_in_any_other_way_and_nothing_is_pickled() -> None:
    root, found = Path(writing.__file__).parents[2], list[str]()
    sources = [
        path for package in ("uarch", "kernels", "workloads", "results") for path in (root / package).rglob("*.py")
    ]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            imported = [name.name for name in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if "pickle" in imported or (isinstance(node, ast.Call) and writes_by_itself(node)):
                found.append(f"{path}:{node.lineno}")
    assert found == []
