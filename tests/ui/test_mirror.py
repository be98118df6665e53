"""What a cell shows, kept as a page keeps it."""

from __future__ import annotations

from cgrunbook.ui.mirror import STREAM_CHARACTERS, _Cell


def display(text: str, name: str = "") -> dict[str, object]:
    return {"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": name} if name else {}}


def texts(cell: _Cell) -> list[str]:
    return [output["content"]["data"]["text/plain"] for output in cell.said()["outputs"]]


def test_what_is_cleared_goes_as_the_next_comes_and_what_is_updated_changes_in_its_place():
    cell = _Cell("request")
    cell.hear("execute_input", {"execution_count": 3})
    cell.hear("display_data", display("working", "card"))
    cell.hear("display_data", display("buttons"))
    cell.hear("clear_output", {"wait": True})
    assert texts(cell) == ["working", "buttons"]
    cell.hear("display_data", display("again", "card"))
    cell.update(display("done", "card"))
    assert texts(cell) == ["done"]
    cell.hear("clear_output", {"wait": False})
    assert texts(cell) == []
    assert cell.said() == {"request": "request", "count": 3, "outputs": [], "ended": False}
    cell.hear("status", {"execution_state": "idle"})
    assert cell.said()["ended"]


def test_what_a_cell_writes_on_and_on_is_one_output_with_a_bound():
    cell = _Cell("request")
    for number in range(2000):
        cell.hear("stream", {"name": "stdout", "text": f"{number:0999}\n"})
    cell.hear("stream", {"name": "stderr", "text": "warned\n"})
    written, warned = (output["content"]["text"] for output in cell.said()["outputs"])
    assert len(written) == STREAM_CHARACTERS
    assert written.endswith("1999\n")
    assert warned == "warned\n"
