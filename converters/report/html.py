"""Building blocks of a self-contained HTML page. Every text is escaped here, and nothing is ever fetched."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5c666f; --line: #d9dee3; --paper: #ffffff; --card: #f5f7f9;
  --good: #0b6aa8; --bad: #b8480a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #a3adb6; --line: #3a424a; --paper: #15191d;
  --card: #1f252b; --good: #6db8ea; --bad: #f0955c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: .5rem 0; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
dl { margin: .8rem 0; font-size: .9rem; color: var(--soft); max-width: 46rem; }
dl div { display: flex; gap: .8rem; margin: .15rem 0; }
dt { flex: 0 0 5rem; }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
code { font: .88em ui-monospace, monospace; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .7rem; margin: 1.2rem 0; }
.tile { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.45rem; line-height: 1.3; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)); gap: 1rem;
  align-items: start; margin: 1rem 0; }
figure { margin: 0; min-width: 0; max-width: 44rem; }
figure img { width: 100%; height: auto; display: block; background: #fff; border-radius: .5rem; padding: .5rem; }
figcaption { margin: .3rem 0 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { font-weight: 600; font-size: .9rem; }
th:first-child, td:first-child, .texts td, .texts th { text-align: left; }
.texts td:last-child { white-space: normal; overflow-wrap: anywhere; }
.dense th { white-space: normal; vertical-align: bottom; }
.dense th, .dense td { padding-right: .9rem; }
pre { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; overflow-x: auto; margin: .8rem 0; }
pre code { overflow-wrap: normal; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .8rem; }
.sample { background: var(--card); border-radius: .5rem; padding: .5rem; font-size: .82rem; line-height: 1.4;
  overflow-wrap: anywhere; }
.sample img, .sample .blank { width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: .3rem; }
.sample .blank { display: grid; place-items: center; color: var(--soft); border: 1px dashed var(--line); }
.sample .soft { font-size: inherit; }
@media (max-width: 40rem) { th, td { white-space: normal; font-size: .86rem; padding-right: .6rem; }
  .dense td { white-space: nowrap; } }
.right { color: var(--good); } .wrong { color: var(--bad); }
"""


def text(value: object) -> str:
    """Any value as HTML text."""
    return html.escape(str(value), quote=True)


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as an address that needs no request."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def page(title: str, body: str) -> str:
    """The whole document."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands below it."""
    return "\n".join((f"<section>\n<h2>{text(title)}</h2>", *(part for part in parts if part), "</section>"))


def paragraph(line: str, *, soft: bool = False) -> str:
    """One paragraph of plain text."""
    kind = ' class="soft"' if soft else ""
    return f"<p{kind}>{text(line)}</p>"


def figure(svg: bytes, alternative: str, caption: str = "") -> str:
    """A plot; nothing for an empty one.

    Args:
        svg: The file.
        alternative: What it shows, for those who cannot see it.
        caption: Below it.
    """
    if not svg:
        return ""
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{data_uri(svg, "image/svg+xml")}" alt="{text(alternative)}">{below}</figure>'


def figures(*made: str) -> str:
    """Plots side by side where there is room."""
    return f'<div class="figures">{"".join(made)}</div>' if any(made) else ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, texts: bool = False, dense: bool = False) -> str:
    """A table that scrolls by itself on a narrow screen.

    Args:
        head: Column names, with units.
        rows: Cells.
        texts: The cells are words, not figures.
        dense: There are many columns, so the heads take several lines.
    """
    top = "".join(f"<th>{text(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    names = " ".join(name for name, wanted in (("texts", texts), ("dense", dense)) if wanted)
    kind = f' class="{names}"' if names else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def definitions(*pairs: tuple[str, str]) -> str:
    """Short facts, each below a name."""
    made = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs if value)
    return f"<dl>{made}</dl>"


def command(line: str) -> str:
    """Something to type, as it stands."""
    return f"<pre><code>{text(line)}</code></pre>"


def tiles(pairs: Iterable[tuple[str, str]]) -> str:
    """Large figures, each with what it is."""
    made = "".join(f'<div class="tile"><b>{text(value)}</b>{text(name)}</div>' for name, value in pairs)
    return f'<div class="tiles">{made}</div>'
