"""Two faces of letters, a wide and a narrow one, so that no result depends on the machine's fonts.

The pages themselves name the system's fonts. A test puts one of these in their place, by calls that
the page's Content-Security-Policy does not concern.
"""

from __future__ import annotations

import base64
from importlib import resources

FILES = {
    "wide": ("reportlab/fonts/Vera.ttf", "reportlab/fonts/VeraBd.ttf"),
    "narrow": ("font_fjallaone/files/FjallaOne-Regular.ttf",) * 2,
}
"""Regular and bold, in packages that the tests have."""
SCRIPT = """
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
document.fonts.add(new FontFace('Test', bytes('%s'), {weight: '1 599'}));
document.fonts.add(new FontFace('Test', bytes('%s'), {weight: '600 1000'}));
const sheet = new CSSStyleSheet();
sheet.replaceSync('*, *::before, *::after { font-family: Test !important }');
document.adoptedStyleSheets = [sheet];
"""


def script(face: str) -> str:
    """What a page runs first in order to be in this face."""
    encoded = []
    for name in FILES[face]:
        package, _, path = name.partition("/")
        encoded.append(base64.b64encode((resources.files(package) / path).read_bytes()).decode())
    return "{" + SCRIPT % tuple(encoded) + "}"
