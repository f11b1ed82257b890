"""Scaling the loss, so that its gradients are not too small for a product with few digits."""

from __future__ import annotations

from npnn.arrays import Array, array_namespace

GROWTH = 2000  # steps without an overflow after which the loss is scaled twice as much
LEAST, MOST = 2.0**-24, 2.0**64  # by which it is scaled: that stays a number, whatever comes


def unscaled(
    gradients: list[Array], scaling: list[Array]
) -> tuple[list[Array], Array, list[Array]]:
    """Return the gradients of the loss itself, whether all are finite, and the next scaling.

    Micikevicius et al. 2018, "Mixed precision training": a step whose gradients are too large is
    left out, and the loss is scaled half as much from then on.
    """
    if not scaling:
        return gradients, None, scaling
    scale, streak = scaling
    xp = array_namespace(scale)
    gradients = [g * (1.0 / scale) for g in gradients]
    # Zero times a number is zero, times anything else NaN.
    finite = xp.isfinite(sum(xp.sum(0.0 * g) for g in gradients))
    streak = xp.where(finite, streak + 1.0, 0.0)
    grows = streak >= GROWTH
    scale = xp.where(finite, xp.where(grows, 2.0 * scale, scale), 0.5 * scale)
    scale = xp.minimum(xp.maximum(scale, LEAST), MOST)
    return gradients, finite, [scale, xp.where(grows, 0.0, streak)]


def chosen(condition: Array, new: tuple[Array, ...], old: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the new arrays where the condition holds, else the old ones."""
    xp = array_namespace(condition)
    return tuple(xp.where(condition, *pair) for pair in zip(new, old, strict=True))
