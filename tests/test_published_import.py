"""The importer of the authors' TensorFlow 1 checkpoint, for any sizes of the published rule."""

import numpy as np
import pytest
from published_cases import PROCESS, published_variables, save_checkpoint

from keras_learned_rule.rule.published import convert_published, published_names, read_published
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.update_rule import UpdateRule

SPEC = RuleSpec.published(
    hidden_width=12,
    hidden_layers=2,
    top_width=9,
    top_layers=3,
    delta_channels=5,
    readout_channels=3,
    output_width=6,
    identical_updates=False,
)


@pytest.mark.parametrize("identical_updates", [True, False])
@pytest.mark.parametrize("sizes", [{}, {"hidden_layers": 0, "top_layers": 1, "output_width": 40}])
def test_any_sizes_are_inferred_and_every_array_lands_in_its_place(
    tmp_path, sizes, identical_updates
):
    fields = {**SPEC.to_dict(), **sizes, "identical_updates": identical_updates}
    spec = RuleSpec.from_dict(fields)
    arrays = published_variables(spec)
    rule = UpdateRule.from_published(save_checkpoint(tmp_path / "theirs.ckpt", arrays))
    assert rule.spec == spec
    names = published_names(spec)
    trainable = {n for n in arrays if n.startswith(PROCESS) and "moving_" not in n}
    assert set(names.values()) == trainable and len(names) == len(trainable)
    for name, value in rule.theta.items():
        np.testing.assert_array_equal(value, np.squeeze(arrays[names[name]]).reshape(value.shape))


def test_names_of_single_arrays():
    names = published_names(SPEC)
    assert names["top_delta/conv_6/kernel"] == f"{PROCESS}/compute_top_delta/conv_1d_6/w"
    assert names["top_delta/conv_0/offset"] == f"{PROCESS}/compute_top_delta/batch_norm/beta"
    assert names["neuron/features/offset"] == f"{PROCESS}/batch_norm/beta"
    assert names["neuron/conv_2/offset"] == f"{PROCESS}/batch_norm_3/beta"
    assert names["neuron/units_1/conv_1/bias"] == f"{PROCESS}/ConcatUnitConv_1/conv_1d_1/b"
    assert names["readout/backward/1_order/bottom/kernel"] == (
        f"{PROCESS}/backwardweight_readout_1_bottom/linear/w"
    )
    assert names["merge/forward/coefficients"] == f"{PROCESS}/forward_weight_readout_coeffs/w"


@pytest.mark.parametrize(
    "missing",
    [
        ["compute_top_delta/conv_1d_6/w"],
        ["conv_1d_1/b", "batch_norm_3/beta"],
        ["ConcatUnitConv_2/conv_1d/w"],
        ["backwardlin_upper_symm_top/linear/w"],
        ["linear/w", "ConcatUnitConv/conv_1d/w"],
    ],
)
def test_missing_arrays_are_listed(tmp_path, missing):
    arrays = published_variables(SPEC)
    for name in missing:
        del arrays[f"{PROCESS}/{name}"]
    prefix = save_checkpoint(tmp_path / "theirs.ckpt", arrays)
    with pytest.raises(ValueError, match="Cannot import .*theirs.ckpt.* must have the arrays") as e:
        read_published(prefix)
    for name in missing:
        assert f"'{PROCESS}/{name}'" in str(e.value)


@pytest.mark.parametrize(
    "name, shape, message",
    [
        ("conv_1d_1/w", (3, 12, 11), r"must have shape \(3, 12, 12\). Received: shape \(3, 12, 11"),
        ("bias_readout/b", (2,), r"must have shape \(1,\). Received: shape \(2,\)"),
        ("batch_norm/beta", (1, 1, 8), r"must have shape \(1, 1, 9\). Received: shape \(1, 1, 8\)"),
        ("linear/w", (12, 5, 1), r"must have 2 axes. Received: shape \(12, 5, 1\)"),
    ],
)
def test_wrong_shapes_are_named(name, shape, message):
    arrays = published_variables(SPEC)
    arrays[f"{PROCESS}/{name}"] = np.zeros(shape, "float32")
    with pytest.raises(ValueError, match=f"{PROCESS}/{name} {message}"):
        convert_published(arrays)


def test_not_a_checkpoint(tmp_path):
    prefix = save_checkpoint(tmp_path / "a.ckpt", published_variables(SPEC))
    with pytest.raises(FileNotFoundError, match=r"folder, in which there are \['.*a.ckpt'\]"):
        read_published(tmp_path)
    with pytest.raises(FileNotFoundError, match="without .index .*Received: checkpoint_prefix="):
        read_published(f"{prefix}.index")
    with pytest.raises(FileNotFoundError, match="must name a TensorFlow checkpoint"):
        read_published(tmp_path / "b.ckpt")


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("keep", [0, 1000])
def test_damaged_checkpoint(tmp_path, suffix, keep):
    prefix = save_checkpoint(tmp_path / "a.ckpt", published_variables(SPEC))
    file = tmp_path / f"a.ckpt{suffix}"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match="a.ckpt.* damaged or incomplete. Received: "):
        read_published(prefix)


def test_checkpoint_without_its_data_file(tmp_path):
    prefix = save_checkpoint(tmp_path / "a.ckpt", published_variables(SPEC))
    (tmp_path / "a.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(ValueError, match="a.ckpt.* damaged or incomplete. Received: "):
        read_published(prefix)


def test_checkpoint_of_something_else(tmp_path):
    prefix = save_checkpoint(tmp_path / "b.ckpt", {"dense/kernel": np.ones(3, "float32")})
    with pytest.raises(ValueError, match="must have the arrays .* Received: 0 arrays"):
        read_published(prefix)


def test_the_recorded_checkpoint(reference):
    prefix = reference / "checkpoint_format" / "tf_graph_data.ckpt"
    rule = UpdateRule.from_published(prefix)
    assert rule.spec == RuleSpec.published()
    assert sum(value.size for value in rule.theta.values()) == 114_670
    recorded = np.load(reference / "golden" / "c_seed0_small.npz")["theta_names_in_order"]
    trainable = {name for name in recorded if "moving_" not in name}
    assert set(published_names(rule.spec).values()) == trainable
