"""Who writes what he knows of other libraries is understood, or told in a line what to write."""

import copy
import pickle

import numpy as np
import pytest

import npnn
from npnn import datasets

RNG = np.random.default_rng(7)
X = RNG.normal(size=(40, 4)).astype(np.float32)
C = (X[:, 0] > 0).astype(int)


def classifier(**options):
    layers = [npnn.Dense(4, 8), npnn.ReLU(), npnn.Dense(8, 2), npnn.Softmax()]
    return npnn.Sequential(layers, seed=1, **options)


def regressor(**options):
    return npnn.Sequential([npnn.Dense(4, 8), npnn.Tanh(), npnn.Dense(8, 1)], seed=1, **options)


def told(act, error, message):
    """Check that an act is refused in one line that says this."""
    with pytest.raises(error, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)


# Layers ------------------------------------------------------------------------------------------


def test_one_number_is_what_comes_out():
    model = npnn.Sequential([npnn.Dense(8), npnn.ReLU(), npnn.Dense(2), npnn.Softmax()], seed=1)
    assert model.fit(X, C, epochs=2) == classifier().fit(X, C, epochs=2)
    assert npnn.Shape((2, 2)).build(4) == (2, 2)
    assert npnn.Latent(6).build(4, RNG) == (6,)


@pytest.mark.parametrize("kind", [npnn.Dense, npnn.Shape, npnn.Latent])
def test_what_comes_in_alone_is_not_enough(kind):
    told(lambda: kind(shape_in=4), TypeError, f"{kind.__name__} needs shape_out: .*\\(64\\)")
    told(lambda: kind(4, None), TypeError, "needs shape_out")
    told(kind, TypeError, "needs shape_out")


def test_layers_are_copied_and_pickled_without_their_arguments():
    layers = [npnn.Dense(4, 2), npnn.Shape(4, (2, 2)), npnn.Conv2D(2, 3), npnn.MaxPool(2)]
    for layer in (*layers, npnn.Latent(4, 2), npnn.LeakyReLU(slope=0.2), npnn.HuberLoss(delta=2.0)):
        for twin in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert twin.to_config() == layer.to_config()


def test_channels_and_a_kernel_are_enough_for_a_convolution():
    for kind in (npnn.Conv2D, npnn.UpConv2D):
        short, long = kind(8, 2), kind(None, 8, 2)
        assert short.to_config() == long.to_config()
        assert kind(8).to_config() == kind(None, 8).to_config()
        assert kind(8, (1, 2), stride=2).to_config() == kind(None, 8, (1, 2), 2).to_config()
        assert kind(8, kernel_size=5).to_config() == kind(None, 8, 5).to_config()
        for act in (
            lambda kind=kind: kind(1, 32, 3),
            lambda kind=kind: kind(32, 3, 2),
            lambda kind=kind: kind(32, 3, kernel_size=3),
            lambda kind=kind: kind(32, shape_out=3),
            lambda kind=kind: kind(shape_in=32),
        ):
            told(act, TypeError, rf"{kind.__name__}\(32, 3\) has 32 channels and a kernel of 3")


def test_a_size_is_enough_for_a_pool():
    for kind in (npnn.MaxPool, npnn.AvgPool):
        assert kind(3).to_config() == kind(kernel_size=3).to_config()
        assert kind((2, 3), stride=1).to_config() == kind(None, None, (2, 3), 1).to_config()
        assert kind((4, 4, 1)).shape_in == (4, 4, 1)
        told(lambda kind=kind: kind(2, 2), TypeError, "write kernel_size and stride by name")
        told(lambda kind=kind: kind(shape_in=2), TypeError, "kernel_size and stride by name")


@pytest.mark.parametrize(
    "name", ["relu", "ReLU", "leaky_relu", "leaky relu", "tanh", "sigmoid", "swish", "linear"]
)
def test_an_activation_by_name_is_a_layer_of_its_own(name):
    named = npnn.Sequential([npnn.Dense(4, 3, activation=name), npnn.Dense(1)], seed=1)
    kind = type(named.layers[1])
    assert kind.__name__.lower() == name.lower().replace("_", "").replace(" ", "")
    apart = npnn.Sequential([npnn.Dense(4, 3), kind(), npnn.Dense(1)], seed=1)
    assert repr(named) == repr(apart)
    assert list(named.parameters()) == ["0.w", "0.b", "2.w", "2.b"]
    np.testing.assert_array_equal(named.predict(X), apart.predict(X))


def test_a_name_is_the_packages_where_a_class_of_ones_own_has_it():
    class Softmax(npnn.Softmax):
        """A layer that has a built-in's name."""

    try:
        layer = npnn.Sequential([npnn.Dense(4, 2, activation="softmax")], seed=1).layers[1]
        assert type(layer) is npnn.Softmax
    finally:
        for key, kind in list(npnn.Layer.registry.items()):
            if kind is Softmax:
                del npnn.Layer.registry[key]


def test_an_activation_is_the_canonical_one_of_a_loss(tmp_path):
    model = npnn.Sequential(
        [npnn.Dense(8, activation="relu"), npnn.Dense(2, activation="softmax")], seed=1
    )
    assert model.fit(X, C, epochs=2) == classifier().fit(X, C, epochs=2)
    assert isinstance(model.chain, npnn.CrossEntropyLoss)
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(npnn.load(tmp_path / "m").predict(X), model.predict(X))


def test_an_activation_goes_along_within_layers_of_layers():
    def branches(one):
        return npnn.Sequential([npnn.Parallel([one, [npnn.Dense(3), npnn.Tanh()]])], seed=1)

    alone = branches(npnn.Dense(2, activation="relu"))
    listed = branches([npnn.Dense(2), npnn.ReLU()])
    np.testing.assert_array_equal(alone.predict(X), listed.predict(X))
    images = RNG.normal(size=(2, 4, 4, 1))
    model = npnn.Sequential([npnn.Conv2D(2, 3, activation=npnn.LeakyReLU(slope=0.5))], seed=1)
    apart = npnn.Sequential([npnn.Conv2D(2, 3), npnn.LeakyReLU(slope=0.5)], seed=1)
    np.testing.assert_array_equal(model.predict(images), apart.predict(images))


def test_an_activation_that_there_is_not_is_named():
    told(lambda: npnn.Dense(4, activation="gelu"), ValueError, "did you mean 'relu'.*leaky_relu")
    told(lambda: npnn.Dense(4, activation=npnn.ReLU), TypeError, r"write ReLU\(\.\.\.\)")
    told(lambda: npnn.Dense(4, activation=np.tanh), TypeError, "activation must be a Layer")
    told(lambda: npnn.BatchNorm(activation="relu"), TypeError, r"put npnn.ReLU\(\), say, behind")
    with pytest.raises(AttributeError):
        npnn.Dense(4).activation = "relu"


def test_a_layer_of_ones_own_has_the_arguments_that_it_says():
    class OfOnesOwn(npnn.Dense):
        def __init__(self, size, activation="none", **rest):
            super().__init__(None, size)
            self.size, self.mode, self.rest = size, activation, rest

        size = mode = rest = None

    try:
        assert OfOnesOwn(3, activation="relu", more=2).mode == "relu"
        assert OfOnesOwn(size=3).rest == {}
    finally:
        del npnn.Layer.registry["OfOnesOwn"]


@pytest.mark.parametrize("capture", [True, False])
def test_biases_can_be_left_out(backend_name, capture, tmp_path):
    layers = [npnn.Dense(8, bias=False, activation="relu"), npnn.Dense(2), npnn.Softmax()]
    model = npnn.Sequential(layers, backend=backend_name, capture=capture, seed=1)
    model.fit(X, C, epochs=2)
    assert list(model.parameters()) == ["0.w", "2.w", "2.b"]
    assert not model.layers[0].bias
    model.save(tmp_path / "m")
    loaded = npnn.load(tmp_path / "m")
    assert repr(loaded.layers[0]) == "Dense(4, 8, bias=False)"
    y = model.backend.to_numpy(model.predict(X))
    np.testing.assert_allclose(loaded.predict(X), y, rtol=1e-5)


ARGUMENTS = {
    "Dense has no argument 'use_bias': write bias": lambda: npnn.Dense(4, use_bias=False),
    "'units': write shape_out": lambda: npnn.Dense(units=4),
    "'in_features': write shape_in": lambda: npnn.Dense(in_features=4, out_features=2),
    "'filters': write shape_out": lambda: npnn.Conv2D(filters=3, kernel_size=2),
    "'kernel_initializer': write initializer": lambda: npnn.Dense(4, kernel_initializer="x"),
    r"'kernel_regularizer': .*Adam\(weight_decay=": lambda: npnn.Dense(4, kernel_regularizer="l2"),
    "'pool_size': write kernel_size": lambda: npnn.MaxPool(pool_size=2),
    "'strides': write stride": lambda: npnn.Conv2D(8, 3, strides=2),
    "LeakyReLU: write slope=0.2 by name": lambda: npnn.LeakyReLU(0.2),
    "'alpha': write slope": lambda: npnn.LeakyReLU(alpha=0.2),
    "'negative_slope': write slope": lambda: npnn.LeakyReLU(negative_slope=0.2),
    "'slop': did you mean slope": lambda: npnn.LeakyReLU(slop=0.2),
    "Dropout has no argument 'rate': write probability": lambda: npnn.Dropout(rate=0.2),
    "'p': write probability": lambda: npnn.Dropout(p=0.2),
    "'dim': leave it out": lambda: npnn.Softmax(dim=1),
    "'quite': it has shape": lambda: npnn.Softmax(quite=1),
    r"weights is Dense\(4, 2\)": lambda: npnn.Linear(4, 2),
    "by place, but is given 3 arguments": lambda: npnn.Dropout(0.1, 4, 2),
    "shape_in by name, and 4 in its place": lambda: npnn.Dense(4, 2, shape_in=4),
    "HuberLoss has no argument 'detla': did you mean delta": lambda: npnn.HuberLoss(detla=1),
    "Adam has no argument 'lr': write alpha": lambda: npnn.Adam(lr=0.1),
    "'learning_rate': write alpha": lambda: npnn.SGD(learning_rate=0.1),
    "'betas': write beta1=0.9, beta2=0.999": lambda: npnn.Adam(betas=(0.9, 0.99)),
    "'eps': write epsilon": lambda: npnn.Adam(eps=1e-7),
    "'clipnorm': did you mean clip_norm": lambda: npnn.Adam(clipnorm=1),
    "'rho': write beta": lambda: npnn.RMSprop(rho=0.9),
    r"write AdamW\(decay=0.01\)": lambda: npnn.AdamW(weight_decay=0.01),
    "'restore_best_weights': write restore_best": lambda: npnn.EarlyStopping(
        restore_best_weights=True
    ),
    "ReduceOnPlateau has no argument 'patients'": lambda: npnn.ReduceOnPlateau(patients=1),
    "'T_max': write length": lambda: npnn.Cosine(T_max=3),
    "'gamma': write factor": lambda: npnn.StepDecay(3, gamma=0.1),
    "'from_logits': leave it out": lambda: npnn.CrossEntropyLoss(from_logits=True),
    r"layer 1 must be a Layer, not 'relu': an activation is a layer": lambda: npnn.Sequential(
        [npnn.Dense(4, 2), "relu"]
    ),
    r"layer 0 must be a Layer, not a class: write ReLU\(": lambda: npnn.Sequential([npnn.ReLU]),
    "Normalization has no argument 'mean'": lambda: npnn.Normalization(mean=0.0),
    "Dataset has no argument 'test_size': write train_fraction=0.7": lambda: datasets.Dataset(
        [[0.0]], [[1.0]], test_size=0.3
    ),
    "Table has no argument 'label': write target": lambda: datasets.Table("a.csv", label="a"),
    "words are classes where npnn.Softmax": lambda: npnn.Sequential([npnn.Dense(4, 2)]).fit(
        X, np.array(["a", "b"])[C]
    ),
    "Sequential has no argument 'random_state': write seed": lambda: npnn.Sequential(
        random_state=1
    ),
}


@pytest.mark.parametrize("message", ARGUMENTS)
def test_an_argument_that_there_is_not_is_named_rightly(message):
    told(ARGUMENTS[message], TypeError, message)


# Looking at a model ------------------------------------------------------------------------------


def test_a_model_is_a_row_of_its_layers():
    model = classifier()
    assert len(model) == 4
    assert list(model) == list(model.layers)
    assert model[0] is model.layers[0]
    assert model[-1] is model.layers[3]
    assert model[1:3] == model.layers[1:3]
    assert model[1] in model
    assert npnn.Sequential()  # which has no layers yet, but is something
    told(lambda: model[4], IndexError, "of 4 layers, counted from 0, none is 4")
    told(lambda: model["2.w"], TypeError, r"write model\[2\]")


ATTRIBUTES = {
    "train": "leave it out: fit and step train",
    "eval": "leave it out",
    "zero_grad": "leave it out: each step makes its gradients anew",
    "compile": r"model.fit\(x, t, loss=",
    "state_dict": r"parameters\(\) and state\(\) are dicts",
    "load_state_dict": r"set_arrays\(arrays\)",
    "weights": "write parameters",
    "add": r"model.layers = \[\*model.layers, layer\]",
    "train_on_batch": r"optimizer.step\(x, t\)",
    "predict_proba": "write predict",
    "score": "evaluate",
    "count_params": "write summary",
    "cuda": r"model.to\(",
    "history": "model.fit returns the history",
    "sumary": "did you mean summary",
    "predikt": "did you mean predict",
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_that_there_is_not_is_named_rightly(name):
    told(
        lambda: getattr(classifier(), name),
        AttributeError,
        f"Sequential has no attribute '{name}'.*{ATTRIBUTES[name]}",
    )
    assert not hasattr(classifier(), name)


def test_attributes_of_layers_and_optimizers_are_named_rightly():
    built = classifier()[0]
    told(lambda: built.weight, AttributeError, "Dense has no attribute 'weight': write w")
    told(lambda: npnn.Dense(4, 2).w, AttributeError, r"'w' yet: .* drawn")
    told(lambda: npnn.Adam().lr, AttributeError, "write alpha")
    told(lambda: npnn.Adam().zero_grad(), AttributeError, "leave it out")
    told(lambda: setattr(npnn.Adam(), "lr", 1), AttributeError, "write alpha")
    told(lambda: npnn.Dense(4)(X), TypeError, "Dense is no function: .*predict")
    told(npnn.CrossEntropyLoss().backward, ValueError, "no batch .*fit or optimizer.step")
    assert not hasattr(built, "__array__")
    assert not hasattr(built, "_repr_html_")


def test_a_property_that_fails_says_why():
    class Failing(npnn.Layer):
        @property
        def size(self):
            return self.shape_in.size

    try:
        told(lambda: Failing().size, AttributeError, "'NoneType' object has no attribute 'size'")
    finally:
        del npnn.Layer.registry["Failing"]


def test_classes_without_a_softmax_are_told_of_it():
    told(
        lambda: npnn.Sequential([npnn.Dense(4, 2)]).fit(X, C),
        ValueError,
        r"outputs of shape \(batch, 2\): of classes, npnn.Softmax\(\) is the last layer, and",
    )
    told(lambda: npnn.Normalization().fit(X), AttributeError, r"Normalization.standard\(x\)")
    told(lambda: npnn.Dense(4, initializer="he_normal"), ValueError, "did you mean 'HeNormal'")


# Training ----------------------------------------------------------------------------------------

T = X[:, :1] * 2.0


def fit(model=None, t=C, **options):
    return (model or classifier()).fit(X, t, **{"epochs": 2, **options})


@pytest.mark.parametrize("name", ["adam", "Adam", "adamw", "sgd", "rmsprop", "gradient_descent",
                                  "GradientDescent", "adagrad", "adadelta"])  # fmt: skip
def test_an_optimizer_has_a_name(name):
    kinds = {kind.__name__.lower(): kind for kind in npnn.Optimizer.registry.values()}
    assert fit(optimizer=name) == fit(optimizer=kinds[name.lower().replace("_", "")]())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cross_entropy", npnn.CrossEntropyLoss),
        ("cross entropy", npnn.CrossEntropyLoss),
        ("CrossEntropyLoss", npnn.CrossEntropyLoss),
        ("rms", npnn.RMSLoss),
        ("l1", npnn.L1Loss),
        ("Huber", npnn.HuberLoss),
    ],
)
def test_a_loss_has_a_name(name, kind):
    t = C if "ross" in name else np.eye(2)[C]
    assert fit(t=t, loss=name) == fit(t=t, loss=kind())


def test_a_name_of_others_is_answered_with_the_right_one():
    one = npnn.Sequential([npnn.Dense(4, 1), npnn.Sigmoid()], seed=1)
    fit(one, loss="binary_cross_entropy")
    assert isinstance(one.chain, npnn.BinaryCrossEntropyLoss)
    for wrong, right in {
        "mse": "rms",
        "mae": "l1",
        "bce": "binary_cross_entropy",
        "categorical_crossentropy": "cross_entropy",
        "sparse_categorical_crossentropy": "cross_entropy",
        "cross_entropie": "cross_entropy",
    }.items():
        told(lambda w=wrong: fit(loss=w), ValueError, f"no '{wrong}': did you mean '{right}'")
    told(lambda: fit(optimizer="adm"), ValueError, "'adam'.*there are adam, adamw")
    told(lambda: fit(optimizer=npnn.Adam), TypeError, r"write Adam\(\.\.\.\)")
    told(lambda: fit(loss=npnn.RMSLoss), TypeError, r"write RMSLoss\(\.\.\.\)")
    told(lambda: fit(loss=3), TypeError, r"a LossLayer such as \w+\(\), or its name; it is 3")


def test_what_is_wrong_leaves_the_model_alone():
    model = npnn.Sequential([npnn.Dense(4), npnn.Softmax()], seed=1)
    for options in ({"loss": "mse"}, {"optimizer": "adm"}, {"metrics": ["f2"]}):
        with pytest.raises(ValueError):
            fit(model, **options)
    assert model.chain is None


FIT = {
    "fit has no argument 'y': write t": lambda: classifier().fit(X, y=C),
    "'verbose': write progress=True": lambda: fit(verbose=1),
    "'val_data': write validation_data": lambda: fit(val_data=(X, C)),
    "'validation_fraction': write validation_split": lambda: fit(validation_fraction=0.1),
    "'sample_weight': write w": lambda: fit(sample_weight=np.ones(40)),
    r"'class_weight': write loss=npnn.CrossEntropyLoss\(class_weights=": lambda: fit(
        class_weight={0: 1}
    ),
    "batch_size must be an int, not None": lambda: fit(batch_size=None),
    r"'lr': .*optimizer=npnn.Adam\(alpha=0.01\)": lambda: fit(lr=0.1),
    "'max_iter': write epochs": lambda: fit(max_iter=3),
    "'epoch': did you mean epochs": lambda: fit(epoch=3),
    "fit takes x, t by place, and by name w, epochs": lambda: classifier().fit(X, C, 5),
    "evaluate has no argument 'y': write t": lambda: classifier().evaluate(X, y=C),
    "predict has no argument 'verbose': leave it out": lambda: classifier().predict(X, verbose=0),
    "sparse, .*toarray": lambda: classifier().fit(Sparse(), C),
    r"x\[None\] makes a batch of one sample": lambda: classifier().predict(X[0]),
    r"callbacks\[0\] must be a Callback such as EarlyStopping\(\), or a function": lambda: fit(
        callbacks=["x"]
    ),
    r"callbacks\[0\] must be a function of \(training, metrics\), not of \(\)": lambda: fit(
        callbacks=[lambda: 1]
    ),
    r"write EarlyStopping\(\.\.\.\)": lambda: fit(callbacks=[npnn.EarlyStopping]),
    "alpha is a number, and a schedule multiplies it": lambda: npnn.Adam(npnn.Cosine(3)),
    "alpha must be a number, not a model or its parameters": lambda: npnn.Adam(
        classifier().parameters()
    ),
    "what a schedule gives for 0 must be a number, not 'x'": lambda: fit(
        optimizer=npnn.Adam(alpha=lambda step: "x")
    ),
    r"a schedule must be a function of \(count\), not of \(\)": lambda: npnn.Adam(
        schedule=lambda: 1
    ),
}


class Sparse:
    """What scipy's sparse matrices look like."""

    shape, dtype, nnz = (40, 4), np.dtype(np.float64), 3

    def toarray(self):
        return X


@pytest.mark.parametrize("message", FIT)
def test_an_argument_of_training_is_named_rightly(message):
    told(FIT[message], TypeError if "batch of one" not in message else ValueError, message)


def test_a_function_is_a_callback():
    seen = []

    def note(training, metrics):
        seen.append((training.epoch, metrics["loss"]))
        if training.epoch == 3:
            training.stop("enough")

    history = fit(epochs=9, callbacks=[note, npnn.EarlyStopping()])
    assert seen == list(enumerate(history["loss"], start=1))
    assert history.stopped == "enough"
    assert len(seen) == 3


@pytest.mark.parametrize("capture", [True, False])
def test_a_function_is_a_schedule(capture):
    decay = npnn.ExponentialDecay(0.9)

    def train(**options):
        model = classifier(capture=capture)
        history = fit(model, batch_size=10, **options)
        return history["loss"], model.predict(X).tolist()

    expected = train(optimizer=npnn.Adam(alpha=0.02, schedule=decay))
    assert expected == train(optimizer=npnn.Adam(0.02, schedule=lambda step: 0.9**step))
    assert expected == train(optimizer=npnn.Adam(alpha=lambda step: 0.02 * 0.9**step))
    by_epoch = train(callbacks=[npnn.LearningRateSchedule(decay)])
    assert by_epoch == train(callbacks=[npnn.LearningRateSchedule(lambda epoch: 0.9**epoch)])
    assert by_epoch != expected


def test_a_function_can_be_set_later_and_is_shown():
    optimizer = npnn.SGD()
    optimizer.alpha = lambda step: 0.5 / (1 + step)
    optimizer.steps = 3
    assert optimizer.rate == 0.5 / 3
    assert "FunctionSchedule" in repr(optimizer)
    optimizer.alpha = 0.5
    assert optimizer.rate == 0.5


def test_a_checkpoint_wants_a_function_again(tmp_path):
    def optimizer():
        return npnn.Adam(alpha=lambda step: 0.02 * 0.9**step)

    path = tmp_path / "c"
    whole = fit(epochs=4, seed=2, optimizer=optimizer())
    fit(epochs=2, seed=2, optimizer=optimizer(), callbacks=[npnn.Checkpoint(path)])
    told(
        lambda: fit(epochs=4, resume=path),
        ValueError,
        "a schedule of it is a function, <lambda>, which no file holds: give fit the optimizer",
    )
    assert fit(epochs=4, resume=path, optimizer=optimizer()) == whole
    scheduled = [npnn.LearningRateSchedule(lambda epoch: 0.5**epoch)]
    whole = fit(epochs=4, seed=2, callbacks=scheduled)
    fit(epochs=2, seed=2, callbacks=[*scheduled, npnn.Checkpoint(path)])
    assert fit(epochs=4, resume=path, callbacks=scheduled) == whole


def test_a_model_is_called_as_it_predicts():
    model = classifier()
    np.testing.assert_array_equal(model(X), model.predict(X))


# Where it computes -------------------------------------------------------------------------------


def test_a_model_moves_to_any_backend_and_back(captured_on):
    model = npnn.Sequential([npnn.Dense(4, 8), npnn.BatchNorm(), npnn.Dense(1)], seed=1)
    optimizer = npnn.Adam()
    before = fit(model, T, optimizer=optimizer)
    y, loss = model.predict(X), model.evaluate(X, T)["loss"]
    assert model.to(captured_on) is model
    assert model.backend.name == captured_on
    assert model.backend.owns(model(X))
    assert all(map(model.backend.owns, model.state().values()))
    np.testing.assert_allclose(model.backend.to_numpy(model(X)), y, rtol=1e-5, atol=1e-6)
    assert model.evaluate(X, T)["loss"] == pytest.approx(loss, rel=1e-5)
    assert fit(model, T, optimizer=optimizer)["loss"][-1] < before["loss"][0]
    y = model.backend.to_numpy(model(X))
    np.testing.assert_allclose(model.to("numpy").predict(X), y, rtol=1e-5, atol=1e-6)
    fit(model, T, optimizer=optimizer)


def test_all_links_of_a_chain_move():
    encoder, decoder = npnn.Sequential([npnn.Dense(4, 2)]), npnn.Sequential([npnn.Dense(2, 4)])
    encoder.chain, decoder.chain = decoder, npnn.RMSLoss()
    fit(encoder, X)
    fit(encoder.to("array_api_strict"), X)
    assert decoder.backend.name == "array_api_strict"


def test_a_model_that_cannot_move_stays_as_it_is():
    model = classifier()
    y = model.predict(X)
    told(lambda: model.to("cuda"), ValueError, "not 'cuda': backend='cupy' computes on a GPU")
    told(lambda: model.to("nowhere"), ValueError, "device must be None or 'cpu'")
    assert model.to("cpu").to(np).to(model.backend).backend.name == "numpy"
    np.testing.assert_array_equal(model.predict(X), y)


BACKENDS = {
    "'cuda': backend='cupy' computes on a GPU": {"backend": "cuda"},
    "'gpu': backend='cupy'": {"backend": "gpu"},
    "'cpu': backend='numpy'": {"backend": "cpu"},
    "'pytorch': write backend='torch'": {"backend": "pytorch"},
    "'nump': did you mean 'numpy'": {"backend": "nump"},
    "'math'; there are numpy": {"backend": __import__("math")},
    "not 'gpu:1': backend='cupy' computes on a GPU": {"device": "gpu:1"},
}


@pytest.mark.parametrize("message", BACKENDS)
def test_a_backend_that_there_is_not_is_named_rightly(message):
    told(lambda: npnn.Sequential(**BACKENDS[message]), ValueError, message)


def test_a_module_is_a_backend():
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    for module, name in ((np, "numpy"), (torch, "torch"), (jnp, "jax")):
        assert npnn.Sequential(backend=module).backend.name == name


# Names of the package ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name", "right"),
    [
        (npnn, "Conv2d", "did you mean Conv2D"),
        (npnn, "MSELoss", "write RMSLoss, half the squared error"),
        (npnn, "BatchNorm1d", "write BatchNorm"),
        (npnn, "MaxPooling2D", "write MaxPool"),
        (npnn, "Model", "write Sequential"),
        (npnn, "ModelCheckpoint", "write Checkpoint"),
        (npnn, "LSTM", "there is none; CONTRIBUTING.md shows"),
        (npnn, "nn", "all is in npnn itself"),
        (npnn, "load_model", r"npnn.load\(path\)"),
        (npnn.layers, "Densee", "did you mean Dense"),
        (npnn.losses, "MSE", "write RMSLoss"),
        (npnn.optimizers, "Adm", "did you mean Adam"),
    ],
)
def test_a_name_that_there_is_not_is_named_rightly(module, name, right):
    told(lambda: getattr(module, name), AttributeError, f"'{name}': {right}")
    assert not hasattr(npnn, "__wrapped__")


def test_every_right_word_is_one():
    for names in npnn.words.NAMES.values():
        word = names.partition(",")[0].partition("(")[0].partition(".")[0]
        assert not word.isidentifier() or word == "npnn" or hasattr(npnn, word), word
    kinds = {npnn.named.spoken(kind.__name__) for kind in npnn.Layer.registry.values()}
    assert set(npnn.words.LOSSES.values()) <= kinds


def test_a_history_says_what_it_has():
    history = fit()
    told(lambda: history["val_loss"], KeyError, "give fit validation_data or validation_split")
    told(lambda: history["acuracy"], KeyError, "did you mean 'accuracy'")
    told(lambda: history["other"], KeyError, "there are loss, accuracy")
    told(lambda: history.history, AttributeError, "a dict itself")
    assert history.get("other") is None
    assert "other" not in history
