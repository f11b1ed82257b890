"""What is only for one system has a plain way beside it, tried here by switching it off.

That of threads and processors, see ``test_surroundings.py``; of signals, ``test_interrupts.py``.
"""

import ast
import contextlib
import csv
import importlib
import os
import sys
import threading
import time
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest

import npnn
from npnn import cli, io, locks
from npnn.backends.cpu import threads

ROOT = Path(__file__).parent.parent


def a_model():
    layers = [npnn.Dense(3, 4), npnn.Tanh(), npnn.Dense(4, 2), npnn.Softmax()]
    return npnn.Sequential(layers, seed=0)


# Files --------------------------------------------------------------------------------------------


@pytest.fixture(params=["no locks", "a disk without locks"])
def without_locks(request, monkeypatch):
    """A system, or a disk, that has no locks for files."""
    if request.param == "no locks":
        monkeypatch.setattr(io, "fcntl", None)
        return

    def refuse(*_):
        raise OSError("no locks available")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refuse)


def test_files_are_written_whole_or_not_at_all_without_locks(without_locks, tmp_path):
    path = tmp_path / "model.npnn"
    for number in range(3):
        model = a_model()
        model.details = {"number": number}
        model.save(path)
        assert npnn.load(path).details == {"number": number}
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(TypeError), io.replacing(path) as file:
        file.write("no bytes")
    assert npnn.load(path).details == {"number": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_save_to_one_name_without_locks_leave_a_whole_file(monkeypatch, tmp_path):
    """As on Windows: there is no lock, but what is open cannot be removed, until it is renamed."""
    monkeypatch.setattr(io, "fcntl", None)
    path, open_now, errors = tmp_path / "file", set(), []
    create, unlink, replace = io._created, os.unlink, os.replace

    def created(name):
        handle = create(name)
        if handle >= 0:
            open_now.add(name)
        return handle

    def unlinked(name):
        if name in open_now:
            raise PermissionError(13, "it is open")
        unlink(name)

    def replaced(name, target):
        open_now.discard(name)
        time.sleep(1e-3)  # others may come just now
        replace(name, target)

    def save(number):
        try:
            for _ in range(10):
                with io.replacing(path) as file:
                    file.write(bytes([number]) * 20_000)
        except BaseException as error:
            errors.append(error)

    for name, function in (("unlink", unlinked), ("replace", replaced)):
        monkeypatch.setattr(os, name, function)
    monkeypatch.setattr(io, "_created", created)
    savers = [threading.Thread(target=save, args=(number,)) for number in range(6)]
    for saver in savers:
        saver.start()
    for saver in savers:
        saver.join()
    assert not errors
    assert len(set(path.read_bytes())) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_left_behind_without_locks_is_removed_when_it_is_old(monkeypatch, tmp_path):
    monkeypatch.setattr(io, "fcntl", None)
    path = tmp_path / "file"
    left = [tmp_path / f".file.{number}.tmp" for number in range(3)]
    for number, old in enumerate((0.0, 30.0, 3600.0)):
        left[number].write_bytes(b"half")
        os.utime(left[number], (time.time() - old, time.time() - old))
    with io.replacing(path) as file:
        file.write(b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, *left[:2]])


@pytest.mark.parametrize("name", ["m" * 240, "м" * 120, "M.NPNN", "a b'c.npnn", "." + "h" * 99])
def test_names_of_any_length_and_letters_are_files(name, tmp_path):
    path = tmp_path / name
    for _ in range(2):
        a_model().save(path)
    assert npnn.load(path).shape_in == (3,)
    assert list(tmp_path.iterdir()) == [path]


def test_no_two_files_of_the_project_differ_by_the_size_of_letters_alone():
    for folder in ("npnn", "backends", "tests", "docs", "examples", "benchmarks"):
        names = [str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.*")]
        lower = {name.casefold() for name in names}
        assert len(lower) == len(names), folder


# Text ---------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """A table whose name, columns and classes have letters of many scripts."""
    rng, path = np.random.default_rng(0), tmp_path / "Größe 日本.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["größe", "ширина", "猫→"])
        for a, b in rng.normal(size=(60, 2)):
            writer.writerow([a, b, "λύκος" if a + b > 0 else "犬"])
    return path


@pytest.fixture
def shell(monkeypatch):
    """Run the command line as in a shell of some encoding; return what it says."""

    def run(encoding, *arguments):
        streams = [TextIOWrapper(BytesIO(), encoding=encoding) for _ in range(2)]
        with monkeypatch.context() as patch:
            for name, stream in zip(("stdout", "stderr"), streams, strict=True):
                patch.setattr(sys, name, stream)
            code = cli.main([*map(str, arguments)])
        for stream in streams:
            stream.flush()
        return code, *(stream.buffer.getvalue().decode(encoding) for stream in streams)

    return run


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_a_shell_that_has_not_all_letters_is_told_all_the_same(encoding, table, shell, tmp_path):
    out, answers = tmp_path / "out", tmp_path / "answers.csv"
    options = ["--epochs", "2", "--no-pictures", "--output", out]
    code, said, errors = shell(encoding, "train", table, *options)
    assert code == 0, errors
    assert "\\u732b-" in said + errors  # the target's name
    saved = out / "model.safetensors"
    assert npnn.load(saved).class_names == ["λύκος", "犬"]
    assert shell(encoding, "info", saved)[0] == 0
    code, said, errors = shell(encoding, "predict", saved, table)
    assert code == 2
    assert not said
    assert f"which the output's encoding, {encoding}, has not: write them into a file" in errors
    assert shell(encoding, "predict", saved, table, "--output", answers)[0] == 0
    rows = answers.read_text(encoding="utf-8").splitlines()[1:]
    assert {row.partition(",")[0] for row in rows} == {"λύκος", "犬"}
    code, said, errors = shell("utf-8", "predict", saved, table)
    assert said.splitlines() == rows
    code, said, errors = shell(encoding, "train", table, "--target", "猫")
    assert code == 2
    assert "\\u732b" in errors


def test_every_file_of_text_has_its_encoding_said():
    """Else it is that of the system, which is cp1252 on some."""
    for file in [*(ROOT / "npnn").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if not name.endswith(("open", "_text")):
                continue
            given = ast.unparse(node)
            is_text = name == "open" and not any(mode in given for mode in ("'rb'", "'ab'", "'wb'"))
            if is_text or name.endswith((".read_text", ".write_text")):
                assert "encoding" in given, (file.name, given)


# Processes and threads ----------------------------------------------------------------------------


def test_where_no_process_forks_locks_are_locks(monkeypatch):
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    locks._look_after_forks.cache_clear()
    try:
        threads.forgotten_by_forks(lambda: None)
        model = a_model()
        model.fit(np.ones((4, 3)), np.arange(4) % 2, epochs=1)
        assert model.runner.locks().trainer == 0
    finally:
        locks._look_after_forks.cache_clear()
        monkeypatch.undo()
        locks._look_after_forks()


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_libraries_that_cannot_be_looked_for_are_none(error, monkeypatch):
    import threadpoolctl

    def refuse(*_):
        raise error("no such thing here")

    monkeypatch.setattr(threadpoolctl, "ThreadpoolController", refuse)
    threads.blas.cache_clear()
    try:
        assert threads.blas() is None
        assert threads.count() == 1
        a_model().fit(np.ones((4, 3)), np.arange(4) % 2, epochs=1)
    finally:
        threads.blas.cache_clear()


def test_another_python_has_signals_of_its_own(monkeypatch):
    from npnn import interrupts

    before = sys.modules.get("_signal")
    monkeypatch.setitem(sys.modules, "_signal", None)  # as on PyPy
    try:
        importlib.reload(interrupts)
        import signal

        assert interrupts.signal is signal.signal
        with interrupts.noted() as interrupted, contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
            assert interrupted()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        monkeypatch.setitem(sys.modules, "_signal", before)
        importlib.reload(interrupts)
