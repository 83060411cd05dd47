"""`UpdateRule`: a spec and a theta that fit together, from a preset, a file or the authors."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_learned_rule.hints import PathLike
from keras_learned_rule.rule.files import check_provenance, load_theta, save_theta
from keras_learned_rule.rule.published import read_published
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import check_theta


class UpdateRule:
    """A learned update rule: what computes weight changes without labels or backpropagation.

    Args:
        spec: A `RuleSpec`, the sizes and switches of the rule.
        theta: A dict from name to array, the learned numbers; `theta_shapes(spec)` lists names
            and shapes, `init_theta(spec)` gives starting values. Copied as float32.
        provenance: A json-able dict that says where theta came from. Defaults to an empty one.

    Attributes:
        spec: The `RuleSpec`.
        theta: A dict from name to float32 NumPy array.
        provenance: A dict.

    Raises:
        ValueError: Arrays are missing, unknown, of another shape, or not finite, spec is no
            `RuleSpec`, or provenance no json-able dict.

    Example:
    ```python
    from keras_learned_rule import UpdateRule

    rule = UpdateRule.from_preset("compact")
    rule.save("copy.safetensors")
    assert UpdateRule.load("copy.safetensors").spec == rule.spec
    ```
    """

    def __init__(
        self,
        spec: RuleSpec,
        theta: Mapping[str, ArrayLike],
        provenance: dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(spec, RuleSpec):
            raise ValueError(f"spec must be a RuleSpec. Received: {spec!r}")
        check_provenance(provenance)
        check_theta(spec, theta)
        self.spec = spec
        self.theta = {name: np.array(value, "float32") for name, value in theta.items()}
        self.provenance = dict(provenance or {})

    def __repr__(self):
        parameters = sum(value.size for value in self.theta.values())
        return f"<UpdateRule merge={self.spec.merge!r}, {parameters:,} parameters>"

    @classmethod
    def from_preset(cls, name: str = "compact") -> "UpdateRule":
        """Loads a rule that comes with the package.

        Args:
            name: One of `UpdateRule.presets()`. Defaults to `"compact"`, which is the newest: with
                a later version of the package it may be another rule, and this one have a number.
                What must not change is kept by `save`.

        Returns:
            An `UpdateRule`.

        Raises:
            ValueError: There is no such preset.

        Example:
        ```python
        from keras_learned_rule import UpdateRule

        rule = UpdateRule.from_preset("compact")
        assert rule.spec.merge == "compact"
        ```
        """
        if name not in cls.presets():
            raise ValueError(
                f"A preset must be one of {cls.presets()}; for a file of your own use "
                f"UpdateRule.load(path). Received: {name!r}"
            )
        with resources.as_file(_preset_folder() / f"{name}.safetensors") as path:
            return cls.load(path)

    @staticmethod
    def presets() -> list[str]:
        """The names of the rules that come with the package.

        Returns:
            A sorted list of names for `from_preset`.

        Example:
        ```python
        from keras_learned_rule import UpdateRule

        assert "compact" in UpdateRule.presets()
        ```
        """
        suffix = ".safetensors"
        names = [entry.name for entry in _preset_folder().iterdir()]
        return sorted(name.removesuffix(suffix) for name in names if name.endswith(suffix))

    @classmethod
    def load(cls, path: PathLike) -> "UpdateRule":
        """Reads a theta file, as `save` and the meta-trainer write it.

        Args:
            path: Path of the `.safetensors` file.

        Returns:
            An `UpdateRule`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is not a theta file, is truncated or damaged, was written by a newer
                version of the package, or holds arrays that do not fit its spec or are not finite.

        Example:
        ```python
        from keras_learned_rule import UpdateRule

        UpdateRule.from_preset("compact").save("rule.safetensors")
        rule = UpdateRule.load("rule.safetensors")
        ```
        """
        return cls(*load_theta(path))

    def save(self, path: PathLike) -> None:
        """Writes spec, theta and provenance to one safetensors file.

        Args:
            path: Where to write, by convention with the suffix `.safetensors`; missing folders
                are made.

        Raises:
            OSError: The file cannot be written; an older one of that name stays as it was.

        Example:
        ```python
        from keras_learned_rule import UpdateRule

        UpdateRule.from_preset("compact").save("copy.safetensors")
        ```
        """
        save_theta(path, self.spec, self.theta, self.provenance)

    @classmethod
    def from_published(cls, checkpoint_prefix: PathLike) -> "UpdateRule":
        """Reads the weights that the authors of the paper published, a TensorFlow 1 checkpoint.

        Needs TensorFlow 2 installed, whatever the Keras backend.

        Args:
            checkpoint_prefix: Path of the checkpoint without `.index` or `.data-00000-of-00001`,
                such as "200_tf_graph/tf_graph_data.ckpt".

        Returns:
            An `UpdateRule` with `RuleSpec.published` of the sizes found in the checkpoint.

        Raises:
            FileNotFoundError: There is no such checkpoint.
            ValueError: It is damaged, or arrays are missing from it or have the wrong shape.

        Example:
        ```python
        from keras_learned_rule import UpdateRule

        # The authors' archive, unpacked.
        rule = UpdateRule.from_published("200_tf_graph/tf_graph_data.ckpt")
        assert rule.spec.merge == "published"
        ```
        """
        spec, theta = read_published(checkpoint_prefix)
        return cls(spec, theta, {"published_checkpoint": str(checkpoint_prefix)})


def _preset_folder():
    return resources.files("keras_learned_rule") / "presets"
