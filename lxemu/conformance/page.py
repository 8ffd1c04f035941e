"""A run as one HTML page without outside parts: scores by area, every failure with its output."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from typing import TYPE_CHECKING

from lxemu.conformance.report import BAD, Score, scores, unsupported
from lxemu.conformance.result import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lxemu.conformance.result import Baseline, Result

OUTPUT_SHOWN = 8 << 10  # characters of a failing test's output, from its end

STYLE = """
:root{color-scheme:light dark;--line:#8884;--dim:#888;--good:#2e9e5b;--bad:#d0453e;--skip:#b9922b}
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .5rem}.dim{color:var(--dim)}
.tiles{display:flex;flex-wrap:wrap;gap:1rem;margin:1.5rem 0}
.tile{border:1px solid var(--line);border-radius:.5rem;padding:.7rem 1.1rem}
.tile b{display:block;font-size:1.8rem;line-height:1.2}
table{border-collapse:collapse;width:100%}th{text-align:left;font-weight:600}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{display:flex;height:.6rem;min-width:8rem;border-radius:.3rem;overflow:hidden}
.bar i{display:block}.pass{background:var(--good)}.fail{background:var(--bad)}
.skip{background:var(--skip)}
details{border-bottom:1px solid var(--line);padding:.35rem 0}summary{cursor:pointer}
summary code{font-weight:600}pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem;
background:#8881;padding:.7rem;border-radius:.4rem;max-height:30rem;overflow:auto}
.tag{border-radius:.3rem;padding:0 .4rem;color:#fff;font-size:.8rem}
input{font:inherit;padding:.3rem .6rem;width:100%;box-sizing:border-box}
"""
SCRIPT = """
const box = document.getElementById('find');
if (box) box.oninput = () => {
  const text = box.value.toLowerCase();
  for (const entry of document.querySelectorAll('details'))
    entry.hidden = !entry.textContent.toLowerCase().includes(text);
  for (const group of document.querySelectorAll('.group'))
    group.hidden = !group.querySelector('details:not([hidden])');
};
"""


def render(results: list[Result], baseline: Baseline | None, about: Mapping[str, object]) -> str:
    """Return the page of a run."""
    table = scores(results, baseline)
    incomplete = "" if about["complete"] else " · <b>interrupted</b>"
    return "\n".join(
        (
            "<!doctype html><html lang=en><meta charset=utf-8>",
            '<meta name=viewport content="width=device-width">',
            f"<title>LTP on {escape(str(about['kernel']))}</title><style>{STYLE}</style>",
            f"<h1>LTP on {escape(str(about['kernel']))}</h1>",
            f"<div class=dim>{escape(str(about['date']))} · {len(results)} tests in "
            f"{about['seconds']} s{incomplete}</div>",
            _tiles(table),
            _table(table, compared=baseline is not None),
            _unsupported(results),
            _failures(results),
            f"<script>{SCRIPT}</script></html>\n",
        )
    )


def _tiles(table: list[Score]) -> str:
    tiles = []
    for score in table:
        if score.area != "all":
            continue
        what = (
            f"{score.kept} of {score.native} that pass natively"
            if score.native
            else f"{score.counts[Outcome.PASS]} of {score.total} tests pass"
        )
        tiles.append(
            f"<div class=tile>{score.abi}<b>{score.share:.1%}</b>"
            f"<span class=dim>{what}</span></div>"
        )
    return f"<div class=tiles>{''.join(tiles)}</div>"


def _table(table: list[Score], *, compared: bool) -> str:
    native = "<th class=n>natively" if compared else ""
    rows = [
        "<h2>By area</h2><table><tr><th>ABI<th>area<th class=n>tests<th class=n>pass"
        f"<th class=n>fail<th class=n>skip{native}<th class=n>share<th>"
    ]
    for score in table:
        if score.area == "all":
            continue
        failed = sum(score.counts[outcome] for outcome in BAD)
        passed, skipped = score.counts[Outcome.PASS], score.counts[Outcome.SKIP]
        bar = "".join(
            f'<i class={name} style="flex:{count}"></i>'
            for name, count in (("pass", passed), ("fail", failed), ("skip", skipped))
            if count
        )
        native = f"<td class=n>{score.native}" if compared else ""
        rows.append(
            f"<tr><td>{score.abi}<td>{escape(score.area)}<td class=n>{score.total}"
            f"<td class=n>{passed}<td class=n>{failed}<td class=n>{skipped}{native}"
            f"<td class=n>{score.share:.1%}<td><div class=bar>{bar}</div>"
        )
    return "\n".join((*rows, "</table>"))


def _unsupported(results: list[Result]) -> str:
    calls = unsupported(results)
    if not calls:
        return "<h2>Unsupported calls</h2><p>None was made."
    rows = [
        f"<tr><td><code>{escape(call)}</code><td>{escape(reason)}<td class=n>{count}"
        for call, reason, count in calls
    ]
    head = "<h2>Unsupported calls</h2><table><tr><th>call<th>why<th class=n>tests"
    return "\n".join((head, *rows, "</table>"))


def _failures(results: list[Result]) -> str:
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        if result.outcome is not Outcome.PASS:
            groups[result.area, result.family].append(result)
    if not groups:
        return "<h2>Failures</h2><p>None."
    parts = ["<h2>Not passed, by family</h2><input id=find placeholder='Find in these tests'>"]
    for (area, family), members in sorted(groups.items()):
        parts.append(
            f"<div class=group><h2>{escape(family)} <span class=dim>{escape(area)}</span></h2>"
        )
        parts += [_failure(member) for member in members]
        parts.append("</div>")
    return "\n".join(parts)


def _failure(result: Result) -> str:
    colour = "skip" if result.outcome is Outcome.SKIP else "fail"
    calls = "".join(
        f"<div>unsupported: <code>{escape(item['call'])}</code>, {item['count']} times: "
        f"{escape(item['reason'])}</div>"
        for item in result.unsupported
    )
    return (
        f"<details><summary><code>{escape(result.id)}</code> {result.abi} "
        f'<span class="tag {colour}">{result.outcome}</span> '
        f"<span class=dim>{result.passes} passed assertions, {result.seconds} s</span></summary>"
        f"{calls}<pre>{escape(result.output[-OUTPUT_SHOWN:])}</pre>"
        f"<pre>{escape(result.command)}</pre></details>"
    )
