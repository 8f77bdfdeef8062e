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
const sheet = new CSSStyleSheet();
document.adoptedStyleSheets = [sheet];
window.wear = face => sheet.replaceSync(
    `*, *::before, *::after { font-family: ${face} !important }`);
"""
ADD = """
document.fonts.add(new FontFace('%s', bytes('%s'), {weight: '%s'}));
"""


def script(first: str) -> str:
    """What a page runs first in order to be in this face, and to change it by `wear(face)`."""
    added = []
    for face, (regular, bold) in FILES.items():
        for name, weight in ((regular, "1 599"), (bold, "600 1000")):
            package, _, path = name.partition("/")
            read = (resources.files(package) / path).read_bytes()
            added.append(ADD % (face, base64.b64encode(read).decode(), weight))
    return "{" + SCRIPT + "".join(added) + f"wear('{first}')" + "}"
