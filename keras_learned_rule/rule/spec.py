"""What an update rule is, apart from its learned numbers: sizes, terms and switches."""

import dataclasses
from typing import Any

from keras_learned_rule.checks import check, flag
from keras_learned_rule.rule.spec_checks import checked_fields, checked_terms
from keras_learned_rule.rule.term_names import COMPACT_TERMS, PUBLISHED_TERMS, competes


@dataclasses.dataclass(frozen=True)
class RuleSpec:
    """Sizes and switches of an update rule; with theta, all there is to know about it.

    Use `RuleSpec.published()` for the rule of the paper and `RuleSpec.compact()` for the one this
    package meta-trains; both accept any field as an override. Layers are at most 64, other sizes at
    most 4,096.

    Args:
        merge: "published" or "compact": how the terms become a weight change and a step
            (see `rule/merge.py`).
        terms: Names of the weight-change terms, in the order of the merge coefficients;
            "competition", "competition_spread" and "learned_hebb" with the compact merge only.
        neuron_network: Whether hidden states `h`, deltas and backward weights exist. Without them
            the terms that read hidden states are not available, and nothing is computed for them.
        hidden_width: Channels of `h`, and of the functions of the learned Hebbian term.
        hidden_layers: Convolution blocks of the neuron network after the first.
        top_width: Channels inside the network that makes the top delta.
        top_layers: Its last blocks.
        delta_channels: Channels of the deltas that travel down.
        readout_channels: Channels of each low-rank readout, and of the functions of that term.
        batch_kernel: Kernel width along the examples. 1 makes the rule blind to their order.
        unit_kernel: Kernel width along the units. 1 makes the rule blind to their order.
        top_kernel: Kernel width of the first convolution of the top network.
        pooled: Whether each convolution also sees the mean of its input along its axis: what the
            rule knows of the other examples and units when kernels have width 1, as they then
            must.
        unit_position: Whether the neuron network sees each unit's place in its layer.
        output_width: The only embedding width that theta fits, or None for any width.
        identical_updates: Whether backward weights take the change of the forward weights. If not,
            they get a change of their own from their own readouts (published merge only).
        groups: 1, or 3 for own merge parameters, and functions of the learned Hebbian term, of the
            first, the middle and the last layers (compact merge only).
        shaped_bias: Whether the bias target depends on the shape of the nonlinearity, with one
            target for those like relu and one for those like tanh (compact merge only).
        running_competition: Whether competition is averaged over the latest steps, so that small
            batches do not drown it in noise; takes a matrix of memory for each layer (compact
            merge with a competition term only).
        size_aware: Whether all merge parameters depend on how much the network is short of hidden
            layers (below 4) and of units in them (below 128), by arrays of their own that make no
            difference at and above these numbers (compact merge only).
        sparsity_aware: Whether all merge parameters depend on how sparse the data are, by arrays of
            their own that make no difference where they are dense (compact merge only).
        sparse_by_size: Whether sparse data make another difference to small networks than to large
            ones, by further arrays (rules that are `size_aware` and `sparsity_aware` only).
        very_sparse: Whether data sparser than most images, such as bags of words, take arrays of
            their own instead of those for sparse data (rules that are `sparsity_aware` only).
        teacher: Whether networks with a hidden layer of at most 64 units or with a nonlinearity
            unlike relu, with an embedding of less than 32, or without hidden layers learn from a
            teacher (`rule/teacher.py`), a base model that learns beside them (compact merge without
            a neuron network only).
        learning_rate: Inner learning rate. The compact merge multiplies it with a learned step.
        reference_steps: Number of inner steps up to which `learning_rate` holds; longer inner
            loops take smaller steps (compact merge only).
        length_exponent: How much smaller: (reference_steps / N) ** length_exponent.

    Raises:
        ValueError: A field has a value outside what is said above.

    Example:
    ```python
    from keras_learned_rule import RuleSpec

    spec = RuleSpec(hidden_width=12, delta_channels=5)
    assert spec == RuleSpec.published(hidden_width=12, delta_channels=5)
    ```

    Reference: Metz et al., ICLR 2019, section 4 and appendix A.
    """

    merge: str = "published"
    terms: tuple = PUBLISHED_TERMS
    neuron_network: bool = True
    hidden_width: int = 64
    hidden_layers: int = 1
    top_width: int = 64
    top_layers: int = 2
    delta_channels: int = 32
    readout_channels: int = 4
    batch_kernel: int = 3
    unit_kernel: int = 3
    top_kernel: int = 5
    pooled: bool = False
    unit_position: bool = True
    output_width: int | None = 32
    identical_updates: bool = True
    groups: int = 1
    shaped_bias: bool = False
    running_competition: bool = False
    size_aware: bool = False
    sparsity_aware: bool = False
    sparse_by_size: bool = False
    very_sparse: bool = False
    teacher: bool = False
    learning_rate: float = 1e-4
    reference_steps: int = 300
    length_exponent: float = 0.5

    def __post_init__(self):
        for name, value in checked_fields(vars(self)).items():
            object.__setattr__(self, name, value)

    @classmethod
    def published(cls, **overrides: Any) -> "RuleSpec":
        """The rule of the paper: 114,670 parameters at the default sizes.

        Args:
            **overrides: Any field of `RuleSpec`.

        Returns:
            A `RuleSpec`.

        Raises:
            ValueError: A field has a value that `RuleSpec` does not allow.

        Example:
        ```python
        from keras_learned_rule import RuleSpec

        spec = RuleSpec.published(hidden_width=12, output_width=64)
        assert spec.merge == "published" and len(spec.terms) == 12
        ```

        Reference: Metz et al., ICLR 2019, section 4 and appendix A.
        """
        return cls(**overrides)

    @classmethod
    def compact(cls, neuron_network: bool = False, **overrides: Any) -> "RuleSpec":
        """The rule of this package.

        It fits networks of any width, does not depend on the order of examples and units, and
        every step has a bounded size.

        Args:
            neuron_network: Whether to add hidden states, deltas, the terms that read them and the
                paper's other terms to those of its own. Defaults to `False`.
            **overrides: Any field of `RuleSpec`.

        Returns:
            A `RuleSpec`.

        Raises:
            ValueError: A field has a value that `RuleSpec` does not allow.

        Example:
        ```python
        from keras_learned_rule import RuleSpec

        spec = RuleSpec.compact(terms=("competition", "decorrelation"))
        assert not spec.neuron_network and spec.output_width is None
        ```
        """
        check("RuleSpec.neuron_network", neuron_network, flag())
        own = sorted(neuron_network * PUBLISHED_TERMS + COMPACT_TERMS)
        terms = checked_terms(overrides.get("terms", own), neuron_network)
        fields = dict(
            merge="compact",
            terms=terms,
            neuron_network=neuron_network,
            hidden_width=16,
            hidden_layers=0,
            top_width=16,
            top_layers=1,
            delta_channels=8,
            readout_channels=4,
            batch_kernel=1,
            unit_kernel=1,
            top_kernel=1,
            pooled=True,
            unit_position=False,
            output_width=None,
            groups=3,
            shaped_bias=True,
            running_competition=competes(terms),
            size_aware=True,
            learning_rate=1.0,
        )
        return cls(**{**fields, **overrides})

    def to_dict(self) -> dict[str, Any]:
        """The fields in a form that json can hold.

        Returns:
            A dict from field name to number, bool, string, list of strings or None.

        Example:
        ```python
        import json
        from keras_learned_rule import RuleSpec

        spec = RuleSpec.compact()
        assert RuleSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
        ```
        """
        return {**dataclasses.asdict(self), "terms": list(self.terms)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "RuleSpec":
        """Makes the spec that `to_dict` described.

        Args:
            fields: A dict from field name to value. Fields left out take their defaults.

        Returns:
            A `RuleSpec`.

        Raises:
            ValueError: `fields` is not a dict, has a name that is not a field of this version of
                `RuleSpec`, or a value that it does not allow.

        Example:
        ```python
        from keras_learned_rule import RuleSpec

        assert RuleSpec.from_dict({"hidden_width": 12}) == RuleSpec.published(hidden_width=12)
        ```
        """
        if not isinstance(fields, dict):
            raise ValueError(f"A rule spec must be a dict of its fields. Received: {fields!r}")
        known = [f.name for f in dataclasses.fields(cls)]
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise ValueError(f"A rule spec has the fields {known}. Received: unknown {unknown}")
        return cls(**fields)
