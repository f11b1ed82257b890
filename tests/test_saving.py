"""Files are written whole or not at all, whoever is in the way, and whatever is cut short.

``NPNN_KILLS=1000`` kills so many processes that are saving, instead of some.
"""

import os
import socket
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

import npnn
from npnn import io

resource = pytest.importorskip("resource")
KILLS = int(os.environ.get("NPNN_KILLS", "60"))
ON_POSIX = pytest.mark.skipif(os.name != "posix", reason="this system has no such files")


def model():
    return npnn.Sequential([npnn.Dense(40, 60)], seed=0)


def write(path, data=b"new"):
    with io.replacing(path) as file:
        file.write(data)


WRITERS = {
    "a model": lambda path: model().save(path),
    "a table": lambda path: npnn.History({"loss": [1.0]}).to_csv(path),
    "a file": write,
    "a log": lambda path: fit(npnn.CSVLog(path)),
    "a checkpoint": lambda path: fit(npnn.Checkpoint(path)),
}
EACH = pytest.mark.parametrize("save", WRITERS.values(), ids=WRITERS)


def fit(*callbacks):
    model().fit(np.ones((4, 40)), np.ones((4, 60)), epochs=2, callbacks=list(callbacks))


# What is there -----------------------------------------------------------------------------------


@ON_POSIX
@pytest.mark.parametrize("mask", [0o022, 0o077])
@EACH
def test_a_new_file_has_the_mode_of_any_new_file(save, mask, tmp_path):
    path = tmp_path / "file"
    before = os.umask(mask)
    try:
        save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@ON_POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604, 0o666])
@EACH
def test_an_old_file_keeps_its_mode(save, mode, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    save(path)
    assert path.read_bytes() != b"old"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@ON_POSIX
def test_the_mask_of_other_threads_is_left_alone(tmp_path):
    seen, end = set(), threading.Event()

    def look():
        while not end.is_set():
            (tmp_path / "other").unlink(missing_ok=True)
            os.close(os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY, 0o666))
            seen.add(stat.S_IMODE((tmp_path / "other").stat().st_mode))

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(200):
        write(tmp_path / "file")
    end.set()
    thread.join()
    assert len(seen) == 1


@ON_POSIX
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "loop"])
@EACH
def test_what_is_no_file_is_refused_and_stays(save, kind, tmp_path, monkeypatch):
    path = tmp_path / "thing"
    monkeypatch.chdir(tmp_path)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("thing")
    elif kind == "loop":
        path.symlink_to(tmp_path / "thing")
    else:
        path = os.devnull
    before = os.lstat(path)
    with pytest.raises(OSError, match=f"cannot write '{path}': it is a "):
        save(path)
    after = os.lstat(path)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert len(list(tmp_path.iterdir())) == (kind != "device")


@ON_POSIX
@pytest.mark.parametrize("there", [True, False])
@EACH
def test_a_link_stays_and_what_it_leads_to_is_replaced(save, there, tmp_path):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    (tmp_path / "between").symlink_to(target)
    link.symlink_to("between")
    save(link)
    assert os.readlink(link) == "between"
    assert target.read_bytes() not in (b"old", b"")
    assert [file.name for file in (tmp_path / "far").iterdir()] == ["target"]


@pytest.mark.parametrize("name", ["m" * 255, "ä" * 127 + "m", "m" * 90 + "." * 10, ".", "a b"])
@EACH
def test_the_longest_names_can_be_saved_to(save, name, tmp_path):
    path = tmp_path / (name if name != "." else ".hidden.tmp")
    for _ in range(2):
        save(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        model().save(tmp_path / "nowhere" / "model.safetensors")


# What goes wrong ---------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail():
        with io.replacing(path) as file:
            file.write(b"ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_the_old_model(function, tmp_path, monkeypatch):
    path = tmp_path / "model"
    model().save(path)
    old = path.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="No space left"):
        npnn.Sequential([npnn.Dense(40, 60)], seed=1).save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@ON_POSIX
@pytest.mark.parametrize("room", [0, 1, 100, 4096, 9000])
def test_a_disk_that_is_full_leaves_the_old_model(room, tmp_path):
    path = tmp_path / "model"
    model().save(path)
    old = path.read_bytes()
    assert len(old) > 9000
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            npnn.Sequential([npnn.Dense(40, 60)], seed=1).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


# What a killed process leaves, and what a live one has ------------------------------------------

HALF = """
import os, sys
from npnn import io

with io.replacing(sys.argv[1]) as file:
    file.write(b"half" * 10_000)
    file.flush()
    print("half", flush=True)
    sys.stdin.readline()
"""


def half_way(path):
    """Return a process that is in the middle of writing to a file."""
    command = [sys.executable, "-c", HALF, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "half\n"
    return process


@pytest.mark.parametrize("name", ["file", "m" * 255])
def test_what_killed_processes_left_is_removed_by_the_next_save(name, tmp_path):
    path, other = tmp_path / name, tmp_path / "other"
    processes = [half_way(each) for each in (path, path, path, other)]
    for process in processes:
        process.kill()
        process.communicate()
    assert len(list(tmp_path.iterdir())) == 4
    write(path)
    assert path.read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 2  # that of the other file is not ours
    write(other)
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


def test_what_a_live_process_writes_is_left_alone(tmp_path):
    path = tmp_path / "file"
    dead, live = half_way(path), half_way(path)
    dead.kill()
    dead.communicate()
    for number in range(3):
        write(path, b"new%d" % number)
        assert path.read_bytes() == b"new%d" % number
        assert len(list(tmp_path.iterdir())) == 2
    live.communicate("\n")
    assert live.returncode == 0
    assert path.read_bytes() == b"half" * 10_000
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_such_names_that_are_others_are_left_alone(tmp_path):
    others = [
        tmp_path / name for name in (".file.tmp", ".file.x.tmp", "file.0.tmp", ".file2.0.tmp")
    ]
    for other in others:
        other.write_bytes(b"other")
    write(tmp_path / "file")
    assert all(other.read_bytes() == b"other" for other in others)


def test_many_threads_save_to_one_name_and_it_is_whole(tmp_path):
    path, errors = tmp_path / "file", []

    def save(number):
        try:
            for _ in range(40):
                write(path, bytes([number]) * 20_000)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(path.read_bytes())) == 1
    assert len(path.read_bytes()) == 20_000
    assert list(tmp_path.iterdir()) == [path]


KILLING = """
import os, random, signal, sys, time
import numpy as np
import npnn
from npnn import files

path, trials = sys.argv[1], int(sys.argv[2])
model = npnn.Sequential([npnn.Dense(64, 500)], seed=0)

def save(value):
    model.set_arrays({name: np.full(a.shape, value) for name, a in model.parameters().items()})
    model.save(path)

save(0.0)
os.chmod(path, 0o640)
rng, values, kills_inside = random.Random(7), set(), 0
trial = 0
# Until enough has happened, however slow the machine is.
while trial < trials or len(values) <= trials // 4 or kills_inside <= trials // 40:
    trial += 1
    child = os.fork()
    if child == 0:
        for number in range(1000 * trial, 10**9):
            save(float(number % 2**20))
    time.sleep(rng.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    _, tensors, _ = files.read(path)
    found = {float(v) for array in tensors.values() for v in np.unique(array)}
    assert len(found) == 1, f"a mixture: {found}"
    assert {name: a.shape for name, a in tensors.items()} == {"0.w": (64, 500), "0.b": (500,)}
    values |= found
    left = len(os.listdir(os.path.dirname(path))) - 1
    assert left in (0, 1), f"{left} files were left behind"
    kills_inside += left
save(1.0)
assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
assert os.stat(path).st_mode & 0o777 == 0o640
print(trial, len(values), kills_inside)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_file_whole(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLING, str(tmp_path / "model.safetensors"), str(KILLS)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    kills, saves, kills_inside = map(int, done.stdout.split())
    print(f"{kills} kills, {saves} different files found, {kills_inside} in the middle of a save")
    assert kills >= KILLS
    assert saves > KILLS // 4
    assert kills_inside > KILLS // 40  # came in the middle of a save
