"""Which photos a path names. The photos are empty files, since nothing is read."""
from pathlib import Path

import pytest

from datasets.photo_choice import choose_photos
from util.files import InputError


def make(root: Path, *names: str):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def relative(chosen) -> list[str]:
    return [path.relative_to(chosen.root).as_posix() for path in chosen.paths]


def test_a_folder_without_and_with_the_folders_in_it(tmp_path):
    make(tmp_path, "b.jpg", "a.png", "notes.txt", "clips/one/001.jpg", "clips/two/001.jpg", ".hidden/x.jpg",
         "mask/a.png", "clips/one/vis/sheet_001.jpg", "earlier/.photos", "earlier/a.png")
    assert relative(choose_photos(tmp_path)) == ["a.png", "b.jpg"]
    tree = choose_photos(tmp_path, recursive=True)
    assert relative(tree) == ["a.png", "b.jpg", "clips/one/001.jpg", "clips/two/001.jpg"]
    assert tree.source == tmp_path and tmp_path / "clips" / "one" in tree.folders


def test_a_tree_with_links_to_folders(tmp_path):
    make(tmp_path, "tree/a.jpg", "elsewhere/b.jpg")
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(tmp_path / "tree")
    assert relative(choose_photos(tmp_path / "tree", recursive=True)) == ["a.jpg", "link/b.jpg"]


def test_a_photo_belongs_to_the_results_of_its_folder(tmp_path, monkeypatch):
    make(tmp_path, "frames/a.JPG")
    monkeypatch.chdir(tmp_path)
    chosen = choose_photos(Path("frames/a.JPG"))
    assert relative(chosen) == ["a.JPG"] and chosen.source == tmp_path / "frames"


def test_a_link_keeps_its_own_name(tmp_path):
    make(tmp_path, "2026-11-26/a.jpg")
    (tmp_path / "newest").symlink_to("2026-11-26")
    (tmp_path / "2026-11-26" / "best.jpg").symlink_to("a.jpg")
    chosen = choose_photos(tmp_path / "newest")
    assert relative(chosen) == ["a.jpg", "best.jpg"] and chosen.source.name == "newest"


@pytest.mark.parametrize("encoding, line_end", [("utf-8", "\n"), ("utf-8-sig", "\r\n")])
def test_a_list_with_paths_relative_to_it(tmp_path, encoding, line_end):
    make(tmp_path, "a/1.jpg", "a/deep/1.jpg", "lists/2.jpg", "ä ö.jpg")
    lines = ["../a/1.jpg", "", "2.jpg ", str(tmp_path / "a/deep/1.jpg"), "../a/deep/1.jpg", "../ä ö.jpg", "gone.jpg"]
    (tmp_path / "lists" / "mine.txt").write_bytes(line_end.join(lines).encode(encoding))
    chosen = choose_photos(tmp_path / "lists" / "mine.txt")
    assert relative(chosen) == ["a/1.jpg", "lists/2.jpg", "a/deep/1.jpg", "ä ö.jpg", "lists/gone.jpg"]
    assert chosen.source == tmp_path / "lists" / "mine.txt"


def test_what_names_no_photos_is_refused(tmp_path):
    make(tmp_path, "empty.txt", "deep/er/notes.md", "a.jpg")
    for place, recursive, message in (("empty.txt", False, "names no photos"), ("missing", False, "does not exist"),
                                      ("deep", True, "no photos in .*deep and the folders in it"),
                                      ("a.jpg", True, "is not a folder"), ("deep/er/notes.md", False, "not a folder")):
        with pytest.raises(InputError, match=message):
            choose_photos(tmp_path / place, recursive)


def test_results_do_not_go_beside_the_photos(tmp_path):
    make(tmp_path, "a.jpg", "clip/b.jpg")
    chosen = choose_photos(tmp_path, recursive=True)
    chosen.check_results(tmp_path / "results")
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(InputError, match="could overwrite photos.*--results_dir"):
            chosen.check_results(folder)
