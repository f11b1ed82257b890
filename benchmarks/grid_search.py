"""A grid search over npnn's classifier beside one over scikit-learn's own."""

# Same data, grid, folds and processes; the first round starts the processes and imports.

import argparse
import statistics
import time
import warnings

from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier

from npnn.sklearn import NetworkClassifier

DECAYS, RATES = [1e-4, 1e-2], [1e-3, 3e-3]


def searches(backends):
    """Yield the name of each search, its estimator and its grid."""
    grid = {"alpha": DECAYS, "learning_rate_init": RATES}
    yield "MLPClassifier", MLPClassifier(random_state=0), grid
    for backend in backends:
        network = NetworkClassifier(random_state=0, backend=backend)
        yield f"npnn, {backend}", network, {"weight_decay": DECAYS, "alpha": RATES}


def main():
    """Print seconds, scores and ratios of each round, and the median ratio of the warm ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--backends", nargs="+", default=["numpy", "numba"])
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    x, t = load_digits(return_X_y=True)
    ratios = {}
    for number in range(options.rounds):
        theirs = None
        for name, estimator, grid in searches(options.backends):
            search = GridSearchCV(estimator, grid, n_jobs=options.jobs, cv=3)
            started = time.perf_counter()
            search.fit(x, t)
            seconds = time.perf_counter() - started
            theirs = theirs or seconds
            print(
                f"round {number}  {name:14} {seconds:6.2f} s  score {search.best_score_:.4f}  "
                f"{search.best_estimator_.n_iter_:3} epochs  ratio {theirs / seconds:.2f}",
                flush=True,
            )
            ratios.setdefault(name, []).append(theirs / seconds)
    for name, found in ratios.items():
        print(f"{name:14} {statistics.median(found[1:] or found):.2f} times as fast")


if __name__ == "__main__":
    main()
