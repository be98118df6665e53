"""How soon a step is called after the click on Approve, against the echo of a bare Button in the same page.

The echo is what any widget costs: from the click to the changed text on the page. Ours is from the click to the moment
at which the step's `apply` is called in the kernel: the approval is journaled, the world read again and the intent
journaled in between. Both buttons belong to one kernel whose cell waits, and are clicked in turn. It prints medians and
their ratio; the goal is at most 1.2.

    python -m tests.benchmarks.click_to_call [ROUNDS]
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat

from tests.browser.jupyterlab import running_lab
from tests.browser.notebook_page import NotebookPage
from tests.sandboxes import sandbox_home

ECHO = """
import ipywidgets
button, label = ipywidgets.Button(description="echo"), ipywidgets.Label("0")
button.add_class("bench-button"); label.add_class("bench-label")
button.on_click(lambda _: setattr(label, "value", str(int(label.value) + 1)))
ipywidgets.VBox([button, label])
"""

OPEN = """
target, mode, project_id, location = "sandbox", "apply", "", "us-central1"
from cgrunbook import open_notebook
book = await open_notebook("benchmark", globals())
"""

STEPS = """
import time
from cgrunbook.steps.step import Change, Evidence, Outcome, Plan, Section, Step

class Tick(Step):
    section, why, title = Section.PREREQUISITES, "To be timed.", "Tick"
    done = False
    def plan(self, world):
        return Plan() if self.done else Plan(Outcome.UPDATED, (Change("clock", "hand", 1, 2),), ("true",))
    def apply(self, world, plan):
        called, self.done = time.time(), True
        with open(CALLS, "a") as file:
            file.write(f"{called!r}\\n")
    def verify(self, world):
        return Evidence("ticked")

for _ in range(ROUNDS):
    await book.perform(Tick())
"""

# The click and the clock are the page's own, so that the driver's way to the browser is not measured.
CLICK = """(selector) => {
  const clicked = performance.timeOrigin + performance.now();
  document.querySelector(selector).click();
  return clicked / 1000;
}"""

CLICK_AND_HEAR = """() => new Promise((resolve) => {
  const label = document.querySelector('.bench-label');
  const begun = performance.now();
  new MutationObserver((_, observer) => { observer.disconnect(); resolve((performance.now() - begun) / 1000); })
    .observe(label, { childList: true, characterData: true, subtree: true });
  document.querySelector('.bench-button').click();
})"""

APPROVE = "button.cgrunbook-approve:not([disabled])"


def write_notebook(path: Path, calls: Path, rounds: int) -> None:
    """The notebook with both buttons."""
    steps = STEPS.replace("CALLS", repr(str(calls))).replace("ROUNDS", str(rounds))
    cells = [nbformat.v4.new_code_cell(source) for source in (ECHO, OPEN, steps)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


def call_after(calls: Path, before: int) -> float:
    """Wait for the next line of the file that the step writes; answers the time that it holds."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        lines = calls.read_text().splitlines() if calls.exists() else []
        if len(lines) > before:
            return float(lines[before])
        time.sleep(0.005)
    sys.exit("the step was not called within a minute of the click")


def measure(page: Any, calls: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Click both in turn; answers the seconds of each."""
    ours, echoes = [], []
    for number in range(rounds):
        page.wait_for_selector(APPROVE, timeout=60_000)
        page.wait_for_timeout(300)  # what was drawn for the last round is on the page
        echoes.append(page.evaluate(CLICK_AND_HEAR))
        page.wait_for_timeout(300)
        clicked = page.evaluate(CLICK, APPROVE)
        ours.append(call_after(calls, number) - clicked)
        # The button that was clicked must not be taken for that of the next question.
        page.wait_for_function("selector => !document.querySelector(selector)", arg=APPROVE, timeout=60_000)
    return ours[1:], echoes[1:]  # the first ones import what the others have


def main(rounds: int) -> int:
    """Measure, and print a table; 2 when there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("chromium is not installed", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory(prefix="cgrunbook-bench-") as name,
        sandbox_home(Path(name, "home")) as home,
        running_lab(Path(name, "lab")) as lab,
        sync_playwright() as playwright,
    ):
        (home / "parameters.json").write_text('{"target": "sandbox"}')
        calls, path = Path(name, "calls"), lab.root / "benchmark.ipynb"
        write_notebook(path, calls, rounds + 1)
        arguments = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        notebook = NotebookPage(page, lab, path, "benchmark", lambda _, name: Path(name)).open()
        notebook.run_all()
        ours, echoes = measure(page, calls, rounds + 1)
        notebook.until_done()
        browser.close()
    our, echo = statistics.median(ours), statistics.median(echoes)
    print(f"click on Approve to the step's call     {our * 1000:7.1f} ms  (median of {rounds})")
    print(f"click on a bare Button to its echo      {echo * 1000:7.1f} ms")
    print(f"ratio                                   {our / echo:7.2f}     (goal: at most 1.2)")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
