import os
from pathlib import Path

import pytest

from models.result_places import check_results_folder, choose_results_folder, make_results_folder, old_results
from util.files import InputError


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def claim(results: Path, source: Path) -> str:
    """The name of the folder that the results of a source go to."""
    source.mkdir(parents=True, exist_ok=True)
    folder, remark = choose_results_folder(results, source)
    make_results_folder(folder / "epoch_20_000000", folder, source)
    assert (str(source) in remark) == (folder.name != source.name)
    return folder.name


def test_folders_of_one_name_have_results_of_their_own(results, tmp_path):
    sources = [tmp_path / name for name in ("clipA/frames", "clipB/frames", "clipC/frames", "old/clipB/frames")]
    names = ["frames", "clipB_frames", "clipC_frames", "old_clipB_frames"]
    assert [claim(results, source) for source in sources] == names
    assert [claim(results, source) for source in sources] == names   # again
    sources[0].rmdir()
    assert claim(results, tmp_path / "clipD" / "frames") == "frames"   # the photos that had it are gone


def test_results_of_a_list_have_its_name_without_suffix(results, tmp_path):
    (tmp_path / "best.of.txt").touch()
    folder, _ = choose_results_folder(results, tmp_path / "best.of.txt")
    assert folder == results / "best.of"


def test_a_chosen_folder_is_not_shared_by_two_sources(results, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    check_results_folder(results, tmp_path / "a")
    make_results_folder(results, results, tmp_path / "a")
    check_results_folder(results, tmp_path / "a")
    with pytest.raises(InputError, match="holds the results of .*a, .*--results_dir=.*results/b"):
        check_results_folder(results, tmp_path / "b")


def test_old_results_are_those_from_before_the_start(results, tmp_path):
    start = make_results_folder(results, results, tmp_path)
    for name, age in (("a.obj", 10), ("a.mat", -10), ("a_0.obj", 10), ("a_b.obj", 10), ("ab.obj", 10), ("c/a.obj", 10)):
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).touch()
        os.utime(results / name, (start - age, start - age))

    def names(name, numbered):
        return [path.name for path in old_results(results, Path(name), start, numbered)]

    assert names("a", False) == ["a.obj"] and names("a", True) == ["a.obj", "a_0.obj"]
    assert names("c/a", False) == ["a.obj"] and names("d/a", False) == []


def test_what_a_killed_run_left_is_deleted(results, tmp_path):
    remnants = [results / "eg3d" / f".{digit * 32}.png" for digit in "01"]
    remnants[0].parent.mkdir(parents=True)
    for path in remnants:
        path.touch()
    os.utime(remnants[0], (0, 0))
    make_results_folder(results, results, tmp_path)
    assert [path.exists() for path in remnants] == [False, True]   # another run may be writing the new one
