"""The picture of a run shows what its log says, however little that is."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_learned_rule import plot_run as module
from keras_learned_rule.plot_run import main, plot_run

LOSS, ACCURACY, HELD_OUT, POSITIONS, GRADIENTS, COEFFICIENTS, SHARES = range(7)


def training(update, **more):
    accuracy = update / 1000
    return {
        "update": update,
        "seconds": 0.5 * update,
        "meta_loss": 1 - accuracy,
        "accuracy": accuracy,
        "gradient_norm": 0.8,
        "clipped": 0.25,
        "skipped": 0.0,
        "by_data": {"glyphs": {"meta_loss": 0.5, "accuracy": accuracy / 2}},
        "by_position": {"0": {"accuracy": 0.2}, "100": {"accuracy": 0.6}},
        "merge": {"coefficients/first/hebb": accuracy, "step/last": 0.05},
        **more,
    }


def evaluation(update):
    scores = {"accuracy": 0.6, "standard_error": 0.02, "random": 0.4, "random_standard_error": 0.01}
    held_out = {"mnist": scores, "glyphs": {**scores, "accuracy": 0.7}}
    return {"update": update, "held_out_accuracy": 0.65, "evaluation": held_out}


def write(folder, *records, tail=""):
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "metrics.jsonl").write_text(lines + tail)
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """Draws a run; returns the axes of the picture that would be saved."""

    def draw(folder):
        figures = []
        with monkeypatch.context() as patch:
            patch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
            plot_run(folder)
        return figures[0].axes

    return draw


def lines(axes):
    """Label to (updates, values) of the named lines of a panel."""
    named = (line for line in axes.lines if not line.get_label().startswith("_"))
    return {line.get_label(): line.get_xydata().T.tolist() for line in named}


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


def test_every_panel_shows_what_the_log_says(tmp_path, drawn):
    axes = drawn(write(tmp_path, evaluation(0), training(10), training(20), evaluation(20)))
    assert lines(axes[LOSS]) == {
        "glyphs": [[10, 20], [0.5, 0.5]],
        "all": [[10, 20], [0.99, 0.98]],
    }
    assert lines(axes[ACCURACY])["glyphs"] == [[10, 20], [0.005, 0.01]]
    held_out = lines(axes[HELD_OUT])
    assert held_out["mnist"] == [[0, 20], [0.6, 0.6]] and held_out["glyphs"][1] == [0.7, 0.7]
    assert held_out["all"][1] == [0.65, 0.65]
    assert lines(axes[POSITIONS]) == {
        "from step 0": [[10, 20], [0.2, 0.2]],
        "from step 100": [[10, 20], [0.6, 0.6]],
    }
    assert lines(axes[GRADIENTS])["norm"] == [[10, 20], [0.8, 0.8]]
    assert [line.get_ydata().tolist() for line in axes[SHARES].lines] == [[25, 25], [0, 0]]
    assert lines(axes[COEFFICIENTS]) == {
        "first/hebb": [[10, 20], [0.01, 0.02]],
        "step/last": [[10, 20], [0.05, 0.05]],
    }
    assert "20 meta-updates" in axes[0].figure.get_suptitle()


def test_random_initialisation_is_dashed_with_bands_of_standard_errors(tmp_path, drawn):
    axes = drawn(write(tmp_path, evaluation(0), evaluation(10)))[HELD_OUT]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata().tolist() for line in dashed] == [[0.4, 0.4]] * 2
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    assert [line.get_color() for line in dashed] == [colours["mnist"], colours["glyphs"]]
    heights = [np.ptp(band.get_paths()[0].vertices[:, 1]) for band in axes.collections]
    np.testing.assert_allclose(heights, [0.04, 0.02, 0.04, 0.02])


def test_noise_is_smoothed_and_rare_events_are_not_lost(tmp_path, drawn):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=500)
    records = [
        training(i, meta_loss=1.0 + noise[i], skipped=float(i == 250), clipped=0.0)
        for i in range(500)
    ]
    axes = drawn(write(tmp_path, *records))
    smoothed = np.array(lines(axes[LOSS])["all"][1])
    assert len(smoothed) == 500 and np.std(smoothed) < 0.5 * np.std(noise)
    assert max(axes[SHARES].lines[1].get_ydata()) > 1


def test_a_run_without_evaluation_or_with_hardly_a_key_is_drawn(tmp_path, drawn):
    assert is_png(plot_run(write(tmp_path, training(10))))
    assert drawn(tmp_path)[HELD_OUT].texts[0].get_text() == "nothing logged yet"
    bare = {"update": 10, "meta_loss": float("nan"), "by_data": None, "evaluation": {"mnist": {}}}
    assert is_png(plot_run(write(tmp_path, bare)))


def test_keys_that_some_records_lack_leave_gaps(tmp_path, drawn):
    lacking = training(20, by_data={"cifar10": {"accuracy": 0.1}}, meta_loss=float("nan"))
    axes = drawn(write(tmp_path, training(10), lacking, training(30)))
    assert lines(axes[LOSS])["all"][0] == [10, 30]
    assert lines(axes[ACCURACY])["glyphs"][0] == [10, 30]
    assert lines(axes[ACCURACY])["cifar10"] == [[20], [0.1]]


def test_lines_that_cannot_be_read_are_left_out_with_a_warning(tmp_path, drawn):
    write(tmp_path, training(10), training(20))
    log = tmp_path / "metrics.jsonl"
    first, second = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"\n" + first + b'{"update": 15, "me\n{"meta_loss": 1}\n\xff\n' + second)
    with pytest.warns(UserWarning, match="left out. Received: 3 such lines in '"):
        axes = drawn(tmp_path)
    assert lines(axes[LOSS])["all"][0] == [10, 20]


ODD = (None, "3", [1], {"0": 1}, {"x": {"accuracy": "y"}}, True, 10**400, -float("inf"))


def test_values_of_another_kind_leave_gaps(tmp_path, drawn):
    keys = training(0) | evaluation(0)
    odd = [{key: value for key in keys} | {"update": 15} for value in ODD]
    axes = drawn(write(tmp_path, training(10), *odd, training(20)))
    assert lines(axes[LOSS])["all"][0] == [10, 20]
    assert list(lines(axes[POSITIONS])) == ["from step 0", "from step 100"]


@pytest.mark.parametrize("tail", ['{"update": 30, "meta_', '{"upd\xff', '{"update"', "3", "{}"])
def test_a_last_line_that_a_kill_cut_off_is_ignored(tmp_path, drawn, tail):
    axes = drawn(write(tmp_path, training(10), training(20), tail=tail))
    assert lines(axes[LOSS])["all"][0] == [10, 20]


def test_lines_written_twice_count_once(tmp_path, drawn):
    records = [training(10), training(20), training(10, meta_loss=0.1)]
    axes = drawn(write(tmp_path, *records))
    assert lines(axes[LOSS])["all"] == [[10, 20], [0.1, 0.98]]


def test_many_coefficients_name_those_that_moved_most(tmp_path, drawn):
    def merge(update):
        return {"merge": {f"coefficients/first/{i}": i * update for i in range(30)}}

    axes = drawn(write(tmp_path, training(10, **merge(10)), training(20, **merge(20))))
    named = lines(axes[COEFFICIENTS])
    assert list(named) == [f"first/{i}" for i in range(29, 29 - module.NAMED_COEFFICIENTS, -1)]
    assert len(axes[COEFFICIENTS].lines) == 30


def test_a_missing_folder_and_an_empty_or_damaged_log_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="metrics.jsonl in it. Received: '.*none'"):
        plot_run(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="Received: "):
        plot_run(tmp_path)
    with pytest.raises(ValueError, match="must have logged something. Received: .*which is empty"):
        plot_run(write(tmp_path))
    write(tmp_path, tail="damaged\n")
    with pytest.raises(ValueError, match="damaged .1 lines that cannot be read"):
        plot_run(tmp_path)
    with pytest.raises(ValueError, match="out must end in one of .*'png'.*Received: 'run.xyz'"):
        plot_run(write(tmp_path, training(10)), "run.xyz")


def test_the_command_line_prints_the_file_or_the_reason(tmp_path, capsys):
    write(tmp_path, training(10))
    main([str(tmp_path)])
    assert capsys.readouterr().out.strip() == str(tmp_path / "run.png")
    assert is_png(tmp_path / "run.png")
    main([str(tmp_path), "--out", str(tmp_path / "other.svg")])
    assert "<svg" in (tmp_path / "other.svg").read_text()
    with pytest.raises(SystemExit, match="^plot_run: RUN_DIR must be the folder of a run"):
        main([str(tmp_path / "none")])
