"""The cache of machine code: whatever became of its files, what is computed is right."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from npnn.backends.cpu import cache

NUMBA = importlib.util.find_spec("numba") is not None

PROGRAM = """
import numpy as np, npnn
model = npnn.Sequential([npnn.Dense(2, 3), npnn.Tanh()], backend="numba", seed=0)
model.chain = npnn.RMSLoss()
optimizer = npnn.GradientDescent(0.1)
optimizer.model = model
for _ in range(2):
    optimizer.step(np.ones((4, 2)), np.zeros((4, 3)))
print(model.chain.get_loss())
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for the cache of this test alone."""
    monkeypatch.setenv("NPNN_CACHE_DIR", str(tmp_path))
    return tmp_path / "kernels"


def kept(place):
    """Return the file of something that was kept."""
    cache.write(b"key", b"what is kept")
    assert cache.read(b"key") == b"what is kept"
    [file] = place.iterdir()
    return file


def test_what_is_cut_off_anywhere_is_not_read(place):
    file = kept(place)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert cache.read(b"key") is None
    file.write_bytes(whole + b"\0")
    assert cache.read(b"key") is None


def test_what_has_another_bit_anywhere_is_not_read(place):
    file = kept(place)
    whole = file.read_bytes()
    for number in range(len(whole)):
        changed = bytearray(whole)
        changed[number] ^= 1 << number % 8
        file.write_bytes(changed)
        assert cache.read(b"key") is None


def test_what_belongs_to_another_key_is_not_read(place):
    file = kept(place)
    whole = file.read_bytes()
    cache.write(b"another", b"something else")
    [other] = set(place.iterdir()) - {file}
    file.write_bytes(other.read_bytes())
    other.write_bytes(whole)
    assert cache.read(b"key") is cache.read(b"another") is None


def a_folder(file, elsewhere):
    file.mkdir()
    (file / "something").write_text("")


def a_link_to_nothing(file, elsewhere):
    file.symlink_to(elsewhere / "nothing")


def a_link_to_a_file(file, elsewhere):
    (elsewhere / "mine").write_text("precious")
    file.symlink_to(elsewhere / "mine")


def a_link_to_itself(file, elsewhere):
    file.symlink_to(file)


def a_link_without_end(file, elsewhere):
    file.symlink_to("/dev/zero")


def a_pipe(file, elsewhere):
    os.mkfifo(file)


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are not for everybody there")
@pytest.mark.parametrize(
    "other",
    [a_folder, a_link_to_nothing, a_link_to_a_file, a_link_to_itself, a_link_without_end, a_pipe],
)
def test_what_is_no_file_is_not_read_nor_followed(other, place, tmp_path_factory):
    file, elsewhere = kept(place), tmp_path_factory.mktemp("elsewhere")
    file.unlink()
    other(file, elsewhere)
    assert cache.read(b"key") is None
    cache.write(b"key", b"anew")
    assert cache.read(b"key") == (None if other is a_folder else b"anew")
    assert [path.read_text() for path in elsewhere.iterdir()] in ([], ["precious"])
    assert [path.name for path in place.iterdir()] == [file.name]


@pytest.mark.parametrize("there", ["a file", "a file above", "\0"])
def test_without_a_folder_nothing_is_kept(there, tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    name = {"a file above": "a file/folder"}.get(there, there)
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / name)
    cache.write(b"key", b"content")
    assert cache.read(b"key") is None
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]


def test_where_nothing_may_be_written_nothing_is_kept(place, monkeypatch):
    def refused(*_, **__):
        raise PermissionError("on purpose")

    monkeypatch.setattr(Path, "mkdir", refused)
    cache.write(b"key", b"content")
    assert cache.read(b"key") is None


def test_a_user_whom_the_system_does_not_know_has_no_folder(monkeypatch):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NPNN_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    assert cache.folder() is None
    cache.write(b"key", b"content")
    assert cache.read(b"key") is None


def test_the_folder_is_where_users_keep_such_things(tmp_path, monkeypatch):
    monkeypatch.delenv("NPNN_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "npnn" / "kernels"


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions on this system")
def test_files_may_be_read_by_others(place):
    mask = os.umask(0o022)
    try:
        assert kept(place).stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(mask)


# With Numba --------------------------------------------------------------------------------------


def run_elsewhere(folder, **environment):
    """Run a training in a process of its own, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "NPNN_CACHE_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(not NUMBA, reason="Numba is not installed")
def test_a_second_process_compiles_nothing_and_a_third_what_is_damaged(tmp_path):
    first, written = run_elsewhere(tmp_path), files(tmp_path)
    assert any(path.suffix == ".kernel" for path in written)
    assert run_elsewhere(tmp_path) == first
    assert files(tmp_path) == written
    contents = [path.read_bytes() for path in written]
    for number, path in enumerate(written):  # cut off, and each the content of the one before
        content = contents[number - 1]
        path.write_bytes(content[: len(content) // 2] if number % 2 else content)
    assert run_elsewhere(tmp_path) == first
    assert all(files(tmp_path)[path] != time for path, time in written.items())
    assert [len(path.read_bytes()) for path in written] == [len(content) for content in contents]
    assert set(files(tmp_path)) == set(written)


@pytest.mark.skipif(not NUMBA, reason="Numba is not installed")
def test_what_is_whole_but_of_no_use_is_compiled_anew(place, monkeypatch):
    from npnn.backends.cpu import numba_adapter

    monkeypatch.setattr(cache, "read", lambda key: b"no pickle")
    source = "def kernel(block):\n    block + 5\n"
    assert numba_adapter.address_of_kernel(source)
    assert list(place.iterdir())
