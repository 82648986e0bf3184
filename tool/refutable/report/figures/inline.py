"""A figure's SVG as part of a page: only drawing elements pass, colours follow the page's theme."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from refutable.report.figures import style

_ELEMENTS = {
    "svg", "g", "path", "rect", "circle", "line", "polyline", "polygon", "text", "tspan", "use",
    "defs", "clipPath", "pattern", "image", "linearGradient", "stop",
}  # fmt: skip
_ATTRIBUTES = {
    "id", "d", "style", "transform", "x", "y", "width", "height", "rx", "ry", "r", "cx", "cy",
    "x1", "x2", "y1", "y2", "points", "viewBox", "clip-path", "href", "clipPathUnits",
    "patternUnits", "fill", "stroke", "stroke-width", "opacity", "fill-opacity",
    "preserveAspectRatio", "offset", "text-anchor",
}  # fmt: skip
_THEME = {
    style.INK: "var(--ink)",
    style.MUTED: "var(--muted)",
    style.GRID: "var(--grid)",
    style.PAPER: "var(--paper)",
}
_FONT = re.compile(r"font: ([^;']*?[\d.]+px) [^;]*")
_REFERENCE = re.compile(r"#([\w.-]+)")
_NUMBER = re.compile(r"(\d+\.\d{3})\d+")


def inline(path: Path, prefix: str, label: str) -> str:
    """Return a figure's SVG to be put into HTML.

    Parameters
    ----------
    path : Path
        An SVG file as matplotlib writes it; elements and attributes that are not drawing (scripts,
        event handlers, styles for the whole page, outside addresses) are dropped.
    prefix : str
        Put before every id, so that figures do not share any.
    label : str
        What a screen reader says.

    Returns
    -------
    str
        The element, with the common ink, paper and grid as the page's CSS variables.
    """
    # The parser expands no external entity, and the file was written by this package.
    root = ElementTree.fromstring(path.read_bytes())  # noqa: S314
    used = {
        match
        for element in root.iter()
        for value in element.attrib.values()
        for match in _REFERENCE.findall(value)
    }
    clean = _clean(root, used, prefix)
    if clean is None:
        return ""
    for size in ("width", "height"):
        clean.attrib.pop(size, None)
    clean.attrib.update({"role": "img", "aria-label": label, "class": "figure"})
    return ElementTree.tostring(clean, encoding="unicode")


def pixels(path: Path, width: int = 960, colors: int = 64) -> str:
    """Return a figure's PNG, smaller and with a palette, in base64."""
    import base64
    import io

    from PIL import Image

    with Image.open(path) as image:
        plain = image.convert("RGB")
    size = (width, round(plain.height * width / plain.width))
    # The quickest filter and palette: a fifth of the time of the best ones, and smaller files.
    smaller = plain.resize(size, Image.Resampling.BOX)
    buffer = io.BytesIO()
    smaller.quantize(colors, method=Image.Quantize.FASTOCTREE).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def _clean(element: ElementTree.Element, used: set[str], prefix: str) -> ElementTree.Element | None:
    name = _local(element.tag)
    if name not in _ELEMENTS:
        return None
    clean = ElementTree.Element(name)
    for key, value in element.attrib.items():
        attribute = _local(key)
        if attribute not in _ATTRIBUTES:
            continue
        if attribute == "id":
            if value in used:
                clean.set("id", prefix + value)
            continue
        if attribute == "href" and not value.startswith(("#", "data:image/png;base64,")):
            continue
        clean.set(attribute, _rewritten(attribute, value, prefix))
    clean.text = element.text if name in ("text", "tspan") else None
    for child in element:
        kept = _clean(child, used, prefix)
        if kept is not None and (len(kept) or kept.text or kept.attrib):
            clean.append(kept)
    return clean


def _local(name: object) -> str:
    return str(name).rsplit("}", 1)[-1]


def _rewritten(attribute: str, value: str, prefix: str) -> str:
    if attribute == "href" and value.startswith("data:"):
        return value
    if attribute in ("href", "clip-path", "style", "fill", "stroke"):
        value = re.sub(r"url\(\s*#([\w.-]+)\s*\)", rf"url(#{prefix}\1)", value)
        value = re.sub(r"url\(\s*['\"]?(?!#)[^)]*\)", "none", value)
        if attribute == "href":
            value = f"#{prefix}{value[1:]}"
    if attribute in ("style", "fill", "stroke"):
        value = _FONT.sub(r"font: \1 var(--sans)", value)
        for color, variable in _THEME.items():
            value = value.replace(color, variable)
    if attribute in ("d", "transform", "x", "y", "points"):
        value = _NUMBER.sub(r"\1", value)
    return " ".join(value.split())
