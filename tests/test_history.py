"""What training recorded, and its file."""

import csv

import pytest

from npnn import History


@pytest.fixture
def history() -> History:
    history = History()
    history.append({"loss": 0.5, "val_loss": 1 / 3})
    history.append({"loss": 0.25, "val_loss": 1e-17})
    return history


def test_it_is_a_dict_with_a_number_for_each_epoch(history):
    assert history == {"loss": [0.5, 0.25], "val_loss": [1 / 3, 1e-17]}
    assert history.num_epochs == 2
    assert history.last() == {"loss": 0.25, "val_loss": 1e-17}


def test_an_empty_one_has_no_epoch():
    history = History()
    assert (history.num_epochs, history.last(), history.samples_per_second) == (0, {}, 0.0)
    assert "0 epochs" in repr(history)


def test_the_lists_it_is_made_of_stay_the_callers():
    column = [1.0]
    History({"loss": column}).append({"loss": 2.0})
    assert column == [1.0]


def test_the_rate_is_samples_by_time(history):
    history.samples, history.seconds = 600, 1.5
    assert history.samples_per_second == 400.0


def test_the_csv_file_holds_every_number_exactly(history, tmp_path):
    path = tmp_path / "history.csv"
    history.to_csv(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for name, values in history.items():
        assert [float(row[name]) for row in rows] == values


def test_the_repr_says_where_training_stands(history):
    assert repr(history) == "<History: 2 epochs, loss=0.25, val_loss=1e-17>"
    assert repr(History({"loss": [0.5]})) == "<History: 1 epoch, loss=0.5>"


def test_it_draws_its_curves(history, tmp_path):
    pytest.importorskip("matplotlib")
    history.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
