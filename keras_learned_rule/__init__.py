"""Neural networks that learn without labels and without backprop, by a meta-learned local rule."""

from keras_learned_rule import installed  # noqa: F401
from keras_learned_rule.fit.binding import RuleBinding
from keras_learned_rule.fit.callback import LearnedRule
from keras_learned_rule.fit.model import LearnedRuleModel
from keras_learned_rule.fit.probe import FewShotProbe
from keras_learned_rule.fit.readout import few_shot_accuracy
from keras_learned_rule.fit.step import learned_rule_step, stateless_learned_rule_step
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.update_rule import UpdateRule

__version__ = "0.1.0"
__all__ = [
    "FewShotProbe",
    "LearnedRule",
    "LearnedRuleModel",
    "RuleBinding",
    "RuleSpec",
    "UpdateRule",
    "few_shot_accuracy",
    "learned_rule_step",
    "stateless_learned_rule_step",
]
