"""Charts of a run as SVG. Each function takes finished tables and a size; none computes anything."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from analysis.load_run import Curve, Trial

# Each colour stands for a CSS variable, so that one picture fits light and dark pages.
INK, MUTED, FAINT, GRID = "#1c1c1e", "#5f6368", "#9aa0a6", "#e3e5e8"
BLUE, ORANGE, VERMILLION = "#0072b2", "#b87700", "#d55e00"
DARK = {
    INK: "#ececee",
    MUTED: "#a8adb4",
    FAINT: "#7d828a",
    GRID: "#34373c",
    BLUE: "#56b4e9",
    ORANGE: "#e69f00",
    VERMILLION: "#f08040",
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
Size = tuple[float, float]
"""Width and height in inches of 72 CSS pixels."""

MARKERS = {
    "stopped": ("o", FAINT),
    "diverged": ("x", VERMILLION),
    "failed": ("x", VERMILLION),
    "interrupted": ("s", FAINT),
}
"""Status of a trial -> marker and colour at the end of its curve; a finished one has none."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def learning_curves(trials: Sequence[Trial], winner: Trial | None, rungs: Sequence[int], size: Size) -> str:
    """Validation Dice of every trial over its epochs; the winner in colour, ASHA's rungs as vertical lines."""
    figure, axes = _chart(size)
    for trial in trials:
        if trial is not winner:
            _draw_trial(axes, trial, FAINT, 0.9)
    if winner is not None:
        _draw_trial(axes, winner, BLUE, 2.2)
        _label_end(axes, winner.curve, "val_dice", f"{winner.trial_id}\n{winner.val_dice:.3f}", BLUE)
    if rungs:
        _mark_rungs(axes, rungs, max((trial.epochs for trial in trials), default=1))
    axes.set_xlabel("epoch, log scale" if rungs else "epoch", color=MUTED)
    axes.set_title("validation Dice", loc="left", color=INK, fontsize=10)
    return _svg(figure)


def training_curves(curve: Curve, size: Size) -> str:
    """Loss, above, and learning rate, below, of the winner's training over its epochs."""
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.11), facecolor="none")
    loss_axes, rate_axes = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for axes, title in ((loss_axes, "loss"), (rate_axes, "learning rate")):
        _style(axes)
        axes.set_title(title, loc="left", color=INK, fontsize=10)
    for column, color in (("val_loss", ORANGE), ("loss", BLUE)):
        epochs, values = curve.points(column)
        loss_axes.plot(epochs, values, color=color, linewidth=1.8, marker=_dot(epochs), markersize=4)
    _label_losses(loss_axes, curve)
    loss_axes.yaxis.set_major_locator(MaxNLocator(5))
    epochs, rates = curve.points("learning_rate")
    if epochs:
        # The rate of an epoch holds from its beginning to its end.
        rate_axes.stairs(rates, np.arange(len(rates) + 1) + epochs[0] - 0.5, baseline=None, color=BLUE, linewidth=1.8)
        rate_axes.set_yscale("log")
        rate_axes.minorticks_off()
        _label_levels(rate_axes, rates)
    rate_axes.set_xlabel("epoch", color=MUTED)
    return _svg(figure)


def patient_scores(values: Sequence[float], interval: Interval, size: Size) -> str:
    """One dot for each patient on a line, and below it the mean with its interval."""
    figure, axes = _chart(size)
    axes.yaxis.set_visible(False)
    axes.grid(visible=False)
    axes.plot(values, np.ones(len(values)), "o", color=BLUE, alpha=0.55, markersize=9, markeredgewidth=0, clip_on=False)
    axes.plot([interval.low, interval.high], [0, 0], color=INK, linewidth=2, solid_capstyle="butt")
    axes.plot([interval.mean], [0], "D", color=INK, markersize=6)
    axes.set_ylim(-1.0, 1.8)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.annotate(
        "mean and 95 % interval", (interval.mean, 0), (0, -14), textcoords="offset points",
        ha="center", va="center", color=INK, fontsize=9,
    )  # fmt: skip
    axes.set_title("Dice of each test patient", loc="left", color=INK, fontsize=10)
    return _svg(figure)


def _mark_rungs(axes: Axes, rungs: Sequence[int], last_epoch: int) -> None:
    """Rungs grow by a factor: on a log scale they stand evenly, and each is its own axis label."""
    axes.set_xscale("log")
    axes.minorticks_off()
    ends = [epoch for epoch in (1, last_epoch) if all(not 0.75 < epoch / rung < 1.33 for rung in rungs)]
    ticks = sorted({*rungs, *ends})
    axes.set_xticks(ticks, [str(epoch) for epoch in ticks])
    for epoch in rungs:
        axes.axvline(epoch, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)


def _draw_trial(axes: Axes, trial: Trial, color: str, width: float) -> None:
    epochs, values = trial.curve.points("val_dice")
    if not epochs:
        return
    order = 3 if width > 1 else 2
    axes.plot(epochs, values, color=color, linewidth=width, marker=_dot(epochs), markersize=4, zorder=order)
    if trial.status in MARKERS:
        marker, edge = MARKERS[trial.status]
        axes.plot(
            epochs[-1:],
            values[-1:],
            marker,
            color=edge,
            markerfacecolor="white",
            markeredgewidth=1.3,
            markersize=5,
            zorder=4,
        )


def _dot(epochs: Sequence[int]) -> str:
    """A line of one point is invisible: it needs a dot."""
    return "o" if len(epochs) == 1 else ""


def _label_losses(axes: Axes, curve: Curve) -> None:
    names = {"loss": ("training", BLUE), "val_loss": ("validation", ORANGE)}
    last = {column: curve.points(column)[1][-1] for column in names if curve.points(column)[1]}
    # The two losses often end at one height: the upper label stands above it, the lower one below.
    for place, column in zip(("bottom", "top"), sorted(last, key=lambda column: -last[column]), strict=False):
        _label_end(axes, curve, column, *names[column], place if len(last) > 1 else "center")


def _label_end(axes: Axes, curve: Curve, column: str, text: str, color: str, place: str = "center") -> None:
    epochs, values = curve.points(column)
    if epochs:
        axes.annotate(
            text, (epochs[-1], values[-1]), (6, 0), textcoords="offset points", annotation_clip=False,
            color=color, fontsize=9, fontweight="bold", ha="left", va=place, linespacing=1.15,
        )  # fmt: skip


def _label_levels(axes: Axes, rates: Sequence[float]) -> None:
    """The axis carries the rates themselves, not powers of ten."""
    levels = sorted(set(rates), reverse=True)
    # Further steps of a long training would overprint each other.
    shown = levels if len(levels) <= 4 else [levels[0], levels[len(levels) // 2], levels[-1]]
    axes.set_yticks(shown, [f"{rate:.1e}".replace("e-0", "e-") for rate in shown])


def _chart(size: Size) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained", facecolor="none")
    axes = figure.subplots()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    """Only what carries a value: no frame, faint horizontal lines, whole epochs."""
    axes.set_facecolor("none")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(colors=MUTED, labelsize=9, length=0, pad=5)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _svg(figure: Figure) -> str:
    """The figure as an SVG document that follows the page into dark mode and uses its font."""
    stream = io.StringIO()
    # hashsalt: equal tables make equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", FONT, stream.getvalue())
    svg = svg[svg.index("<svg") :]
    for number, color in enumerate(DARK):
        svg = svg.replace(color, f"var(--c{number})")
    svg = svg.replace("#ffffff", "var(--page)")
    light = "".join(f"--c{number}:{color};" for number, color in enumerate(DARK))
    dark = "".join(f"--c{number}:{color};" for number, color in enumerate(DARK.values()))
    scheme = (
        f"<style>svg{{{light}--page:#ffffff}}@media (prefers-color-scheme:dark){{svg{{{dark}--page:#16181b}}}}"
        "@media print{svg{" + light + "--page:#ffffff}}</style>"
    )
    return svg.replace("<defs>", f"{scheme}<defs>", 1)
