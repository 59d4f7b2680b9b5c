import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lungseg_train.data.split import read_split, split_cases
from lungseg_train.errors import InputError

IDS = st.lists(st.text("abcdef0123456789", min_size=1, max_size=6), min_size=3, max_size=80, unique=True)


@given(IDS, st.floats(0, 0.33), st.floats(0, 0.33), st.integers(0, 2**32 - 1), st.randoms())
def test_every_patient_lies_in_exactly_one_share_whatever_the_order(
    ids: list[str], val: float, test: float, seed: int, random: object
) -> None:
    split = split_cases(ids, val, test, seed)
    assert sorted(split.train + split.val + split.test) == sorted(ids)
    assert split.train
    assert bool(split.val) == (val > 0) and bool(split.test) == (test > 0)
    shuffled = list(ids)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert split_cases(shuffled, val, test, seed) == split


def test_shares_are_as_large_as_asked_for() -> None:
    split = split_cases([str(n) for n in range(60)], 0.15, 0.25, 1)
    assert (len(split.train), len(split.val), len(split.test)) == (36, 9, 15)


def test_another_seed_is_another_split() -> None:
    ids = [str(n) for n in range(20)]
    assert split_cases(ids, 0.2, 0.2, 1) != split_cases(ids, 0.2, 0.2, 2)


@pytest.mark.parametrize(("num", "val", "test"), [(2, 0.2, 0.2), (1, 0.2, 0.0), (1, 0.0, 0.2)])
def test_too_few_patients_say_how_many_are_needed(num: int, val: float, test: float) -> None:
    with pytest.raises(InputError, match=rf"{num} cannot be split, at least {num + 1}"):
        split_cases([str(n) for n in range(num)], val, test, 0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="val_fraction"):
        split_cases(["a", "b", "c"], fraction, 0.2, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nonsense", "expected a JSON object"),
        ("[1]", "expected a JSON object"),
        ({"train": ["a", "b"], "val": ["b"]}, "more than one list"),
        ({"train": [], "val": ["a"]}, "train is empty"),
        ({"train": ["a"], "test": ["z"]}, "not there: z"),
    ],
)
def test_fixed_lists_are_checked(content: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=words):
        read_split(path, ["a", "b"])


def test_fixed_lists_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["c", "a"], "val": ["b"], "test": []}))
    split = read_split(path, ["a", "b", "c", "d"])
    assert (split.train, split.val, split.test) == (("c", "a"), ("b",), ())


@given(st.lists(st.integers(0, 12), min_size=6, max_size=40), st.integers(0, 99))
def test_scans_of_one_patient_stay_in_one_share(owners: list[int], seed: int) -> None:
    patients = {f"case-{number:02d}": f"patient-{owner}" for number, owner in enumerate(owners)}
    assume(len(set(owners)) >= 3)
    split = split_cases(list(patients), 0.2, 0.2, seed, patients)
    shares = [{patients[case_id] for case_id in share} for share in (split.train, split.val, split.test)]
    assert all(shares) and sum(map(len, shares)) == len(set(owners))
    assert sorted((*split.train, *split.val, *split.test)) == sorted(patients)
    # What the patients are called decides nothing.
    renamed = {case_id: f"{len(patient)}-{patient[::-1]}" for case_id, patient in patients.items()}
    assert split_cases(list(patients), 0.2, 0.2, seed, renamed) == split


def test_a_list_with_one_patient_on_two_sides_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a", "b"], "val": [], "test": ["a-2"]}))
    with pytest.raises(InputError, match="a in train and a-2 in test are scans of one patient"):
        read_split(tmp_path / "split.json", ["a", "a-2", "b"], {"a": "p1", "a-2": "p1", "b": "p2"})
