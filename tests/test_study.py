"""Studies: what is refused, where it stands, and how the rest is cut into tasks."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.errors import StudyError
from covsvc.study import rows, study_of, tile_size
from covsvc.study_file import read_studies

GOOD = """\
name: good
experiment: counting
methods: [classical, {name: feldman_cousins, options: {monotone_in_b: true}, label: fc98}]
cl: [0.95, 0.90]
s_true: {start: 0, stop: 12, num: 25}
b: [0, 1, 0.1]
n_toys: 1e5
seed: 1999
observed: {n: 3, b: 1}
"""


def read(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return read_studies(path)


def refusal(tmp_path, text):
    with pytest.raises(StudyError) as refused:
        read(tmp_path, text)
    return str(refused.value).replace(str(tmp_path) + "/", "")


def test_a_good_file_gives_sorted_axes_and_labels(tmp_path):
    (study,) = read(tmp_path, GOOD)
    assert study.cl == (0.90, 0.95)
    assert study.b == (0.0, 0.1, 1.0)
    assert study.s_true == tuple(np.linspace(0, 12, 25).tolist())
    assert [spec.label for spec in study.methods] == ["classical", "fc98"]
    assert (study.n_toys, study.toys_per_block, study.n_blocks, study.cells) == (100_000, 10_000, 10, 75)


def test_values_are_known_by_twelve_digits(tmp_path):
    (study,) = read(tmp_path, GOOD.replace("[0, 1, 0.1]", "[0.30000000000000004, 1e-3]"))
    assert study.b == (0.001, 0.3)


def test_a_logarithmic_grid_is_spaced_by_ratios(tmp_path):
    (study,) = read(
        tmp_path, GOOD.replace("{start: 0, stop: 12, num: 25}", "{start: 1, stop: 100, num: 3, spacing: log}")
    )
    assert study.s_true == (1.0, 10.0, 100.0)


def test_several_studies_stand_in_one_file(tmp_path):
    both = read(tmp_path, GOOD + "---\n" + GOOD.replace("name: good", "name: better"))
    assert [study.name for study in both] == ["good", "better"]
    assert refusal(tmp_path, GOOD + "---\n" + GOOD) == "study.yaml:11:1: name: two studies are named 'good'"


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        ("n_toys: 1e5", "n_toy: 1e5", "study.yaml:7:1: n_toy: unknown key, did you mean 'n_toys'?"),
        ("n_toys: 1e5", "n_toy: 1e5", "study.yaml:1:1: n_toys: missing"),
        ("n_toys: 1e5", "n_toys: 15000", "study.yaml:7:1: n_toys: 15000 is no multiple of toys_per_block = 10000: take 20000"),
        ("n_toys: 1e5", "n_toys: 0", "study.yaml:7:1: n_toys: 0: input should be greater than or equal to 1"),
        ("counting", "countin", "study.yaml:2:13: experiment.name: countin: unknown experiment, did you mean 'counting'?"),
        ("[classical,", "[clasical,", "methods.0.name: clasical: unknown method, did you mean 'classical'?; known are"),
        ("monotone_in_b: true", "monotone: true", "options.monotone: monotone: unknown option of feldman_cousins, did you"),
        ("monotone_in_b: true", "monotone_in_b: 3", "monotone_in_b = 3: input should be a valid boolean"),
        ("label: fc98", "label: classical", "study.yaml:3:22: methods.1: 'classical' stands twice; give one of them"),
        ("label: fc98", "lable: fc98", "lable: unknown key, did you mean 'label'?"),
        ("[0.95, 0.90]", "0", "study.yaml:4:5: cl.0: 0: a confidence level lies in [0.5, 1), for example 0.90"),
        ("[0.95, 0.90]", "1", "cl.0: 1: a confidence level lies in [0.5, 1)"),
        ("[0.95, 0.90]", "[0.9, 1.5]", "study.yaml:4:11: cl.1: 1.5: a confidence level lies in [0.5, 1)"),
        ("[0.95, 0.90]", '"90%"', "cl: '90%'"),
        ("[0.95, 0.90]", '["90%"]', "cl.0: '90%': a confidence level is a number such as 0.90"),
        ("[0.95, 0.90]", "[.nan]", "cl.0: nan: a confidence level lies in [0.5, 1)"),
        ("[0, 1, 0.1]", "[0, -1]", "study.yaml:6:8: b.1: -1: expected events lie in [0, 100000]"),
        ("[0, 1, 0.1]", "[.inf]", "b.0: inf: expected events lie in [0, 100000]"),
        ("[0, 1, 0.1]", "[]", "study.yaml:6:1: b: the grid is empty: name at least one value"),
        ("[0, 1, 0.1]", "[1, 1.0]", "study.yaml:6:8: b.1: 1.0 stands twice"),
        ("{start: 0, stop: 12, num: 25}", "[-0.5]", "s_true.0: -0.5: expected events lie in [0, 100000]"),
        ("{start: 0, stop: 12, num: 25}", "{start: 0, stop: 1, num: 0}", "s_true.num: 0: input should be greater"),
        ("{start: 0, stop: 12, num: 25}", "{start: 0, stop: 1, nmu: 3}", "nmu: unknown key, did you mean 'num'?"),
        ("{start: 0, stop: 12, num: 25}", "{start: 0, stop: 1, num: 3, spacing: log}", "a log spacing needs start > 0"),
        ("name: good", "name: ../good", "study.yaml:1:1: name: '../good': letters, digits, '.', '_' and '-' only"),
        ("seed: 1999", "seed: -1", "study.yaml:8:1: seed: -1: input should be greater than or equal to 0"),
        ("seed: 1999", "seed: 1999\nseed: 4", "study.yaml:9:1: seed: the key stands twice"),
        ("{n: 3, b: 1}", "{n: -3, b: 1}", "study.yaml:9:1: observed: n = -3: a count of events is a whole number >= 0"),
        ("{n: 3, b: 1}", "{n: 3}", "observed: an observation of counting is given by n, b and, if b is uncertain, b_error, not by n"),
        ("name: good", "name: good.lock", "names that end in .lock are those of locks"),
        ("label: fc98", 'label: "a\\tb"', "a label is printable text"),
        ("[0.95, 0.90]", "[0.9999999999999]", "cl.0: 0.9999999999999: a confidence level lies in [0.5, 1)"),
        ("[0, 1, 0.1]", "[1:30]", "b.0: '1:30' is no number of expected events"),
        ("seed: 1999", "seed: 010", "seed: '010': input should be a valid integer"),
        ("n_toys: 1e5", "n_toys: 1e12\ntoys_per_block: 1", "makes more than 1,000,000 blocks of 1: raise toys_per_block"),
        ("{n: 3, b: 1}", "2020-13-45", "observed: '2020-13-45': input should be a valid dictionary"),
        ("{n: 3, b: 1}", "{n: 3, b: '5.5'}", "observed: b = '5.5': an expected background is a number of events"),
        ("{n: 3, b: 1}", "{n: [3, 4], b: 1}", "give one observation"),
        ("seed: 1999", "seed: 1999\n? [a, b]\n: 3", "study.yaml:9:3: found unhashable key"),
        ("seed: 1999", "seed: 1999\nx: &a [*a]", "study.yaml:9:4: no YAML: an alias names what it stands in"),
        ("seed: 1999", "seed: 1999\nx: " + "[" * 3000, "nested too deeply"),
        ("seed: 1999", "seed: 1999\nx: !!int foo", "no study: invalid literal for int()"),
        ("[classical,", "[3,", "methods.0: 3: a limit method is given by its name"),
        ("name: good", "name: [good", "study.yaml:2:11: no YAML"),
        ("seed: 1999", "seed: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(tmp_path, line, instead, message):
    assert message in refusal(tmp_path, GOOD.replace(line, instead))


def test_all_errors_are_told_at_once_in_the_order_of_the_file(tmp_path):
    told = refusal(tmp_path, GOOD.replace("counting", "x").replace("[0, 1, 0.1]", "[-1]").replace("1999", "-1"))
    assert [line.split(": ")[1] for line in told.splitlines()] == ["experiment.name", "b.0", "seed"]


def test_a_method_that_cannot_read_the_experiment_is_refused(plugins):
    (plugins / "strange_plugins.py").write_text(
        (plugins / "strange_plugins.py").read_text()
        + "\n\nclass Other: ...\n\n@dataclass(frozen=True)\nclass Deaf(TooLow):\n    reads = (Other,)\n"
    )
    entry_points = plugins / "strange-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text(entry_points.read_text().replace("too_low =", "deaf = strange_plugins:Deaf\ntoo_low ="))
    with pytest.raises(
        StudyError, match=r"methods\.0: deaf reads Other but not UncertainCounts, Counts, which the exp"
    ):
        study_of(
            {
                "name": "x",
                "experiment": "counting",
                "methods": "deaf",
                "cl": 0.9,
                "s_true": 1,
                "b": 1,
                "n_toys": 1e4,
                "seed": 1,
            }
        )


def test_aliases_are_not_unrolled_and_reasons_not_endless(tmp_path):
    levels = "\n".join(f"x{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))
    told = refusal(tmp_path, GOOD + f"x0: &a0 [1]\n{levels}\n")
    assert "values, those that aliases name counted each time, are more than 1,000,000" in told
    many = refusal(tmp_path, GOOD.replace("{start: 0, stop: 12, num: 25}", "{start: -9, stop: -1, num: 1000}"))
    assert len(many.splitlines()) == 51
    assert many.endswith("and 950 more")


def test_an_empty_file_and_a_missing_one_are_refused(tmp_path):
    assert "no study in the file" in refusal(tmp_path, "# nothing\n")
    assert "a study is a mapping" in refusal(tmp_path, "- 1\n")
    with pytest.raises(StudyError, match="No such file"):
        read_studies(tmp_path / "none.yaml")


@pytest.mark.parametrize("task_toys", [1, 3000, 1e9])
def test_tasks_hold_what_is_missing_and_each_block_once(small_study, task_toys):
    study = small_study(n_toys=300_000)  # 300 blocks: three chunks of the store
    rng = np.random.default_rng(4)
    wanted = {b: rng.random((len(study.columns), len(study.s_true), study.n_blocks)) < 0.3 for b in study.b}
    wanted[study.b[1]][:] = False
    held = {b: np.zeros_like(each, dtype=int) for b, each in wanted.items()}
    for row in rows(study, lambda b: (wanted[b], None), task_toys):
        for task in row.tasks:
            assert len(task.s_true) <= tile_size(study, task_toys)
            assert task.start // 128 == (task.stop - 1) // 128
            columns = [study.columns.index(column) for column in task.columns]
            cells = [study.s_true.index(s_true) for s_true in task.s_true]
            held[row.b][np.ix_(columns, cells, range(task.start, task.stop))] += 1
    assert all((held[b] == wanted[b]).all() for b in study.b)


def test_toys_are_kept_if_the_study_says_so(tmp_path):
    (study,) = read(tmp_path, GOOD + "keep: toys\n")
    assert study.keep == "toys"
    (counts,) = read(tmp_path, GOOD)
    assert counts.keep == "counts"
    assert counts == read(tmp_path, GOOD + "keep: counts\n")[0]
    told = refusal(tmp_path, GOOD + "keep: toy\n")
    assert told == "study.yaml:10:1: keep: 'toy': input should be 'counts' or 'toys'"
    assert study_of(study.model_dump(mode="json")).keep == "toys"
    assert "keep" not in counts.model_dump(mode="json")  # versions that do not know the key read it


@pytest.mark.parametrize(("task_toys", "blocks"), [(1, 1), (9_999, 8), (1e9, 128)])
def test_tasks_that_keep_toys_have_no_more_of_them_than_wanted(small_study, task_toys, blocks):
    study = small_study(n_toys=300_000, keep="toys")
    wanted = np.ones((len(study.columns), len(study.s_true), study.n_blocks), bool)
    tasks = [task for row in rows(study, lambda _: (wanted, None), task_toys) for task in row.tasks]
    assert all(task.keep for task in tasks)
    assert max(task.stop - task.start for task in tasks) == blocks
    assert all(task.start // 128 == (task.stop - 1) // 128 for task in tasks)
    assert sum(task.toys for task in tasks) == 12 * 300_000
    assert not next(rows(small_study(), lambda _: (wanted[..., :5], None), task_toys)).tasks[0].keep


def test_blocks_are_numpys_jumped_generators_keyed_by_values(small_study):
    source = small_study().source
    drawn = [rng.integers(2**63) for rng in source.blocks(2.5, 3.0, 0, 4)]
    assert drawn[2:] == [rng.integers(2**63) for rng in source.blocks(2.5, 3.0, 2, 4)]
    (first,) = source.blocks(2.5, 3.0, 0, 1)
    cell = first.bit_generator
    assert drawn == [np.random.Generator(cell.jumped(block)).integers(2**63) for block in range(4)]
    others = [(2.5, 3.1), (3.0, 2.5), (2.6, 3.0)]
    assert not {rng.integers(2**63) for at in others for rng in source.blocks(*at, 0, 4)} & set(drawn)
    (same,) = (rng.integers(2**63) for rng in source.blocks(2.5000000000001, 3.0, 0, 1))
    assert same == drawn[0]


def test_seed_and_options_make_other_toys(small_study):
    def first(**changes):
        (rng,) = small_study(**changes).source.blocks(1.0, 1.0, 0, 1)
        return int(rng.integers(2**63))

    options = {"name": "counting", "options": {"assumed_over_true": 1.1}}
    assert len({first(), first(seed=2000), first(experiment=options)}) == 3
    assert first(methods=["zech"], cl=0.99, n_toys=1000) == first()


# views


def on_off(small_study, *methods):
    return small_study(experiment="on_off", methods=list(methods), cl=0.9)


def reads(study):
    experiment = study.experiment.build()
    return [experiment.gives[spec.view_of(experiment)].__name__ for spec in study.methods]


def test_a_method_reads_the_richest_view_it_can_unless_told(small_study):
    study = on_off(
        small_study,
        "q_mu",
        {"name": "q_mu", "view": "Counts"},
        "bayes_uncertain_background",
        {"name": "bayes_uncertain_background", "view": "UncertainCounts"},
        "cls",
        {"name": "cls", "view": "Counts"},
    )
    assert reads(study) == ["OnOff", "Counts", "OnOff", "UncertainCounts", "Counts", "Counts"]


def test_the_view_stands_in_the_label(small_study):
    study = on_off(
        small_study,
        {"name": "q_mu", "view": "Counts"},
        {"name": "q_mu", "view": "Counts", "options": {"procedure": "clsb"}},
        {"name": "q_mu", "view": "Counts", "label": "plugged in"},
        "q_mu",
    )
    assert [spec.label for spec in study.methods] == [
        "q_mu(Counts)",
        "q_mu(procedure=clsb, Counts)",
        "plugged in",
        "q_mu",
    ]


def test_the_same_method_on_two_views_is_two_columns_with_the_same_toys(small_study):
    study = on_off(small_study, "q_mu", {"name": "q_mu", "view": "Counts"})
    assert [column.key for column in study.columns] == [("q_mu", 0.9), ("q_mu(Counts)", 0.9)]
    alone = on_off(small_study, "q_mu")
    (first,), (again,) = (each.source.blocks(1.0, 1.0, 0, 1) for each in (study, alone))
    assert first.integers(2**63) == again.integers(2**63)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            {"name": "cls", "view": "Count"},
            "methods.0.view: Count: unknown view of OnOffCounting, did you mean 'Counts'?",
        ),
        (
            {"name": "cls", "view": "Sideband"},
            "methods.0: cls(Sideband) reads Counts but not Sideband, which the experiment",
        ),
        (
            {"name": "cls", "view": "OnOff"},
            "methods.0: cls(OnOff) reads Counts but not OnOff, which the experiment gives",
        ),
        ({"name": "cls", "view": 3}, "methods.0.view: 3: input should be a valid string"),
    ],
)
def test_a_view_that_is_not_given_or_not_read_is_refused(small_study, method, message):
    with pytest.raises(StudyError) as refused:
        on_off(small_study, method)
    assert message in str(refused.value)


def test_the_view_is_refused_with_its_place_in_the_file(tmp_path):
    told = refusal(tmp_path, GOOD.replace("label: fc98", "view: OnOf"))
    assert told.startswith("study.yaml:3:")
    assert "OnOf: unknown view of Counting" in told


def test_no_promise_is_held_to_where_an_estimated_background_passes_for_known(small_study):
    def promises(study):
        return [spec.promise_on(study.experiment.build()) for spec in study.methods]

    methods = ["cls", "bayes_jeffreys", {"name": "q_mu"}]
    assert promises(small_study(methods=methods)) == ["at_least", "nothing", "asymptotic"]
    assert promises(small_study(methods=methods, experiment="on_off")) == ["nothing", "nothing", "asymptotic"]
    known_with_error = {"name": "counting", "options": {"relative_b_error": 0.1}}
    assert promises(small_study(methods=["cls"], experiment=known_with_error)) == ["nothing"]
