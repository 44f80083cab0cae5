"""Puts the report page together. The page is a single file that needs no server and no network."""
import json
from pathlib import Path

from models.face_model import FaceModel
from models.report.meshes import pack_triangles
from models.report.parts import find_parts, remove_parts
from util.files import atomic_write

REPORT_FILE = "report.html"
_SOURCES = Path(__file__).parent


def write_report(folder: Path, about: str, model: FaceModel, remarks: dict[Path, str],
                 left_out: dict[str, str]):
    """Write report.html about the faces whose parts are in a folder of results, and delete these parts.

    Pictures and meshes stay text in the page until they are shown. They are copied one by one, so that the memory does
    not grow with their number.

    about: where the faces come from. model: the face model of the meshes. remarks: on photos, by the path of the photo.
    left_out: photos that were left out, and why.
    """
    head, tail = _template().split("<!--DATA-->")
    parts = find_parts(folder)
    numbers = []
    with atomic_write(folder / REPORT_FILE) as temporary, temporary.open("w", encoding="utf-8") as page:
        page.write(head)
        for index, part in enumerate(parts):
            face, contents = part.read_text(encoding="utf-8").splitlines()
            face = json.loads(face)
            numbers.append(face | {"remarks": remarks.get(Path(face["photo"]), "").replace(f"{face['photo']}: ", "")})
            page.write(_script(f"face-{index}", contents))
        page.write(_script("face-numbers", json.dumps(numbers)))
        page.write(_script("page-numbers", json.dumps({
            "title": folder.name, "about": about, "focal": model.focal,
            "left_out": [(photo, without_path(photo, reason)) for photo, reason in left_out.items()],
            "camera_d": model.camera_d, "triangles": pack_triangles(model.tri.numpy())})))
        page.write(tail)
    remove_parts(folder)


def without_path(photo: str, message: str) -> str:
    """Returns a message without the path of the photo and the colon in it. photo: the path, or the end of it."""
    return message.split(f"{photo}: ", 1)[-1]


def _template() -> str:
    """Returns the page with its style and scripts, which are files of their own in the repository."""
    text = {name: (_SOURCES / name).read_text(encoding="utf-8")
            for name in ("page.html", "page.css", "mesh_view.js", "page.js")}
    page = text["page.html"].replace("/*STYLE*/", text["page.css"])
    return page.replace("/*SCRIPT*/", text["mesh_view.js"] + text["page.js"].replace('"use strict";\n', "", 1))


def _script(name: str, content: str) -> str:
    """Returns JSON as an element of the page. "<" is escaped, since "</script>" would end the element."""
    return f'<script type="application/json" id="{name}">{content.replace("<", chr(92) + "u003c")}</script>\n'
