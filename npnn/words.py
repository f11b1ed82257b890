"""What is called otherwise elsewhere: the word to write instead of one that there is not.

Each table maps a word of scikit-learn, Keras, PyTorch or Chainer to words of npnn, of which the
first that the object at hand has is named; what is more than one word is said as it stands.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

_SHAPE_IN = ("shape_in", "shape")
_WITHOUT = "leave it out: "
_LEARNING_RATE = ("alpha", "the learning rate is the optimizer's: optimizer=npnn.Adam(alpha=0.01)")
_PENALTY = ("weight_decay", "penalties are the optimizer's: npnn.Adam(weight_decay=1e-4)")

ARGUMENTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("input_shape", "input_dim", "in_features", "in_channels", "in_size", "n_in"), _SHAPE_IN
    ),
    **dict.fromkeys(("num_features", "normalized_shape", "size"), ("shape", "shape_in")),
    **dict.fromkeys(
        ("units", "out_features", "out_channels", "filters", "out_size", "n_out", "target_shape"),
        ("shape_out",),
    ),
    **dict.fromkeys(("rate", "p", "ratio"), ("probability", *_LEARNING_RATE)),
    **dict.fromkeys(("negative_slope", "leak"), ("slope",)),
    "alpha": ("slope", *_LEARNING_RATE),
    **dict.fromkeys(("lr", "learning_rate", "learning_rate_init", "eta"), _LEARNING_RATE),
    **dict.fromkeys(("use_bias", "nobias", "add_bias"), ("bias",)),
    **dict.fromkeys(("kernel_initializer", "initialW", "weight_init", "init"), ("initializer",)),
    **dict.fromkeys(("bias_initializer", "initial_bias"), (_WITHOUT + "b starts at 0",)),
    **dict.fromkeys(
        ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "l2"), _PENALTY
    ),
    "l1": ("weight_decay_l1",),
    "activation": ("put npnn.ReLU(), say, behind it",),
    "act": ("activation",),
    **dict.fromkeys(("strides", "subsample"), ("stride",)),
    **dict.fromkeys(("pool_size", "ksize", "kernel", "window"), ("kernel_size",)),
    "border_mode": ("padding",),
    **dict.fromkeys(("axis", "dim"), (_WITHOUT + "it is along the last axis",)),
    "inplace": (_WITHOUT + "layers never write into their inputs",),
    "start_dim": (_WITHOUT + "all axes but the first, that of the samples, become one",),
    **dict.fromkeys(("random_state", "rng"), ("seed",)),
    "betas": ("beta1=0.9, beta2=0.999",),
    "rho": ("rho", "beta"),
    "decay": ("weight_decay",),
    "eps": ("epsilon",),
    **dict.fromkeys(("max_norm", "grad_clip", "global_clipnorm"), ("clip_norm",)),
    "scheduler": ("schedule",),
    **dict.fromkeys(("T_max", "total_steps", "decay_steps"), ("length",)),
    **dict.fromkeys(("step_size", "step"), ("every",)),
    **dict.fromkeys(("gamma", "decay_rate"), ("factor",)),
    **dict.fromkeys(("eta_min", "min_lr"), ("final", "smallest")),
    "from_logits": (_WITHOUT + "put Softmax or Sigmoid last, before which it takes the logits",),
    **dict.fromkeys(("reduction", "size_average"), (_WITHOUT + "it is the mean over samples",)),
    **dict.fromkeys(("restore_best_weights", "save_best_only"), ("restore_best", "best_only")),
    **dict.fromkeys(("filepath", "filename"), ("path",)),
    **dict.fromkeys(
        ("y", "target", "targets", "label", "labels", "y_true", "y_train"), ("t", "target")
    ),
    **dict.fromkeys(("X", "inputs", "data", "X_train"), ("x",)),
    "verbose": ("progress=True, or leave it out", _WITHOUT + "nothing is shown"),
    **dict.fromkeys(("sample_weight", "weights", "sample_weights"), ("w",)),
    **dict.fromkeys(
        ("class_weight", "class_weights"),
        (
            "class_weight",
            "class_weights",
            "loss=npnn.CrossEntropyLoss(class_weights=[...]), a weight for each class",
        ),
    ),
    **dict.fromkeys(("eval_set", "val_data", "validation"), ("validation_data",)),
    **dict.fromkeys(
        ("validation_fraction", "test_size", "val_split"),
        (
            "validation_split",
            "validation_fraction",
            "train_fraction=0.7, the share of the samples that trains",
        ),
    ),
    **dict.fromkeys(("n_epochs", "num_epochs", "max_iter", "n_iter", "nb_epoch"), ("epochs",)),
    **dict.fromkeys(("criterion", "objective", "loss_fn", "loss_fun"), ("loss",)),
    **dict.fromkeys(("optim", "solver", "updater"), ("optimizer",)),
    **dict.fromkeys(("hidden_layer_sizes", "layers", "hidden_sizes"), ("hidden",)),
    **dict.fromkeys(("n_iter_no_change", "n_no_change"), ("patience",)),
    "train_size": ("train_fraction",),
    **dict.fromkeys(("scoring", "metric"), ("metrics",)),
    "minibatch": ("batch_size",),
    "initial_epoch": ("resume",),
    "early_stopping": ("callbacks=[npnn.EarlyStopping()]",),
}

_TRAINS = "model.fit(x, t), or optimizer.step(x, t) for one batch, trains"
_NO_MODE = "leave it out: fit and step train, predict and evaluate do not, and there is no mode"
_GRADIENTS = "leave it out: each step makes its gradients anew"
_ARRAYS = ("parameters", "w", "model.parameters() is a dict of arrays")
_MOVES = ('model.to("cupy") moves it to a GPU, model.to("torch") to PyTorch',)

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("train", "eval", "requires_grad_"), (_NO_MODE,)),
    **dict.fromkeys(("zero_grad", "cleargrads", "zerograds"), (_GRADIENTS,)),
    **dict.fromkeys(
        ("compile", "optimizer", "loss", "criterion"),
        ('model.fit(x, t, loss="cross_entropy", optimizer="adam") takes both',),
    ),
    **dict.fromkeys(
        ("train_on_batch", "partial_fit", "fit_generator", "train_step"),
        ("optimizer.model = model, then optimizer.step(x, t) trains on one batch",),
    ),
    **dict.fromkeys(
        ("state_dict", "named_parameters", "params"),
        ("parameters() and state() are dicts of arrays by name, save(path) writes a file",),
    ),
    **dict.fromkeys(
        ("load_state_dict", "set_weights"),
        ("set_arrays(arrays) takes a dict of them, npnn.load(path) reads a file",),
    ),
    **dict.fromkeys(("weights", "get_weights", "trainable_variables", "variables"), _ARRAYS),
    **dict.fromkeys(("weight", "kernel", "W", "coef_", "coefs_"), ("w", *_ARRAYS)),
    **dict.fromkeys(("bias", "intercept_", "intercepts_"), ("b", *_ARRAYS)),
    **dict.fromkeys(("grad", "gradient"), ("grad_w", "gradients are in the layers: layer.grad_w")),
    **dict.fromkeys(
        ("add", "append", "insert", "extend", "add_link", "add_module"),
        ("assign a new list: model.layers = [*model.layers, layer]",),
    ),
    **dict.fromkeys(("pop", "remove"), ("assign a new list: model.layers = model.layers[:-1]",)),
    **dict.fromkeys(("modules", "children", "links"), ("layers",)),
    **dict.fromkeys(("predict_proba", "__call__", "call"), ("predict",)),
    **dict.fromkeys(("predict_classes", "decision_function"), ("predict_class",)),
    **dict.fromkeys(("score", "test_on_batch"), ("evaluate(x, t) gives loss and accuracy",)),
    "classes_": ("class_names",),
    **dict.fromkeys(("history", "loss_curve_", "best_loss_"), ("model.fit returns the history",)),
    **dict.fromkeys(("num_params", "count_params", "num_parameters", "describe"), ("summary",)),
    **dict.fromkeys(("save_weights", "save_model", "save_npz", "serialize"), ("save",)),
    **dict.fromkeys(("load_weights", "load_model", "load"), ("npnn.load(path)",)),
    **dict.fromkeys(("input_shape", "input_dim", "in_features", "n_features_in_"), ("shape_in",)),
    **dict.fromkeys(
        ("output_shape", "units", "out_features", "filters", "out_channels", "n_outputs_"),
        ("shape_out",),
    ),
    **dict.fromkeys(("cuda", "to_gpu", "to_device", "to_chx"), _MOVES),
    **dict.fromkeys(("cpu", "to_cpu"), ('model.to("numpy") moves it to the CPU',)),
    **dict.fromkeys(("half", "float", "double"), ('Sequential(dtype="float64")',)),
    **dict.fromkeys(("get_params", "get_config"), ("to_config",)),
    **dict.fromkeys(("lr", "learning_rate", "param_groups"), ("alpha",)),
    **dict.fromkeys(("setup", "update_on_batch"), ("optimizer.model = model, then step(x, t)",)),
    **dict.fromkeys(("item", "result", "numpy"), ("get_loss", "predict returns arrays")),
    **dict.fromkeys(
        ("fit", "fit_transform", "transform"),
        ("Normalization.standard(x) makes one of data, and norm(x) applies it",),
    ),
    **dict.fromkeys(("minimize", "apply_gradients"), ("step(x, t) trains on one batch",)),
    "rate_fn": ("schedule",),
    **dict.fromkeys(("p", "ratio"), ("probability",)),
    "negative_slope": ("slope",),
    "strides": ("stride",),
    **dict.fromkeys(("pool_size", "ksize"), ("kernel_size",)),
    **dict.fromkeys(("running_mean", "moving_mean", "avg_mean"), ("mean",)),
    **dict.fromkeys(("running_var", "moving_variance", "avg_var"), ("variance",)),
}

_AS_ARGUMENT = "the first layer says it, Dense(4, 8), or the data do: Dense(8)"

NAMES: dict[str, str] = {
    **dict.fromkeys(("BatchNormalization", "BatchNorm1d", "BatchNorm2d"), "BatchNorm"),
    "LayerNormalization": "LayerNorm",
    **dict.fromkeys(("MaxPooling2D", "MaxPool2d", "MaxPool2D"), "MaxPool"),
    **dict.fromkeys(("AveragePooling2D", "AvgPool2d", "AveragePool"), "AvgPool"),
    **dict.fromkeys(("GlobalAveragePooling2D", "AdaptiveAvgPool2d"), "GlobalAvgPool"),
    **dict.fromkeys(
        ("Conv2DTranspose", "ConvTranspose2d", "Deconvolution2D", "Deconv2D"), "UpConv2D"
    ),
    "Convolution2D": "Conv2D",
    **dict.fromkeys(("ZeroPadding2D", "ZeroPad2d"), "Pad2D"),
    **dict.fromkeys(("Reshape", "Unflatten"), "Shape"),
    **dict.fromkeys(("Model", "Module", "Chain", "Network"), "Sequential"),
    **dict.fromkeys(("MLPClassifier", "MLPRegressor"), "Sequential"),
    **dict.fromkeys(("SiLU", "silu"), "Swish"),
    **dict.fromkeys(("MSELoss", "MeanSquaredError", "MSE"), "RMSLoss, half the squared error"),
    **dict.fromkeys(("L1", "MAE", "MeanAbsoluteError", "MAELoss"), "L1Loss"),
    **dict.fromkeys(
        ("BCELoss", "BCEWithLogitsLoss", "BinaryCrossentropy"),
        "BinaryCrossEntropyLoss, after Sigmoid",
    ),
    **dict.fromkeys(
        ("NLLLoss", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"),
        "CrossEntropyLoss, after Softmax",
    ),
    **dict.fromkeys(("KLDivLoss", "KLDivergence"), "KullbackLeiblerLoss"),
    "SmoothL1Loss": "HuberLoss",
    **dict.fromkeys(("MomentumSGD", "Momentum"), "SGD(momentum=0.9)"),
    "ModelCheckpoint": "Checkpoint",
    "CSVLogger": "CSVLog",
    "LearningRateScheduler": "LearningRateSchedule",
    **dict.fromkeys(("StandardScaler", "MinMaxScaler"), "Normalization.standard(x)"),
    **dict.fromkeys(("load_model", "load_npz"), "npnn.load(path) does that"),
    **dict.fromkeys(("CosineAnnealingLR", "CosineDecay"), "Cosine"),
    "StepLR": "StepDecay",
    **dict.fromkeys(("ReduceLROnPlateau",), "ReduceOnPlateau"),
    **dict.fromkeys(("Input", "InputLayer"), _AS_ARGUMENT),
    **dict.fromkeys(("nn", "optim", "functional", "links"), "all is in npnn itself, npnn.Dense"),
}

_NONE_YET = "there is none; CONTRIBUTING.md shows how a layer of one's own is written"
NAMES |= {
    **dict.fromkeys(("LSTM", "GRU", "RNN", "SimpleRNN", "Embedding", "Attention"), _NONE_YET),
    **dict.fromkeys(("Conv1D", "Conv1d", "Conv3D", "Conv3d", "GroupNorm"), _NONE_YET),
    **dict.fromkeys(("Activation", "relu", "softmax"), "ReLU(), Softmax() and others, as layers"),
}

LOSSES: dict[str, str] = {
    **dict.fromkeys(("mse", "meansquarederror", "squarederror", "l2"), "rms"),
    **dict.fromkeys(("mae", "meanabsoluteerror", "absoluteerror"), "l1"),
    **dict.fromkeys(("bce", "binarycrossentropywithlogits", "logistic"), "binary_cross_entropy"),
    **dict.fromkeys(
        ("categoricalcrossentropy", "sparsecategoricalcrossentropy", "logloss", "nll"),
        "cross_entropy",
    ),
    **dict.fromkeys(("kl", "kldivergence", "kld"), "kullback_leibler"),
    "smoothl1": "huber",
}


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the name among those known that is most like another; None if none is."""
    by_letters = {plain(each): each for each in known}
    found = difflib.get_close_matches(plain(name), by_letters, 1, 0.65)
    return by_letters[found[0]] if found else None


def plain(name: str) -> str:
    """Return a name without what is written in many ways: capitals, and what is between words."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def instead(name: str, known: Collection[str], table: dict[str, tuple[str, ...]]) -> str:
    """Return what to write instead of a name that there is not, as the end of a sentence.

    Parameters
    ----------
    name : str
        What was written.
    known : collection of str
        The words that would do here.
    table : dict
        One of those above.
    """
    for words in table.get(name, ()):
        word = re.match(r"\w+(?==)|\w+$", words)  # or a sentence
        if word is None:
            return f": {words}"
        if word[0] in known:
            return f": write {words}"
    found = closest(name, known)
    return f": did you mean {found}?" if found else ""


def name_instead(name: str, known: Iterable[str]) -> str:
    """Return what to write instead of a name that the package has not, as an end of a sentence."""
    if name in NAMES:
        return f": write {NAMES[name]}" if NAMES[name][0].isupper() else f": {NAMES[name]}"
    found = closest(name, known)
    return f": did you mean {found}?" if found and not name.startswith("_") else ""
