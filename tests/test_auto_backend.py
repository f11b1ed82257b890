"""``backend="auto"``: a model computes by the library of the first data that it is given."""

import copy
import pickle

import numpy as np
import pytest
from oracles import host_parameters

import npnn
from npnn import datasets as nd

RNG = np.random.default_rng(2)
X = RNG.normal(size=(12, 4)).astype(np.float32)
C = np.arange(12) % 3


def model(**options):
    layers = [npnn.Dense(4, 3), npnn.Softmax()]
    return npnn.Sequential(layers, seed=0, **{"backend": "auto", **options})


def stepped(made, x):
    made.chain, optimizer = npnn.CrossEntropyLoss(), npnn.Adam()
    optimizer.model = made
    optimizer.step(x, C)


def evaluated(made, x):
    made.chain = npnn.CrossEntropyLoss()
    made.evaluate(x, C)


DOORS = {
    "fit": lambda made, x: made.fit(x, C, epochs=1),
    "step": stepped,
    "predict": lambda made, x: made.predict(x),
    "called": lambda made, x: made(x),
    "predict_class": lambda made, x: made.predict_class(x),
    "evaluate": evaluated,
    "forward": lambda made, x: made.forward(x),
}


@pytest.mark.parametrize("door", DOORS)
def test_the_first_data_decide_at_every_door(door, backend_name):
    named = npnn.backends.get(backend_name)
    x = named.asarray(X)
    made = model()
    DOORS[door](made, x)
    assert made.backend.name == ("numpy" if backend_name == "numba" else backend_name)
    assert named.owns(made.predict(x))
    assert named.owns(made.layers[0].w)


def test_what_a_model_of_a_named_backend_learns_is_learnt(backend_name):
    named = npnn.backends.get(backend_name)
    found, expected = model(), model(backend=backend_name)
    for made in (found, expected):
        made.fit(named.asarray(X), C, epochs=2)
    for name, array in host_parameters(expected).items():
        np.testing.assert_allclose(host_parameters(found)[name], array, rtol=1e-5, atol=1e-6)


def test_it_decides_once():
    torch = pytest.importorskip("torch")
    made = model()
    made.predict(torch.tensor(X))
    for x in (X, X.tolist()):
        assert isinstance(made.predict(x), torch.Tensor)
    other = model()
    other.predict(X)
    assert type(other.predict(torch.tensor(X))) is np.ndarray
    moved = model().to("numpy")
    moved.predict(torch.tensor(X))
    assert moved.backend.name == "numpy"


def test_data_of_no_library_are_numpys():
    for x in (X, X.tolist(), X.astype(int), np.asarray(X, order="F"), tuple(map(tuple, X))):
        made = model()
        made.predict(x)
        assert made.backend.name == "numpy"


def test_the_data_of_a_dataset_and_of_several_inputs_decide():
    torch = pytest.importorskip("torch")
    made = model()
    made.fit(nd.Dataset(torch.tensor(X), C), epochs=1)
    assert made.backend.name == "numpy"  # which is what a Dataset makes of all data
    for x in ({"a": torch.tensor(X)}, (torch.tensor(X), torch.tensor(X))):
        assert npnn.backends.of(x) == npnn.backends.of(torch.tensor(X))
    assert npnn.backends.of({}) == npnn.backends.of("x") == ("numpy", None)


def test_all_models_of_a_chain_go_along():
    torch = pytest.importorskip("torch")
    first, second = model(), npnn.Sequential([npnn.Dense(3, 2)], backend="auto")
    first.chain, second.chain = second, npnn.RMSLoss()
    optimizer = npnn.Adam()
    optimizer.model = first
    optimizer.step(torch.tensor(X), np.ones((12, 2)))
    second.predict(np.ones((2, 3)))
    assert first.backend.name == second.backend.name == "torch"


def test_before_that_it_is_numpys_and_says_so(tmp_path):
    torch = pytest.importorskip("torch")
    made = model()
    assert "backend='auto'" in repr(made)
    assert type(made.parameters()["0.w"]) is np.ndarray
    made.save(tmp_path / "m")
    loaded = npnn.load(tmp_path / "m", backend="auto")
    for twin in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), loaded):
        assert "backend='auto'" in repr(twin)
        twin.predict(torch.tensor(X))
        assert "backend='torch'" in repr(twin)


@pytest.mark.parametrize("options", [{"device": "cuda"}, {"precision": "tf32"}])
def test_what_only_some_backend_has_needs_its_name(options):
    with pytest.raises(ValueError, match="needs a backend by its name: backend='auto' finds one"):
        model(**options)
