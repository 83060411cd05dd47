"""Theta files that something has damaged, from seeds; `python tests/theta_mutations.py 3000`."""

import collections
import json
import struct
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

from keras_learned_rule.rule.files import HEADER_KEY, load_theta, save_theta
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta, theta_shapes

SPECS = (
    RuleSpec.published(
        hidden_width=2, top_width=2, delta_channels=1, readout_channels=1, output_width=2
    ),
    RuleSpec.compact(neuron_network=True, hidden_width=2, top_width=2, delta_channels=1),
    RuleSpec.compact(),
)
NESTED = '{"a": ' * 20_000 + "1" + "}" * 20_000
# Json texts that a field may be replaced by.
WRONG = (
    *("null", "true", "-1", "0", "1", "2", "3", "1.5", "NaN", "-Infinity", "1e999", '"a"', "[]"),
    *("{}", "[[]]", '["hebb"]', '[{"a": 1}]', "1000000", "1" + "0" * 30, "1" + "0" * 400, NESTED),
)
# Bytes a number.
WIDTHS = {"F64": 8, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I64": 8, "U8": 1, "BOOL": 1, "C64": 8}
TYPES = (*WIDTHS, "F32", "F99")


def taken_apart(content):
    """(safetensors header, numbers) of a file."""
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def put_together(header, numbers):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def flipped(rng, content):
    content = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        content[rng.integers(len(content))] = rng.integers(256)
    return bytes(content)


def flipped_in_the_header(rng, content):
    size = 8 + struct.unpack("<Q", content[:8])[0]
    return flipped(rng, content[:size]) + content[size:]


def cut_or_longer(rng, content):
    first, last = sorted(rng.integers(len(content) + 1, size=2))
    return (content[:first] + content[last:], content[:last] + content[first:])[rng.integers(2)]


def other_numbers(rng, content):
    header, numbers = taken_apart(content)
    return put_together(header, rng.bytes(len(numbers)))


def other_field(rng, content):
    """One field of the rule's own header, or of its spec, replaced by some json text."""
    header, numbers = taken_apart(content)
    own = json.loads(header["__metadata__"][HEADER_KEY])
    place = own["spec"] if rng.random() < 0.8 else own
    place[str(rng.choice(list(place)))] = "@"
    text = json.dumps(own).replace('"@"', WRONG[rng.integers(len(WRONG))])
    header["__metadata__"][HEADER_KEY] = text
    return put_together(header, numbers)


def other_array(rng, content):
    """One entry of safetensors' header replaced: type, shape, place or name of an array."""
    header, numbers = taken_apart(content)
    name = str(rng.choice([name for name in header if name != "__metadata__"]))
    entry = header[name]
    kind = rng.choice(["dtype", "shape", "data_offsets", "name"])
    if kind == "dtype":
        entry["dtype"] = str(rng.choice(TYPES))
    elif kind == "name":
        header[str(rng.choice([*header, "more"]))] = header.pop(name)
    else:
        sizes = (*entry[kind], -1, 0, 1, 10**6, 10**18, 10**30)
        entry[kind] = [int(sizes[i]) for i in rng.integers(len(sizes), size=rng.integers(4))]
    return put_together(header, numbers)


def array_of_other_type(rng, content):
    """An array that is valid but for its type, or for the size of its numbers."""
    header, numbers = taken_apart(content)
    arrays = [name for name in header if name != "__metadata__"]
    last = max(arrays, key=lambda name: header[name]["data_offsets"])
    first = header[last]["data_offsets"][0]
    count = int(np.prod(header[last]["shape"]))
    name, width = list(WIDTHS.items())[rng.integers(len(WIDTHS))]
    header[last] |= {"dtype": name, "data_offsets": [first, first + count * width]}
    return put_together(header, numbers[:first] + rng.bytes(count * width))


MUTATIONS = (
    flipped,
    flipped_in_the_header,
    cut_or_longer,
    other_numbers,
    other_field,
    other_array,
    array_of_other_type,
)


def originals():
    """The bytes of valid files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rule.safetensors"
        for spec in SPECS:
            save_theta(path, spec, init_theta(spec), {"data": "glyphs", "of": {"steps": [1, 2]}})
            yield path.read_bytes()


def outcome(path):
    """What loading a file comes to: "refused", "loaded", or what is wrong with how it ended."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            spec, theta, provenance = load_theta(path)
    except ValueError as error:
        return "refused" if "Received: " in str(error) else f"unclear: {error}"
    except Exception as error:
        return f"raised {type(error).__name__}: {str(error)[:200]}"
    shapes = {name: array.shape for name, array in theta.items()}
    plain = all(a.dtype == np.float32 and np.isfinite(a).all() for a in theta.values())
    good = plain and shapes == theta_shapes(spec) and isinstance(provenance, dict)
    return "loaded" if good else "loaded what is no theta"


def outcomes(count, folder):
    """Counts the outcomes of a number of mutations; each is a function of its number."""
    files, path = list(originals()), Path(folder) / "mutated.safetensors"
    counts = collections.defaultdict(collections.Counter)
    for seed in range(count):
        rng = np.random.default_rng(seed)
        mutation = MUTATIONS[seed % len(MUTATIONS)]
        path.write_bytes(mutation(rng, files[rng.integers(len(files))]))
        counts[mutation.__name__][outcome(path)] += 1
    return counts


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        for name, counted in outcomes(int(sys.argv[1]), temporary).items():
            print(f"{name}: {dict(counted)}")
