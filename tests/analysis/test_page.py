import html
import html.parser
import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finished_run import Lab

from analysis.load_run import load_run
from analysis.page import pick_patients, render_page
from analysis.scoring import PLANES, TestResult
from analysis.test_set import TestSet

VOID = {"meta", "link", "img", "source", "br", "wbr"}
PNG = b"\x89PNG not really"


class Page(html.parser.HTMLParser):
    """Elements in order, each with its attributes; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def readable(text: str) -> str:
    """With every space, line break and `&nbsp;` as one space."""
    return re.sub(r"\s+", " ", html.unescape(text))


def measured(result: TestResult, num_unpredicted: int = 0) -> TestResult:
    """The same test with metrics in mm; the worst patients may have no prediction."""
    values = {"surface_dice": 0.987654, "volume_error_percent": -2.345}
    distances = {"hd95_mm": 5.4321, "asd_mm": 1.2345}
    rows = [
        {**row, **values, **(dict.fromkeys(distances, math.nan) if place < num_unpredicted else distances)}
        for place, row in enumerate(sorted(result.rows, key=lambda row: row["dice"]))
    ]
    known = len(rows) - num_unpredicted
    metrics = {name: {"mean": mean, "ci95": [mean - 1.0, mean + 1.0]} for name, mean in {**values, **distances}.items()}
    for name in distances if num_unpredicted else ():
        metrics[name]["num_cases"] = known
        if not known:
            metrics[name] |= {"mean": math.nan, "ci95": [math.nan, math.nan]}
    return replace(result, rows=rows, metrics={**result.metrics, **metrics})


def result_of(lab: Lab, tmp_path: Path, num_cases: int) -> TestResult:
    """A test of made-up scores: case0 the worst."""
    run = replace(load_run(lab.run), folder=tmp_path / "demo")
    result = TestResult(
        test_set=TestSet(run),
        hashes={f"case{i}": {"ct_sha256": f"{i}" * 64, "mask_sha256": "f" * 64} for i in range(num_cases)},
        metrics={
            "num_cases": num_cases,
            **{name: {"mean": 0.9, "ci95": [0.8, 0.95]} for name in ("dice", "iou", "loss")},
        },
        rows=[{"case_id": f"case{i}", "dice": 0.7 + i / 20, "iou": 0.6, "loss": 0.1} for i in reversed(range(num_cases))],
        openings=[{"opened": "2026-01-02T03:04:05+00:00", "command": "x", "model_sha256": "a" * 64, "num_cases": num_cases}],
    )
    (result.test_set.folder / "overlays").mkdir(parents=True)
    for case_id in result.hashes:
        for plane in PLANES:
            result.overlay_path(case_id, plane).write_bytes(PNG)
    return result


@pytest.fixture
def page(finished_lab: Lab, tmp_path: Path) -> str:
    return render_page(load_run(finished_lab.run), result_of(finished_lab, tmp_path, 5))


def test_headline_has_dice_iou_interval_and_n(page: str) -> None:
    head = readable(page.split("<main>")[0])
    assert head.count('<dd class="value">0.900</dd>') == 2
    assert head.count("95 % interval 0.800 to 0.950, n = 5") == 2
    assert "probability of 0.5" in head


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    elements = Page(page)
    links = [
        attributes.get("src") or attributes.get("srcset") or "" for attributes in elements.all("img") + elements.all("source")
    ]
    assert links and all(re.match(r"data:image/(png|svg\+xml);base64,[A-Za-z0-9+/=]+$", link) for link in links)
    assert not elements.all("script") and not elements.all("link") and "url(" not in page
    assert len(page) < 10e6


def test_the_page_can_be_read_aloud(page: str) -> None:
    elements = Page(page)
    levels = [int(tag[1]) for tag, _ in elements.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert len(elements.all("caption")) == len(elements.all("table")) > 0
    assert all(header.get("scope") in ("row", "col") for header in elements.all("th"))
    assert all(picture.get("alt") for picture in elements.all("img"))
    assert elements.all("html")[0]["lang"] == "en"


def test_no_folder_is_named_and_the_footer_says_once_what_this_is_not(finished_lab: Lab, page: str) -> None:
    assert "Jane" not in page and str(finished_lab.cases.parent.parent) not in page
    assert "lung.nii.gz: the mask is empty." in page
    assert page.count("Not a medical device.") == 1


def test_the_page_tells_who_trained_the_winner(page: str) -> None:
    assert "trained anew on the training and validation patients together, for 2 epochs" in page
    assert "then joins the training of the winner" in page
    assert "Beside the patients, 1 synthetic phantom trained" in page


def test_patients_come_worst_first(page: str) -> None:
    table = page.split("the worst first</caption>")[1].split("</table>")[0]
    assert re.findall(r"case\d", table) == ["case0", "case1", "case2", "case3", "case4"]


def test_the_configuration_marks_what_was_searched(page: str) -> None:
    assert '<tr class="winner"><th scope="row">learning_rate</th><td class="num">0.002</td>' in page
    assert '<tr><th scope="row">batch_size</th><td class="num">2</td>' in page


def test_distances_have_units_and_as_many_digits_as_they_are_worth(finished_lab: Lab, tmp_path: Path) -> None:
    page = render_page(load_run(finished_lab.run), measured(result_of(finished_lab, tmp_path, 5)))
    head, body = (readable(part) for part in page.split("<main>"))
    for words in ('HD95</dt> <dd class="value">5.4 mm<', 'ASD</dt> <dd class="value">1.23 mm<', ">0.988<", ">−2.3 %<"):
        assert words in head
    assert "interval −3.3 to −1.3, n = 5<" in head and "found no lung" not in head
    assert re.findall(r'class="num">([^<]*)</th>', body.split("</thead>")[0]) == [
        "Dice", "IoU", "HD95, mm", "ASD, mm", "Surface Dice", "Volume error, %", "Loss",
    ]  # fmt: skip
    (row,) = re.findall(r'<tr><th scope="row">case0</th>(.*?)</tr>', body.split("the worst first")[1].split("</table>")[0])
    assert re.findall(r">([^<]+)</td>", row) == ["0.7000", "0.6000", "5.4", "1.23", "0.9877", "−2.3", "0.1000"]
    meanings = body.split('id="meaning"')[1].split("</dl>")[0]
    assert "95th percentile Hausdorff distance" in meanings and "longest edge" in meanings
    assert "HD95 5.4 mm" in body


@pytest.mark.parametrize(("num_unpredicted", "count", "whom"), [(1, "4 of 5", "this patient"), (5, "0 of 5", "these patients")])
def test_patients_without_a_prediction_are_told_beside_the_distances_that_leave_them_out(
    num_unpredicted: int, count: str, whom: str, finished_lab: Lab, tmp_path: Path
) -> None:
    page = render_page(load_run(finished_lab.run), measured(result_of(finished_lab, tmp_path, 5), num_unpredicted))
    head, body = (readable(part) for part in page.split("<main>"))
    assert f"In {num_unpredicted} of 5 patients the model found no lung at all." in head and f"leave {whom} out" in head
    assert head.count(f"n = {count}<") == 2
    table = body.split("the worst first")[1].split("</table>")[0]
    assert "nan" not in head + table and '<td class="num">–</td>' in table


def test_a_run_from_before_the_distances_has_none(page: str) -> None:
    text = readable(page)
    assert "HD95" not in text and "Surface Dice" not in text and "mm</dd>" not in text
    assert "<dt>IoU</dt> <dd>" in text


@pytest.mark.parametrize(
    ("num_cases", "picked"),
    [
        (1, [("only patient", 0)]),
        (2, [("worst", 0), ("best", 1)]),
        (3, [("worst", 0), ("median", 1), ("best", 2)]),
        (4, [("worst", 0), ("median", 1), ("best", 3)]),
    ],
)
def test_nobody_is_shown_twice(num_cases: int, picked: list[tuple[str, int]], finished_lab: Lab, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"place": place} for place in range(num_cases)]
    assert [(which, row["place"]) for which, row in pick_patients(rows)] == picked
    page = render_page(load_run(finished_lab.run), result_of(finished_lab, tmp_path, num_cases))
    assert page.count("data:image/png") == 3 * len(picked)
    assert len(Page(page).all("h1")) == 1


def test_a_name_with_markup_in_it_stays_a_name(finished_lab: Lab, tmp_path: Path) -> None:
    run = load_run(finished_lab.run)
    skipped = [{"case_id": "<script>alert(1)</script>", "reason": "& so on"}]
    page = render_page(replace(run, skipped=skipped), result_of(finished_lab, tmp_path, 1))
    assert "<script>" not in page and "&amp; so on" in page


def test_a_search_in_which_everything_failed_still_has_a_page(finished_lab: Lab, tmp_path: Path) -> None:
    run = load_run(finished_lab.run)
    page = render_page(replace(run, trials=run.trials[3:], skipped=[], environment={}), result_of(finished_lab, tmp_path, 2))
    assert "1 trial: 1 failed" in page and "No case was skipped" in page
    assert json.dumps("trial4") not in page
