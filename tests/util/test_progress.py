"""What is printed about photos that are left out."""
from pathlib import Path

from util.progress import LeftOut


def test_the_first_ten_reasons_and_remarks_are_printed_and_the_others_counted():
    for verbose in (False, True):
        lines = []
        left_out = LeftOut(lines.append, verbose)
        for number in range(20_000):
            left_out.add(number, f"{number}.jpg is broken")
        for number in range(12):
            left_out.add(number, "another reason", remark="small")
        left_out.count_others(Path("results"))
        assert len(left_out.reasons) == 20_000 and left_out.reasons[3] == "3.jpg is broken"
        if verbose:
            assert len(lines) == 20_012
        else:
            assert lines == [f"left out: {number}.jpg is broken" for number in range(10)] + ["small"] * 10 + [
                f"left out: 19990 more photos, see {Path('results', 'skipped.txt')}",
                "2 more remarks like these: --verbose prints all of them"]
