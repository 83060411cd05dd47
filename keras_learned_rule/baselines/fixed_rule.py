"""The best fixed local rule: competition and decorrelation with constant coefficients."""

import numpy as np

from keras_learned_rule.checks import check, number
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import MAX_STEP, init_theta
from keras_learned_rule.rule.update_rule import UpdateRule


def fixed_rule(
    decorrelation: float = 0.1, temperature: float = 0.25, step: float = 0.05
) -> UpdateRule:
    """Makes the update rule that a meta-learned theta must beat.

    Each layer moves by a softmax competition between its units, less `decorrelation` times the
    correlation of their pre-activations; nothing is learned. The defaults are the best of a grid
    on computer-font glyphs that no meta-training and no evaluation here uses
    (`benchmarks/fixed_rule_grid.py`).

    Args:
        decorrelation: float, of decorrelation beside a competition of 0.3. Defaults to `0.1`.
        temperature: float above 0, of the softmax. Defaults to `0.25`.
        step: float between 0 and 0.3, root mean square of the first step, beside weights of root
            mean square 1. Defaults to `0.05`.

    Returns:
        An `UpdateRule`, for `LearnedRule(rule=...)`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_learned_rule import LearnedRule
    from keras_learned_rule.baselines.fixed_rule import fixed_rule

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu")])
    model.compile()
    model.fit(np.random.rand(256, 64), batch_size=128, callbacks=[LearnedRule(fixed_rule())])
    ```
    """
    check("decorrelation", decorrelation, number())
    check("temperature", temperature, number(above=0))
    check("step", step, number(above=0, below=MAX_STEP))
    spec = RuleSpec.compact(
        terms=("competition", "decorrelation"),
        groups=1,
        shaped_bias=False,
        running_competition=False,
    )
    theta = init_theta(spec)
    theta["merge/coefficients"] = np.array([[0.3, decorrelation]], "float32")
    theta["merge/bias_target"] = np.array([0.0], "float32")
    theta["merge/log_temperature"] = np.array([np.log(temperature)], "float32")
    theta["merge/step"] = np.array([np.log(step / (MAX_STEP - step))], "float32")
    return UpdateRule(spec, theta)
