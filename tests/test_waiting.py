"""A callback that waits for a thread, which waits for the training that the callback is of."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_model_threads import T, X, classifier

import npnn


def by_join(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def by_future(work):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def by_exit(work):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)


def by_another(work):
    by_join(lambda: by_join(work))


MOMENTS = ["on_train_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_train_end"]


def waiting_at(moment, wait, work):
    """Return a callback that waits, at a moment, for a thread that works on the model."""

    def called(self, training, *_):
        wait(lambda: work(training.model))

    return type("Waits", (npnn.Callback,), {moment: called})()


def replaces(model):
    model.layers = [npnn.Dense(6, 3), npnn.Softmax()]


def fits(model):
    model.fit(X, T, epochs=1)


def moves(model):
    model.norm = npnn.Normalization(1.0, 2.0)


@pytest.mark.parametrize(
    ("moment", "wait", "change"),
    [
        *((moment, by_join, replaces) for moment in MOMENTS),
        *(("on_epoch_end", wait, replaces) for wait in (by_future, by_exit, by_another)),
        *(("on_batch_end", by_future, change) for change in (fits, moves)),
    ],
)
def test_a_thread_that_its_training_waits_for_is_told(moment, wait, change):
    told = []

    def work(model):
        try:
            change(model)
        except RuntimeError as error:
            told.append(str(error))

    history = classifier().fit(X, T, epochs=1, callbacks=[waiting_at(moment, wait, work)])
    assert history.num_epochs == 1
    words = "the model is being trained by a thread that waits for this one"
    assert all(text.startswith(words) for text in told)
    assert told


def test_a_thread_that_nobody_waits_for_changes_the_model_after_the_training():
    began, threads = threading.Event(), []

    def slow(self, training, metrics):
        if not threads:
            model = training.model
            work = threading.Thread(target=lambda: (began.set(), replaces(model)))
            threads.append(work)
            work.start()
            began.wait()
        time.sleep(0.15)  # which is no wait for others

    model = classifier()
    model.fit(X, T, epochs=4, callbacks=[type("Slow", (npnn.Callback,), {"on_epoch_end": slow})()])
    threads[0].join(60.0)
    assert len(model.layers) == 2


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_callback_may_wait_at_any_moment_for_a_thread_that_looks(moment, tmp_path):
    seen = []

    def look(model):
        model.evaluate(X, T)
        model.save(tmp_path / "model.safetensors")
        seen.append(model.predict(X).shape)

    classifier().fit(X, T, epochs=1, batch_size=16, callbacks=[waiting_at(moment, by_join, look)])
    assert set(seen) == {(len(X), 3)}
