"""One notebook through papermill: every output redacted, the saved file whole and honest after any end.

It knows papermill, nbclient and nbformat. It does not know what a step is, what a run is, or where kernels come from.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nbformat as nbformat_
import papermill
from nbclient.exceptions import CellExecutionError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import ERROR_MARKER_TAG

from cgrunbook.redaction import mask_all, redact
from cgrunbook.run.early_end import MESSAGE
from cgrunbook.run.folder import write_whole
from cgrunbook.run.kernels import Kernel, Stop
from cgrunbook.run.record import ErrorRecord

_NAME = "cgrunbook"

nbformat: Any = nbformat_  # says that it is typed, and its functions are not

# papermill and nbclient report to a log what they also raise; nobody needs it twice on the terminal.
_log = logging.getLogger("cgrunbook.run.engine")
_log.addHandler(logging.NullHandler())


class _Stopped(Exception):
    """A wish to stop was heard between two cells."""


@dataclass(frozen=True)
class End:
    """How a notebook ended.

    Attributes:
        kind: `done`, or what stopped it: an error in a cell, a wish to stop, or the kernel's death.
        cell: the code cell that was at work, counted from 1 among the code cells; 0 for none.
        name: the error's class, when a cell raised one.
        text: the error's text, or how the kernel's process ended.
        raised: the error as fields, when it is one of ours.
    """

    kind: Literal["done", "error", "stopped", "kernel-died"]
    cell: int = 0
    name: str = ""
    text: str = ""
    raised: ErrorRecord | None = None


class Notebook:
    """One notebook that is executed once, and the file that it becomes.

    Args:
        source: the notebook's JSON data; it is left as it is.
        saved_as: where the executed notebook goes.
        shown_as: what the executed notebook says of where it comes from.
    """

    def __init__(self, source: Mapping[str, Any], saved_as: Path, shown_as: str) -> None:
        self._source = nbformat.reads(json.dumps(source), as_version=4)
        self._saved_as = saved_as
        self._shown_as = shown_as
        self.node: Any = None  # papermill's copy, once it executes

    def execute(self, parameters: Mapping[str, Any], kernel: Kernel, stop: Stop, cell_limit: float) -> End:
        """Run the cells in order until one fails, and keep the file up to date.

        Args:
            parameters: what papermill injects.
            kernel: a fresh one.
            stop: heard at any time.
            cell_limit: seconds that a cell may take.

        Returns:
            How it ended. Of errors in cells none is raised.

        Raises:
            StepFailed: the file cannot be written.
        """
        keeper = _Keeper(self, kernel, stop, cell_limit)
        died = ""
        stop.kernel = kernel
        try:
            papermill.execute_notebook(
                self._source,
                None,  # the file is written here: whole, redacted, and also after what papermill does not survive
                parameters=dict(parameters),
                engine_name=_NAME,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                keeper=keeper,
            )
        except PapermillExecutionError:
            pass  # known already from the cell itself
        except _Stopped:
            return End("stopped", keeper.cell)
        except RuntimeError:  # nbclient's DeadKernelError, or what it stumbled over when the kernel was gone
            died = kernel.how_it_ended()
            if not died:
                raise
        if stop.reason and (died or keeper.error):
            return End("stopped", keeper.cell)
        if died:
            return End("kernel-died", keeper.cell, text=died)
        if keeper.error:
            return End("error", keeper.cell, *keeper.error, keeper.raised)
        return End("done")

    def save(self, *, goes_on: bool = False) -> None:
        """Write the notebook as it is now, redacted.

        Args:
            goes_on: whether it will soon be written anew; Python's JSON takes a tenth of the time without line breaks.
        """
        self.node.metadata.papermill["input_path"] = self._shown_as
        self.node.metadata.papermill["output_path"] = self._saved_as.name
        written = nbformat.writes(nbformat.from_dict(mask_all(self.node)), indent=None if goes_on else 1)
        write_whole(self._saved_as, written + "\n")

    def put_banner(self, sentence: str, remedy: str = "") -> None:
        """Say at the top why the notebook did not come to its end, and mark the cell; then save.

        Args:
            sentence: what happened.
            remedy: what to do next.
        """
        cells = [cell for cell in self.node.cells if ERROR_MARKER_TAG not in cell.metadata.get("tags", [])]
        at = next((place for place, cell in enumerate(cells) if _status(cell) == "failed"), None)
        where = ""
        if at is not None:
            cells.insert(
                at, _marker('<p id="cgrunbook-stopped-here"><strong>The run stopped in the next cell.</strong></p>')
            )
            where = ' <a href="#cgrunbook-stopped-here">Go to the cell.</a>'
        what_to_do = f"<br><strong>What to do:</strong> {_as_html(remedy)}" if remedy else ""
        cells.insert(
            0,
            _marker(
                '<div style="border-left: 6px solid #b3261e; padding: 4px 12px">'
                f"<strong>This notebook did not run to its end.</strong> {_as_html(sentence)}{where}{what_to_do}</div>"
            ),
        )
        self.node.cells = cells
        self.save()


def _as_html(text: str) -> str:
    return html.escape(redact(text)).replace("\n", "<br>")


def _marker(source: str) -> Any:
    """A cell that papermill takes away again when the notebook is run once more."""
    return nbformat.v4.new_markdown_cell(source, metadata={"tags": [ERROR_MARKER_TAG]})


def _status(cell: Any) -> str:
    return str(cell.metadata.get("papermill", {}).get("status", ""))


class _Keeper(NotebookExecutionManager):  # type: ignore[misc] # papermill is untyped
    """Papermill's keeper of a notebook's state, saving through ours and calling nothing completed that was not."""

    def __init__(self, notebook: Notebook, kernel: Kernel, stop: Stop, cell_limit: float) -> None:
        # No saving in the middle of a cell: half a line of output could be half a secret.
        super().__init__(None, output_path=None, progress_bar=False, autosave_cell_every=0)
        self._notebook = notebook
        self.kernel = kernel
        self.stop = stop
        self.cell_limit = cell_limit
        self.cell = 0
        self.error: tuple[str, str] | None = None
        self.raised: ErrorRecord | None = None

    def take(self, nb: Any) -> None:
        """Begin with the notebook, whose parameters are in place by now."""
        self.nb = self._notebook.node = nb
        self.notebook_start()
        self._notebook.save(goes_on=True)

    def save(self, **_: Any) -> None:
        """Nothing: what papermill would write at a cell's end is written as the next one starts, at once."""

    def cell_start(self, cell: Any, cell_index: int | None = None, **rest: Any) -> None:
        if cell.cell_type == "code":
            if self.stop.reason:
                raise _Stopped
            self.cell += 1
            self.raised = None
            super().cell_start(cell, cell_index, **rest)
            self._notebook.save(goes_on=True)

    def cell_complete(self, cell: Any, cell_index: int | None = None, **rest: Any) -> None:
        if cell.cell_type != "code":
            cell.metadata.papermill["status"] = self.COMPLETED
        elif _status(cell) != self.PENDING:  # it is when a wish to stop came before it
            super().cell_complete(cell, cell_index, **rest)

    def cell_exception(self, cell: Any, cell_index: int | None = None, exception: Any = None, **rest: Any) -> None:
        super().cell_exception(cell, cell_index=cell_index, exception=exception, **rest)
        if isinstance(exception, CellExecutionError):
            self.error = (str(exception.ename), str(exception.evalue))

    def notebook_complete(self, **_: Any) -> None:
        """Write the end. papermill's own would call every cell completed that never began."""
        self.end_time = self.now()
        told = self.nb.metadata.papermill
        told["end_time"] = self.end_time.isoformat()
        told["duration"] = (self.end_time - self.start_time).total_seconds()
        self._notebook.save()


class _Client(PapermillNotebookClient):  # type: ignore[misc] # papermill is untyped
    """Papermill's client, hearing a wish to stop and redacting what a kernel says before it is kept."""

    def __init__(self, keeper: _Keeper) -> None:
        super().__init__(
            keeper,
            km=keeper.kernel.manager,
            log=_log,
            iopub_timeout=60,  # seconds that outputs may lag behind the reply; 4 is too few on a busy machine
            timeout=None,  # `Stop` keeps the time: it lets the step end by itself first
            store_widget_state=False,  # a Password widget's value would be in it
            coalesce_streams=True,
        )

    def execute_cell(self, cell: Any, cell_index: int, *rest: Any, **more: Any) -> Any:
        stop = self.nb_man.stop
        if cell.cell_type != "code":
            return cell
        stop.cell_sent(self.nb_man.cell_limit)
        try:
            return super().execute_cell(cell, cell_index, *rest, **more)
        except CellExecutionError:
            raise
        except Exception as error:
            self.nb_man.cell_exception(cell, cell_index=cell_index, exception=error)
            raise
        finally:
            stop.cell_ended()
            cell.outputs = [nbformat.from_dict(mask_all(output)) for output in cell.get("outputs", [])]

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] == MESSAGE:
            self.nb_man.raised = ErrorRecord.model_validate(msg["content"])
            return None
        if msg["msg_type"] == "execute_input":
            loop, channels = asyncio.get_running_loop(), self.kc
            self.nb_man.stop.cell_executes(lambda: loop.call_soon_threadsafe(channels.kernel_info))
        elif not msg["msg_type"].startswith(("comm", "stream")):  # a stream's parts are joined first
            msg["content"] = mask_all(msg["content"])
        return super().process_message(msg, cell, cell_index)

    def output(self, outs: list[Any], msg: dict[str, Any], display_id: str | None, cell_index: int) -> Any:
        """Join what belongs to one stream, so that the redactor sees a secret whole that came in two parts."""
        out = super().output(outs, msg, display_id, cell_index)
        if out and len(outs) > 1 and out.get("name") and out["name"] == outs[-2].get("name"):
            outs[-2]["text"] += outs.pop()["text"]
        return out


class _Engine(NBClientEngine):  # type: ignore[misc] # papermill is untyped
    """What papermill calls with a notebook whose parameters are in place."""

    @classmethod
    def execute_notebook(cls, nb: Any, _: str, *, keeper: _Keeper, **__: Any) -> Any:
        keeper.take(nb)
        client = _Client(keeper)
        try:
            client.execute()
        finally:
            if client.kc is not None:
                client.kc.stop_channels()
            keeper.notebook_complete()
        return keeper.nb


papermill_engines.register(_NAME, _Engine)
