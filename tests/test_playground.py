"""The playground: what it trains, the program that does the same, and whom its server answers."""

import base64
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import npnn
import npnn.cli
from npnn.playground import Chosen, Server, Trainer, making
from npnn.playground import server as serving
from npnn.playground.chosen import PROBLEMS

FLOWERS = "width,length,height,kind\n" + "\n".join(
    f"{x:.3f},{y:.3f},{x - y:.3f},{'round' if x + y > 0 else 'long'}"
    for x, y in np.random.default_rng(0).standard_normal((60, 2))
)


@pytest.fixture
def trainer():
    """A trainer that has not begun."""
    found = Trainer(Chosen())
    found.is_running = False
    found.start()
    yield found
    found.end()


def run(program, folder):
    """Return what a program prints in a process of its own."""
    path = folder / "program.py"
    path.write_text(program, encoding="utf-8")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_steps(trainer, count):
    trainer.ask(lambda: trainer._steps(count))


def executed(program, capsys):
    """Return what a program prints, run here."""
    exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out


# What is trained, and the program ----------------------------------------------------------------


@pytest.mark.parametrize("problem", [name for name in PROBLEMS if name != "table"])
def test_the_program_trains_the_same_model_to_the_same_numbers(trainer, problem, capsys):
    trainer.change({"problem": problem})
    make_steps(trainer, 40)
    shown, program = trainer.ask(trainer._measured), trainer.program()
    printed = executed(program, capsys)
    assert f"loss {shown['loss']}, in validation {shown['val_loss']}\n" in printed
    assert f"# the page showed {shown['loss']}, and {shown['val_loss']}" in program
    assert ("accuracy" in printed) is ("accuracy" in shown)


def test_the_program_makes_every_change_where_it_was_made(trainer, tmp_path):
    trainer.change({"hidden": [[5, "ReLU"], [3, "Swish"]], "optimizer": "AdamW", "seed": 7})
    make_steps(trainer, 30)
    trainer.change({"alpha": 0.1})
    trainer.change({"penalty": "l2", "penalty_weight": 0.01})
    make_steps(trainer, 20)
    trainer.change({"noise": 0.3, "batch_size": 64})
    make_steps(trainer, 10)
    trainer.change({"penalty": "l1"})
    trainer.slow(0)  # which looks at the batch that comes next
    make_steps(trainer, 5)
    trainer.change({"validation": 0.6})
    make_steps(trainer, 5)
    shown = trainer.ask(trainer._measured)
    assert f"loss {shown['loss']}, in validation {shown['val_loss']}\n" in run(
        trainer.program(), tmp_path
    )
    assert trainer.steps == 70
    assert sum(count for _, count in trainer.phases) == 70


@pytest.mark.parametrize("columns", [[], ["length", "width"]])
def test_a_table_is_trained_on_in_two_columns_or_projected(trainer, columns, tmp_path):
    trainer.open_table("flowers.csv", FLOWERS)
    trainer.change({"columns": columns})
    make_steps(trainer, 30)
    assert trainer.data.feature_names == tuple(columns) or ("component 1", "component 2")
    (tmp_path / "flowers.csv").write_text(FLOWERS)
    shown = trainer.ask(trainer._measured)
    assert f"loss {shown['loss']}, " in run(trainer.program(), tmp_path)


@pytest.mark.parametrize("problem", ["digits", "table"])
def test_what_is_given_gets_noise_in_units_of_its_own_deviation(trainer, problem, tmp_path):
    if problem == "table":
        trainer.open_table("flowers.csv", FLOWERS)
        (tmp_path / "flowers.csv").write_text(FLOWERS)
    else:
        trainer.change({"problem": problem})
    clean = trainer.data.x_data
    make_steps(trainer, 5)
    trainer.change({"noise": 0.5})
    assert trainer.steps == 5  # the same training goes on
    make_steps(trainer, 5)
    each = None if problem == "digits" else 0
    share = (trainer.data.x_data - clean).std(axis=each) / clean.std(axis=each)
    np.testing.assert_allclose(share, 0.5, rtol=0.25)
    shown = trainer.ask(trainer._measured)
    assert f"loss {shown['loss']}, " in run(trainer.program(), tmp_path)


def test_images_are_convolved_and_each_kernel_is_shown(trainer, capsys):
    trainer.change({"problem": "digits", "filters": [[4, "ReLU"], [3, "Tanh"]]})
    make_steps(trainer, 10)
    told = json.loads(trainer._structure[1])
    sizes = [(column["units"], column["side"]) for column in told["columns"]]
    assert sizes == [(64, 8), (4, 3), (3, 5), (16, 8), (10, 8)]
    shown = trainer.ask(trainer._measured)
    frame = trainer.view.frame(trainer.model, 10, shown, True)
    maps = np.frombuffer(base64.b64decode(frame["maps"]), np.uint8)
    assert maps.size == sum(units * side**2 for units, side in sizes[1:])
    kernels = np.asarray(trainer.model.parameters()["0.w"]).ravel()
    assert np.corrcoef(kernels, maps[:36])[0, 1] > 0.999
    assert [len(means[0]) for means in frame["units"].values()] == [4, 4, 3, 3, 192, 16, 16, 10, 10]
    assert f"loss {shown['loss']}, in validation {shown['val_loss']}\n" in executed(
        trainer.program(), capsys
    )
    with pytest.raises(ValueError, match="filters: xor has no images to be convolved"):
        trainer.change({"problem": "xor", "filters": [[4, "ReLU"]]})
    trainer.change({"problem": "xor"})
    assert trainer.chosen.filters == ()


def test_a_change_of_the_network_begins_anew_and_a_wrong_one_changes_nothing(trainer):
    make_steps(trainer, 5)
    trainer.change({"alpha": 0.5})
    assert trainer.steps == 5
    assert trainer.optimizer.alpha == 0.5
    assert json.loads(trainer._structure[1])["chosen"]["alpha"] == 0.5
    trainer.change({"hidden": [[3, "ReLU"]]})
    assert trainer.steps == 0
    assert [type(layer).__name__ for layer in trainer.model.layers] == [
        "Dense", "ReLU", "Dense", "Softmax",
    ]  # fmt: skip
    make_steps(trainer, 2)
    before = trainer.chosen
    for given, message in {
        "the units of hidden[0]": {"hidden": [[0, "ReLU"]]},
        "alpha must be a number": {"alpha": float("nan")},
        "batch_size must be a whole number": {"batch_size": True},
        "backend must be one of": {"backend": "os"},
        "problem must be one of": {"problem": "../../etc"},
        "there is no table yet": {"problem": "table"},
        "there is no choice 'path'": {"path": "x"},
        "columns": {"columns": ["a"]},
    }.items():
        with pytest.raises(ValueError, match=re.escape(given)):
            trainer.change(message)
    with pytest.raises(ValueError, match=r"^x\.csv: the target 'b' is empty on every line"):
        trainer.open_table("x.csv", "a,b\n1\n")
    assert trainer.chosen is before
    assert trainer.steps == 2
    make_steps(trainer, 1)


def test_every_backend_that_works_trains_on_the_page(trainer, working_backends):
    for name in working_backends:
        trainer.change({"backend": name})
        make_steps(trainer, 3)
        assert trainer.model.backend.name == name
        assert not trainer.problem


def test_frames_show_the_newest_state_and_training_does_not_wait_for_who_is_slow(trainer):
    with trainer.watched():
        number, frame, (structure, told) = trainer.next_frame(0, 10)
        told, first = json.loads(told), json.loads(frame)
        assert first["structure"] == structure == told["structure"]
        assert [p["name"] for p in told["parameters"]] == list(trainer.model.parameters())
        trainer.play()
        end = time.monotonic() + 20
        while trainer.steps < 200 and time.monotonic() < end:
            time.sleep(0.01)  # without taking a frame
        trainer.pause()
        number, frame, _ = trainer.next_frame(number, 10)
        while json.loads(frame)["running"] or json.loads(frame)["step"] != trainer.steps:
            number, frame, _ = trainer.next_frame(number, 1)
    last = json.loads(frame)
    assert trainer.steps >= 200
    assert last["shown"] == trainer.ask(trainer._measured)
    assert len(last["distributions"]) > 6
    assert np.sum(last["confusion"]) == trainer.data.num_validation_data


def test_what_a_unit_gives_over_the_plane_is_told(trainer):
    make_steps(trainer, 30)
    view = trainer.view
    frame = view.frame(trainer.model, 30, trainer.ask(trainer._measured), True)
    maps = np.frombuffer(base64.b64decode(frame["maps"]), np.uint8)
    small = 16
    maps = maps.reshape(4 + 4 + 2, small, small)
    grid = view.grid.reshape(48, 48, 2)[1::3, 1::3]
    given = np.asarray(trainer.model.activations(grid.reshape(-1, 2))["1"])[:, 2]
    shown = maps[2].reshape(-1).astype(float) - 128.0
    assert np.corrcoef(given, shown)[0, 1] > 0.999
    assert grid[0, 0, 1] > grid[-1, 0, 1]  # as a picture is drawn


def test_a_parameter_has_a_story(trainer):
    view, values = trainer.view, {}
    for _ in range(260):
        make_steps(trainer, 1)
        view.gradients = np.zeros(42)
        arrays = {n: np.array(a) for n, a in trainer.model.parameters().items()}
        values[trainer.steps] = float(arrays["2.w"][1, 3])
        trainer.ask(lambda arrays=arrays: view._remember(trainer.steps, arrays, {}))
    story = trainer.story("2.w", (1, 3))
    for step, value in list(zip(story["steps"], story["values"], strict=True))[1:]:
        assert value == values[step]
    assert 100 < len(story["steps"]) <= 241
    assert story["steps"] == sorted(story["steps"])
    with pytest.raises(ValueError, match="has shape"):
        trainer.story("2.w", (1, 99))
    with pytest.raises(ValueError, match="there is no parameter"):
        trainer.story("9.w", (0, 0))


def test_slow_motion_shows_the_step_that_is_made_next(trainer):
    make_steps(trainer, 3)
    found = trainer.slow(2)
    assert (found["step"], found["sample"], trainer.steps) == (4, 2, 3)
    new = next(o for o in found["operations"] if o["place"] == "4.b" and o["phase"] == "update")
    assert new["formulas"][0].startswith("<math")
    rows = dict((name, rows) for name, _, rows in new["values"])["θ, new"]
    trainer.step()
    after = trainer.model.parameters()["4.b"]
    assert [float(part) for part in rows[0].split()] == pytest.approx(after.tolist(), rel=1e-3)


def test_a_training_that_fails_is_paused_and_says_why(trainer, monkeypatch):
    def fail(*batch):
        raise ValueError("the batch is odd")

    monkeypatch.setattr(trainer, "_batch", fail)
    trainer.play()
    end = time.monotonic() + 10
    while trainer.is_running and time.monotonic() < end:
        time.sleep(0.01)
    assert trainer.problem == "the batch is odd"
    assert trainer.is_alive()


@pytest.mark.parametrize("problem", ["sine", "xor"])
def test_a_loss_that_is_no_number_ends_the_training_and_is_said(trainer, problem):
    hidden = [[8, "Linear"], [8, "Linear"]]
    trainer.change({"problem": problem, "hidden": hidden, "optimizer": "SGD", "alpha": 100.0})
    with trainer.watched():
        trainer.play()
        number, frame, end = 0, {}, time.monotonic() + 20
        while not frame.get("problem") and time.monotonic() < end:
            number, sent, _ = trainer.next_frame(number, 1)
            frame = json.loads(sent, parse_constant=lambda name: pytest.fail(f"{name} in a frame"))
    assert frame["problem"].startswith("The loss is no number any more.")
    assert not frame["running"]
    trainer.change({"alpha": 0.01, "seed": 1})
    make_steps(trainer, 2)
    assert trainer.problem == ""


def test_the_new_datasets_are_what_they_say():
    for kind, least in (("Clusters", 0.95), ("Circles", 0.99), ("Spirals", 0.97)):
        data = getattr(npnn.datasets, kind)(seed=0, noise=0.01)
        same = getattr(npnn.datasets, kind)(seed=0, noise=0.01)
        np.testing.assert_array_equal(data.x_data, same.x_data)
        x, c = data.x_data, data.c_data
        distances = np.linalg.norm(x[:, None] - x[None], axis=-1) + 9.0 * np.eye(len(x))
        assert np.mean(c[distances.argmin(axis=1)] == c) > least, kind
    with pytest.raises(ValueError, match="num_data must be at least 4"):
        npnn.datasets.Spirals(num_data=2)


# The server --------------------------------------------------------------------------------------


@pytest.fixture
def server(trainer):
    found = Server(trainer)
    thread = threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


def asked(server, path, *, method="GET", host=None, token=None, body=None, **headers):
    """Return the status and the body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest(method, f"/{token or server.token}/{path}", skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.port}")
    if body is not None:
        headers = {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_the_page_is_served_and_holds_nothing_from_elsewhere(server):
    for name in serving.PAGES:
        status, body = asked(server, name)
        assert status == 200
        text = body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text.replace("http://127.0.0.1", "")
        assert "https:" not in text
    assert asked(server, "")[1] == asked(server, "index.html")[1]
    assert server.address == f"http://127.0.0.1:{server.port}/{server.token}/"
    assert server.server_address[0] == "127.0.0.1"


def test_who_has_no_token_or_comes_from_elsewhere_is_refused(server):
    for path in ("", "events", "program", "model.safetensors", "app.js"):
        assert asked(server, path, token="wrong")[0] == 403
        assert asked(server, path, token="%C3%A4")[0] == 403
        assert asked(server, path, host="evil.example")[0] == 403
        assert asked(server, path, host=f"evil.example:{server.port}")[0] == 403
        assert asked(server, path, host="127.0.0.1:1")[0] == 403
        assert asked(server, path, Origin="http://evil.example")[0] == 403
        assert asked(server, path, Origin="null")[0] == 403
    steps = server.trainer.steps
    for headers in ({"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        assert asked(server, "step", method="POST", body=b"{}", **headers)[0] == 403
    assert asked(server, "step", method="POST", body=b"{}", host="evil.example")[0] == 403
    assert asked(server, "step", method="POST", body=b"{}", Content_Type="text/plain")[0] == 415
    assert server.trainer.steps == steps
    origin = f"http://127.0.0.1:{server.port}"
    assert asked(server, "step", method="POST", body=b"{}", Origin=origin)[0] == 200
    assert server.trainer.steps == steps + 1


def test_no_other_file_is_served(server):
    for path in (
        "../server.py", "..%2fserver.py", "%2e%2e/server.py", "page/../server.py", "/etc/passwd",
        "//etc/passwd", "./index.html", "INDEX.HTML", "style.css/..", "..\\server.py", "view.py",
    ):  # fmt: skip
        status, body = asked(server, path)
        assert status == 404, path
        assert b"error" in body


def test_a_body_is_bounded_before_it_is_read(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("POST", f"/{server.token}/table")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(100 << 20))
    connection.endheaders()
    assert connection.getresponse().status == 413  # with nothing sent
    for length in ("-1", "1e9", "0x1", "9" * 5000, ""):
        status, _ = asked(server, "step", method="POST", body=b"", Content_Length=length)
        assert status in (411, 413), length
    assert asked(server, "step", method="POST", body=b"{}", Transfer_Encoding="chunked")[0] == 411
    deep = b"[" * 100_000
    assert asked(server, "choose", method="POST", body=deep)[0] == 400
    for body in (b"", b"[]", b"\xff", b'{"alpha": 1e999}', b'{"alpha": NaN}', b'{"x": 1}'):
        assert asked(server, "choose", method="POST", body=body)[0] == (400 if body else 200)
    assert asked(server, "no-such-thing", method="POST", body=b"{}")[0] == 404
    assert asked(server, "slow?sample=x")[0] == 400
    assert asked(server, "story?name=0.w&at=1,2,3")[0] == 400


@pytest.mark.later
def test_connections_that_stay_open_are_bounded_and_training_goes_on(server, monkeypatch):
    monkeypatch.setattr(serving, "PATIENCE", 1000.0)
    trainer = server.trainer
    trainer.play()
    before, sockets = trainer.steps, []
    for _ in range(1000):
        sockets.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        sockets[-1].send(b"GET / HT")
    assert threading.active_count() < serving.MOST_CONNECTIONS + 30
    assert asked(server, "")[0] == 200  # strangers make room
    end = time.monotonic() + 20
    while trainer.steps < before + 50 and time.monotonic() < end:
        time.sleep(0.02)
    assert trainer.steps >= before + 50
    monkeypatch.setattr(serving, "PATIENCE", 0.1)
    while server._known and time.monotonic() < end:
        time.sleep(0.05)  # idle ones are dropped
    assert not server._known
    for each in sockets:
        each.close()


def test_pages_that_watch_are_bounded_and_get_frames(server):
    watching = []
    for _ in range(serving.MOST_WATCHERS):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", f"/{server.token}/events")
        answer = connection.getresponse()
        assert answer.status == 200
        watching.append((connection, answer))
    assert asked(server, "events")[0] == 503
    for _, answer in watching[:3]:
        assert answer.readline() == b"event: structure\n"
        assert json.loads(answer.readline().removeprefix(b"data: "))["kind"] == "plane"
    for connection, answer in watching:
        answer.close()
        connection.close()
    server.trainer.play()  # frames come, which nobody takes
    end = time.monotonic() + 20
    while server.trainer.watchers and time.monotonic() < end:
        time.sleep(0.05)
    assert server.trainer.watchers == 0
    assert asked(server, "")[0] == 200


def test_the_model_is_saved_as_a_file_that_is_read_again(server, tmp_path):
    make_steps(server.trainer, 5)
    status, body = asked(server, "model.safetensors")
    assert status == 200
    (tmp_path / "model.safetensors").write_bytes(body)
    model = npnn.load(tmp_path / "model.safetensors")
    x = server.trainer.data.x_data
    np.testing.assert_array_equal(model.predict(x), server.trainer.model.predict(x))


def test_a_name_of_somebody_elses_is_no_host_of_an_open_server(trainer):
    found = Server(trainer, "0.0.0.0")
    try:
        assert found.accepts_host(f"192.0.2.7:{found.port}")
        assert found.accepts_host(f"localhost:{found.port}")
        assert not found.accepts_host(f"evil.example:{found.port}")
        assert not found.accepts_host("192.0.2.7:1")
    finally:
        found.server_close()


def test_the_command_prints_an_address_that_answers(tmp_path):
    command = [sys.executable, "-m", "npnn", "playground", "spirals", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        line = process.stdout.readline()
        port, token = re.fullmatch(r"playground  http://127\.0\.0\.1:(\d+)/(\S+)/\n", line).groups()
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
        connection.request("GET", f"/{token}/program")
        assert b"npnn.datasets.Spirals(" in connection.getresponse().read()
        connection.close()
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def test_the_command_says_which_problems_there_are(capsys):
    assert npnn.cli.main(["playground", "no-such", "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert "there is no file 'no-such', and no problem of that name; there are xor" in said


def test_what_the_page_chooses_from_exists():
    for problem in PROBLEMS.values():
        assert hasattr(npnn.datasets, problem.dataset)
    assert Path(making.__file__).parent.joinpath("page", "app.js").exists()
