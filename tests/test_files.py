"""Theta files: what is written is read back, and everything else is refused with a reason."""

import json
import tracemalloc

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import theta_mutations

from keras_learned_rule.rule.files import HEADER_KEY, load_theta, save_theta, write_atomically
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta

SPEC = RuleSpec.published(
    hidden_width=3, top_width=2, delta_channels=2, readout_channels=2, output_width=4
)
PROVENANCE = {"data": "glyphs", "meta_steps": 7, "scores": [0.5, 0.25]}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rule.safetensors"
    save_theta(path, SPEC, init_theta(SPEC, seed=3), PROVENANCE)
    return path


def rewrite(path, arrays=None, header=None):
    """Changes arrays (None removes one) and header fields of a theta file, behind its back."""
    with safetensors.safe_open(path, framework="np") as file:
        old_header = json.loads(file.metadata()[HEADER_KEY])
        old_arrays = {name: file.get_tensor(name) for name in file.keys()}
    kept = {n: a for n, a in {**old_arrays, **(arrays or {})}.items() if a is not None}
    metadata = {HEADER_KEY: json.dumps({**old_header, **(header or {})})}
    safetensors.numpy.save_file(kept, path, metadata)


@pytest.mark.parametrize(
    "spec", [SPEC, RuleSpec.published(identical_updates=False), RuleSpec.compact()]
)
def test_round_trip(spec, tmp_path):
    theta = init_theta(spec, seed=3)
    save_theta(tmp_path / "new" / "rule.safetensors", spec, theta, PROVENANCE)
    loaded_spec, loaded, provenance = load_theta(tmp_path / "new" / "rule.safetensors")
    assert loaded_spec == spec and provenance == PROVENANCE
    assert list(loaded) == list(theta)
    for name, value in theta.items():
        assert loaded[name].dtype == np.float32
        np.testing.assert_array_equal(loaded[name], value)


def test_memory_order_and_precision_do_not_matter(tmp_path):
    theta = init_theta(SPEC)
    unusual = {name: np.array(value, "float64", order="F") for name, value in theta.items()}
    save_theta(tmp_path / "rule.safetensors", SPEC, unusual)
    loaded = load_theta(tmp_path / "rule.safetensors")[1]
    for name, value in theta.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_equal_content_gives_equal_bytes(path, tmp_path):
    spec, theta, _ = load_theta(path)
    backwards = dict(reversed(theta.items())), dict(reversed(PROVENANCE.items()))
    for i in range(8):
        save_theta(tmp_path / f"{i}.safetensors", spec, *backwards)
        assert (tmp_path / f"{i}.safetensors").read_bytes() == path.read_bytes()


def test_a_file_of_format_1_is_read_forever(data):
    spec, theta, provenance = load_theta(data / "theta_v1.safetensors")
    assert spec == RuleSpec(
        merge="published",
        terms=("hebb", "rbf"),
        hidden_width=2,
        hidden_layers=0,
        top_width=1,
        top_layers=0,
        delta_channels=1,
        readout_channels=1,
        batch_kernel=1,
        unit_kernel=3,
        top_kernel=1,
        unit_position=False,
        output_width=2,
        identical_updates=False,
        learning_rate=0.5,
    )
    assert provenance == {"note": "every array counts up from its number in the list, in eighths"}
    for i, value in enumerate(theta.values()):
        np.testing.assert_array_equal(value.ravel(), i + np.arange(value.size) / 8)


def test_a_theta_that_does_not_fit_is_not_written_and_the_old_file_stays(path):
    before = path.read_bytes()
    theta = init_theta(SPEC)
    theta["next_delta/bias"][0] = np.nan
    with pytest.raises(ValueError, match="next_delta/bias.*finite"):
        save_theta(path, SPEC, theta)
    assert path.read_bytes() == before


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(path, monkeypatch):
    before = path.read_bytes()

    def full_disk(_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"half")
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_something_else_than_a_path():
    with pytest.raises(ValueError, match="path must be that of a theta file. Received: 3"):
        load_theta(3)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="must exist. Received: path='.*none.safetensors'"):
        load_theta(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_truncated_file(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="truncated.*Received: path='.*rule.safetensors'"):
        load_theta(path)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "notes.txt").write_text("not a theta file, " * 100)
    with pytest.raises(ValueError, match="complete safetensors file.*Received: path='.*notes.txt'"):
        load_theta(tmp_path / "notes.txt")


def test_safetensors_of_something_else(tmp_path):
    safetensors.numpy.save_file({"w": np.ones(3)}, tmp_path / "m.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"UpdateRule.save.*Received: .*the metadata \['format'\]"):
        load_theta(tmp_path / "m.safetensors")


def test_newer_format(path):
    rewrite(path, header={"format_version": 2})
    with pytest.raises(ValueError, match="upgrade keras_learned_rule.*Received: .*of format 2"):
        load_theta(path)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "{not json",
        "[1, 2]",
        "7",
        '{"spec": {}}',
        '{"format_version": "1", "spec": {}}',
        '{"format_version": true, "spec": {}}',
        '{"format_version": null, "spec": {}}',
        '{"format_version": 1}',
        '{"format_version": 1, "spec": ["hebb"]}',
        '{"format_version": 1, "spec": {}, "provenance": [1, 2]}',
        pytest.param('{"a": ' * 20_000 + "1" + "}" * 20_000, id="nested"),
    ],
)
def test_damaged_header(path, header):
    safetensors.numpy.save_file(init_theta(SPEC), path, {HEADER_KEY: header})
    with pytest.raises(ValueError, match="must be a json object.*rule.safetensors") as caught:
        load_theta(path)
    assert str(caught.value).endswith(f"with the header {header[:200]!r}")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"hidden_width": "3"}, "RuleSpec.hidden_width must be an integer"),
        ({"terms": 5}, "RuleSpec.terms must be a list"),
        ({"terms": [["hebb"]]}, "RuleSpec.terms must be distinct names"),
        ({"merge": ["published"]}, "RuleSpec.merge must be"),
    ],
)
def test_damaged_spec(path, fields, message):
    rewrite(path, header={"spec": {**SPEC.to_dict(), **fields}})
    with pytest.raises(ValueError, match=f"rule.safetensors' is not valid. {message}"):
        load_theta(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"top_layers": 10**6},
        {"hidden_layers": 10**6},
        {"hidden_width": 10**9},
        {"output_width": 10**400},
        # Allowed, but not what the file holds.
        {"top_layers": 64, "hidden_layers": 64, "hidden_width": 4096, "output_width": 4096},
    ],
)
def test_sizes_that_are_not_those_of_the_file_are_refused_before_they_take_memory(path, fields):
    rewrite(path, header={"spec": {**SPEC.to_dict(), **fields}})
    tracemalloc.start()
    with pytest.raises(ValueError, match="is not valid. .*Received: "):
        load_theta(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**20


def test_files_that_something_has_damaged_are_refused_or_hold_a_theta(tmp_path):
    counts = theta_mutations.outcomes(280, tmp_path)
    found = {outcome for counted in counts.values() for outcome in counted}
    assert len(counts) == 7 and found == {"refused", "loaded"}


@pytest.mark.parametrize("number", [1e39, -1e39, 1e300])
def test_numbers_beyond_float32_are_refused(path, number):
    rewrite(path, {"next_delta/bias": np.array([0.0, number])})
    with pytest.raises(ValueError, match="next_delta/bias' must be finite in float32"):
        load_theta(path)


def test_a_header_without_provenance_has_an_empty_one(path):
    header = {"format_version": 1, "spec": SPEC.to_dict()}
    safetensors.numpy.save_file(init_theta(SPEC), path, {HEADER_KEY: json.dumps(header)})
    assert load_theta(path)[2] == {}


@pytest.mark.parametrize("provenance", [[1, 2], "glyphs", {"data": {1, 2}}])
def test_provenance_that_is_no_json_object_is_not_written(path, provenance):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="provenance must be .*a dict.*Received: "):
        save_theta(path, SPEC, init_theta(SPEC), provenance)
    assert path.read_bytes() == before


def test_a_dtype_of_other_numbers(path):
    rewrite(path, {name: array.astype("float16") for name, array in init_theta(SPEC).items()})
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].replace(b'"F16"', b'"BF16"')
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    with pytest.raises(ValueError, match="rule.safetensors.* must hold real numbers"):
        load_theta(path)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"next_delta/bias": None}, r"missing \['next_delta/bias'\], unknown \[\]"),
        ({"extra/bias": np.zeros(2)}, r"missing \[\], unknown \['extra/bias'\]"),
        ({"next_delta/bias": np.zeros(3)}, r"next_delta/bias.*\(2,\). Received: shape \(3,\)"),
        ({"next_delta/bias": np.array([0, np.inf])}, "next_delta/bias.*must be finite"),
    ],
    ids=["missing", "unknown", "shape", "infinite"],
)
def test_arrays_that_do_not_fit_the_spec(path, arrays, message):
    rewrite(path, arrays=arrays)
    with pytest.raises(ValueError, match=f"rule.safetensors' is not valid. .*{message}"):
        load_theta(path)


def test_a_spec_with_unknown_fields(path):
    rewrite(path, header={"spec": {**SPEC.to_dict(), "attention_heads": 8}})
    with pytest.raises(ValueError, match=r"is not valid. .*unknown \['attention_heads'\]"):
        load_theta(path)
