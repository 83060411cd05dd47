"""The table of what the rule trains."""

import model_cases as cases
import pytest

from keras_learned_rule import LearnedRule


def printed(model, **options):
    lines = []
    LearnedRule("compact", examples=options.pop("examples", "auto")).summary(
        model, print_fn=lines.append, **options
    )
    return "\n".join(lines)


def row(text, name):
    rows = [[c.strip() for c in line.split("│")[1:-1]] for line in text.splitlines()]
    (found,) = [cells for cells in rows if cells and cells[0].split("/")[-1] == name]
    return found[1:]


def test_what_learns_and_what_does_not():
    text = printed(cases.residual_cnn(), batch_size=16)
    assert row(text, "stem") == ["yes", "27 x 6", "Batch", "relu", "1,024"]
    assert row(text, "classes") == ["no: a head", "", "", "", ""]
    grouped = printed(cases.grouped_cnn(), batch_size=16)
    assert row(grouped, "grouped") == ["yes", "2 x 6 x 3", "Group", "prelu", "112"]
    assert row(grouped, "embedding") == ["yes", "25 x 4", "", "", "16"]
    assert row(printed(cases.siamese()), "hidden") == ["yes", "6 x 5", "", "relu", "256"]


def test_examples_and_memory_follow_batch_size_and_limit():
    model = cases.residual_cnn()
    assert row(printed(model, batch_size=256), "stem")[-1] == "4,096"
    assert row(printed(model, batch_size=256, examples=None), "stem")[-1] == "16,384"
    few, many = printed(model, examples=100), printed(model, examples=None)
    memory = [float(text.split("keeps ")[1].split(" MiB")[0]) for text in (few, many)]
    assert memory[0] < memory[1]


def test_a_batch_size_that_is_none():
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        printed(cases.siamese(), batch_size=0)
