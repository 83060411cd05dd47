"""Matrix products of an update, in the form that is fast where they and their gradients run.

XLA folds transpositions into products, and its products on CPUs take twice as long with a folded
left operand. A product over the examples has one, and so has the gradient of every product. On
JAX and a CPU they are therefore laid out anew before, behind a barrier against folding: that costs
a quarter of what it saves. Elsewhere these are plain products.
"""

import functools

import keras
from keras import ops


def product(a, b):
    """The product a @ b of matrices [m, k] and [k, n]."""
    return _jax_products()[0](a, b) if _is_jax_cpu() else ops.matmul(a, b)


def product_over_examples(a, b):
    """transpose(a) @ b, of matrices [E, m] and [E, n]."""
    return _jax_products()[1](a, b) if _is_jax_cpu() else ops.matmul(ops.transpose(a), b)


def _is_jax_cpu():
    if keras.config.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


@functools.cache
def _jax_products():
    import jax

    def turned(x):
        return jax.lax.optimization_barrier(x.T)

    @jax.custom_vjp
    def plain(a, b):
        return a @ b

    @jax.custom_vjp
    def over_examples(a, b):
        return turned(a) @ b

    plain.defvjp(
        lambda a, b: (plain(a, b), (a, b)),
        lambda kept, g: (g @ kept[1].T, turned(kept[0]) @ g),
    )
    over_examples.defvjp(
        lambda a, b: (over_examples(a, b), (a, b)),
        lambda kept, g: (kept[1] @ g.T, kept[0] @ g),
    )
    return plain, over_examples
