"""What the command line decides for every experiment: the rule and where data are."""

import hashlib
import json
from typing import NamedTuple

from keras_learned_rule.rule.update_rule import UpdateRule


class Setting(NamedTuple):
    """Choices of the command line.

    Attributes:
        rule: the `UpdateRule` that is judged.
        rule_name: its preset or file name.
        data_dir: folder of TFDS data sets, or None: see `image_arrays`.
    """

    rule: UpdateRule
    rule_name: str
    data_dir: str | None = None

    def rule_settings(self):
        """What identifies the rule among a group's settings.

        Returns:
            A dict: the rule's name and a fingerprint of its spec and theta.
        """
        return {"rule": self.rule_name, "theta": fingerprint(self.rule)}


def fingerprint(rule):
    """A short digest of a rule, equal for equal spec and theta.

    Args:
        rule: `UpdateRule`.

    Returns:
        Twelve hexadecimal digits.

    Example:
    ```python
    from keras_learned_rule import UpdateRule
    from keras_learned_rule.experiments.setting import fingerprint

    assert len(fingerprint(UpdateRule.from_preset("compact"))) == 12
    ```
    """
    digest = hashlib.sha256(json.dumps(rule.spec.to_dict(), sort_keys=True).encode())
    for name in sorted(rule.theta):
        digest.update(name.encode() + rule.theta[name].astype("float32").tobytes())
    return digest.hexdigest()[:12]
