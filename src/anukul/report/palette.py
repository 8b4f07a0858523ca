"""Color scales that people with color vision deficiency can read: one hue by lightness, and purple against orange."""

from anukul.report.svg import LEVELS

# sequential: one hue, monotone in lightness; diverging: PuOr of ColorBrewer 2, which is safe for color blindness
SCALES = {
    "light": {
        "s": ("#eef2f6", "#bdd3e6", "#6fa5cd", "#2b6fae", "#0b3768"),
        "d": ("#542788", "#a79bca", "#f1f0ee", "#f3ad5f", "#a84a00"),
    },
    "dark": {
        "s": ("#1c2530", "#1d4a72", "#2f7db8", "#85bfe6", "#eaf6ff"),
        "d": ("#c2aaf5", "#6c55a3", "#222932", "#a9651c", "#ffc685"),
    },
}


def mix(anchors: tuple[str, ...], share: float) -> str:
    """Return the color at `share` (0 … 1) between evenly spaced anchors, as #rrggbb."""
    place = share * (len(anchors) - 1)
    index = min(int(place), len(anchors) - 2)
    inside = place - index
    left, right = (bytes.fromhex(anchors[i][1:]) for i in (index, index + 1))
    return "#" + bytes(round(a + (b - a) * inside) for a, b in zip(left, right, strict=True)).hex()


def css() -> str:
    """Return the classes s0 … and d0 … for light pages, and for dark ones in a media query."""

    def rules(theme: str) -> str:
        return "".join(
            f".{name}{step}{{fill:{mix(anchors, step / LEVELS)}}}"
            for name, anchors in SCALES[theme].items()
            for step in range(LEVELS + 1)
        )

    return f"{rules('light')}@media screen and (prefers-color-scheme:dark){{{rules('dark')}}}"
