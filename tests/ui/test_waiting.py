"""What the page is told of a widget's message that comes while a cell runs. The browser tests type into such a form."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cgrunbook.ui.waiting import acknowledge_widgets


class Kernel:
    iopub_socket = "iopub"

    def __init__(self, handle) -> None:
        self.sent: list[tuple[object, ...]] = []
        self.shell_handlers = {"comm_msg": handle}
        self.session = SimpleNamespace(send=lambda *what, parent: self.sent.append((*what, parent)))

    def get(self, method: str) -> dict[str, object]:
        message: dict[str, object] = {"content": {"comm_id": "c", "data": {"method": method}}}
        self.shell_handlers["comm_msg"](None, [], message)
        return message


def test_a_change_is_handled_then_ended_with_its_own_status():
    order: list[str] = []
    kernel: Kernel = Kernel(lambda *_: order.append(f"handled, {len(kernel.sent)} sent"))
    acknowledge_widgets(kernel)
    message = kernel.get("update")
    assert order == ["handled, 0 sent"]
    assert kernel.sent == [("iopub", "status", {"execution_state": "idle"}, message)]


def test_a_change_that_could_not_be_handled_is_ended_too():
    def fail(*_):
        raise ValueError("broken")

    kernel = Kernel(fail)
    acknowledge_widgets(kernel)
    with pytest.raises(ValueError, match="broken"):
        kernel.get("update")
    assert len(kernel.sent) == 1


def test_a_click_is_left_alone_and_asking_twice_acknowledges_once():
    kernel = Kernel(lambda *_: None)
    acknowledge_widgets(kernel)
    acknowledge_widgets(kernel)
    kernel.get("custom")
    assert kernel.sent == []
    kernel.get("update")
    assert len(kernel.sent) == 1


def test_where_there_is_no_kernel_there_is_nothing_to_do():
    acknowledge_widgets(None)
    acknowledge_widgets(SimpleNamespace())
