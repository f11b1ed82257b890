"""The sentence at the end of a training: what it is made of."""

import numpy as np
import pytest

import npnn
import npnn.datasets as nd
from npnn.cli import main
from npnn.cli.hints import hint
from npnn.history import History

RNG = np.random.default_rng(0)


def table(tmp_path, columns, names):
    path = tmp_path / "table.csv"
    lines = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([names, *lines]) + "\n")
    return nd.Table(path, seed=0)


def said(data, y=None, history=None, trained=0.9, validated=0.9, **run):
    name = "R²" if data.task == "regression" else "accuracy"
    metrics = {"training": {name: trained}, "validation": {name: validated}}
    y = data.y_validation_data if y is None else y
    settings = {"epochs": 10, "hidden": [8], **run}
    return hint(data, y, history or History({}), metrics, settings)


NOISE = RNG.normal(size=400).round(3)
CLASSES = np.where(RNG.random(400) < 0.4, "yes", "no")


@pytest.mark.parametrize(
    "column",
    [
        np.where(CLASSES == "yes", "alive", "dead"),
        np.where(CLASSES == "yes", 3, 1),
        np.where(CLASSES == "yes", 3.0, 1.0) + RNG.random(400).round(3),
        np.where(CLASSES == "yes", -3.0, 1.0) + RNG.random(400).round(3),
        np.where(CLASSES == "yes", "", "x"),
    ],
)
def test_a_column_that_decides_all_is_named(tmp_path, column):
    data = table(tmp_path, [NOISE, column, CLASSES], "a,the answer,y")
    sentence = said(data)
    assert "The column 'the answer' alone tells 'y' in 100 % of the rows" in sentence
    assert '(--ignore "the answer")' in sentence


def test_a_column_that_decides_a_number_is_named(tmp_path):
    t = RNG.normal(size=400).round(4)
    data = table(tmp_path, [NOISE, 7 - 2 * t, t], "a,b,t")
    assert "The column 'b' alone tells 't' in 100 % of the variance" in said(data)
    groups = RNG.integers(0, 5, 400)
    data = table(tmp_path, [NOISE, np.array(list("abcde"))[groups], groups * 2.5], "a,b,t")
    assert "The column 'b' alone tells" in said(data)


def test_columns_that_decide_nothing_are_not_named(tmp_path):
    data = table(tmp_path, [NOISE, np.arange(400) % 7, CLASSES], "a,b,y")
    assert "alone" not in said(data)
    rare = np.where(np.arange(400) % 250 == 0, "yes", "no")
    assert "alone" not in said(table(tmp_path, [NOISE, NOISE[::-1], rare], "a,b,y"))


def test_a_rare_class_that_is_missed_is_named(tmp_path):
    classes = np.where(np.arange(400) % 12 == 0, "ill", "well")
    data = table(tmp_path, [NOISE, NOISE[::-1], classes], "a,b,y")
    nobody = np.tile([0.0, 1.0], (data.num_validation_data, 1))
    sentence = said(data, nobody)
    count = int((data.c_validation_data == 0).sum())
    assert (
        f"Of the rare class 'ill' ({count} of 120 validation rows) only 0 % are found" in sentence
    )
    assert "--balance" in sentence
    assert "--balance" not in said(data, nobody, balance=True)
    assert "--balance" not in said(data)


def test_a_loss_that_still_falls_asks_for_more_epochs(tmp_path):
    data = table(tmp_path, [NOISE, NOISE[::-1], CLASSES], "a,b,y")
    falling = History({"val_loss": [1.0 / (1 + epoch) for epoch in range(10)]})
    assert "more of them would help (--resume --epochs 20)" in said(data, history=falling)
    assert "--resume" not in said(data, history=falling, falls=True)
    assert "--resume" not in said(data, history=History({"val_loss": [1.0, *[0.5] * 9]}))


def test_few_epochs_ask_for_more_before_all_that_they_cannot_tell(tmp_path):
    classes = np.where(np.arange(400) % 12 == 0, "ill", "well")
    data = table(tmp_path, [NOISE, NOISE[::-1], classes], "a,b,y")
    nobody = np.tile([0.0, 1.0], (data.num_validation_data, 1))
    one, three = (History({"val_loss": [0.5] * count}) for count in (1, 3))
    assert said(data, nobody, one, epochs=1).startswith("One epoch tells little")
    assert "(--resume --epochs 10)" in said(data, nobody, one, epochs=1)
    assert "3 epochs tell little" in said(data, trained=1.0, validated=0.8, history=three)
    assert "tell" not in said(data, trained=0.99, validated=0.99, history=one)
    assert "--resume" not in said(data, history=one, falls=True)


def test_few_rows_a_gap_and_neither(tmp_path):
    data = table(tmp_path, [NOISE[:100], NOISE[100:200], CLASSES[:100]], "a,b,y")
    assert "of 30 validation rows, and so known to about 11 %" in said(data)
    data = table(tmp_path, [NOISE, NOISE[::-1], CLASSES], "a,b,y")
    assert "1.000 for the training rows and 0.800 for the others" in said(
        data, trained=1.0, validated=0.8
    )
    assert "little is left to gain" in said(data, trained=0.99, validated=0.99)
    assert "columns that tell more would help" in said(data, trained=0.6, validated=0.6)


def test_a_training_ends_with_a_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(tmp_path, [NOISE, np.where(CLASSES == "yes", "a", "b"), CLASSES], "a,b,y")
    assert main(["train", "table.csv", "--no-pictures", "--epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert out.partition("\n\nThe column 'b' alone tells 'y' in 100 % of the rows")[2]


def test_rare_classes_can_count_as_much(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classes = np.where(NOISE + RNG.normal(size=400) > 1.9, "ill", "well")
    table(tmp_path, [NOISE, NOISE[::-1], classes], "a,b,y")
    found = []
    for more in ([], ["--balance"]):
        assert main(["train", "table.csv", "--no-pictures", "--epochs", "20", *more]) == 0
        model = npnn.load("npnn-output/model.safetensors")
        found.append(float(np.mean(np.asarray(model.predict_class(NOISE_PAIR)) == 0)))
    assert found[1] > found[0] + 0.1


NOISE_PAIR = np.stack([NOISE, NOISE[::-1]], axis=1)
