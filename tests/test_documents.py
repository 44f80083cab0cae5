"""The links between the documents lead to files that exist."""
import re
from pathlib import Path

import pytest

from tests.helpers import ROOT

FOLDERS = ("BFM", "checkpoints", "datalist", "datasets", "models", "nvdiffrast", "options", "tests", "util")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])


def headings(document: Path) -> set[str]:
    """The names under which a document's headings can be linked to."""
    lines = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("document", [str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_links_lead_to_files(document):
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / document).read_text(encoding="utf-8"))
    for link in links:
        if "://" in link:
            continue
        file, _, heading = link.partition("#")
        target = (ROOT / document).parent / file if file else ROOT / document
        assert target.exists(), link
        assert not heading or heading in headings(target), link
