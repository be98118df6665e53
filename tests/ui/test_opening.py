"""The opening cell: when the form waits, what it saves, and how a notebook is pointed at another target."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

import cgrunbook
from cgrunbook import steps
from cgrunbook.errors import Interrupted, NotSignedIn, ParameterError, StepFailed, UsageError
from cgrunbook.steps.step import Evidence, Proof, Section, World
from cgrunbook.ui import notebook as notebook_
from cgrunbook.ui import presence, values
from cgrunbook.ui.notebook import Opening, open_notebook
from tests.sandboxes import sandbox_home
from tests.ui.pages import Page, error_at, open_page, until, words


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sandbox_home(tmp_path_factory.mktemp("cgrunbook")) as home:
        yield home


@pytest.fixture(autouse=True)
def in_a_folder(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    (home / "parameters.json").unlink(missing_ok=True)


@pytest.fixture
def page() -> Iterator[Page]:
    with open_page() as page:
        yield page


def namespace(**edited):
    names = ("target", "mode", "project_id", "location", "repository", "confirm")
    return {name: values.default(name) for name in names} | edited


async def waits(opening):
    await until(lambda: opening._chosen is not None and not opening._chosen.done())


def test_it_waits_when_nothing_was_ever_confirmed_and_then_saves(page):
    async def story():
        notebook = namespace()
        opening = Opening("02", notebook)
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        assert "waits for you" in page.texts[0]
        assert page.widgets == 1
        opening.form.fields["location"].control.value = "europe-west1"
        opening.form.use.click()
        book = await opened
        assert notebook["location"] == "europe-west1"
        assert book.target["location"] == "europe-west1"
        assert words(opening.form.status) == "Saved, and in use."
        return book

    asyncio.run(story())
    assert page.texts[0].startswith("▸ 02: works on the sandbox")
    assert page.widgets == 1
    saved = values.read_saved()
    assert saved is not None
    assert saved.of("sandbox") == {"location": "europe-west1"}


def test_a_second_run_asks_nothing_and_has_what_was_saved(page):
    values.save({"target": "sandbox", "location": "europe-west1"})

    async def story():
        notebook = namespace()
        book = await asyncio.wait_for(Opening("03", notebook).run(), 30)
        return book, notebook

    book, notebook = asyncio.run(story())
    assert notebook["location"] == book.target["location"] == "europe-west1"
    assert "  location: europe-west1 (saved)" in page.outputs[0]["text/plain"].splitlines()
    assert "  project_id: cgrunbook-sandbox (sandbox)" in page.outputs[0]["text/plain"].splitlines()


def test_where_no_page_draws_the_form_it_says_at_once_how_to_go_on_and_ends(page, monkeypatch):
    monkeypatch.setattr(presence, "UNSEEN_SECONDS", 0.0)

    async def story():
        await Opening("02_developer_images", namespace(location="europe-west1", description="my text")).run()

    with pytest.raises(UsageError, match="shows nothing to click") as ended:
        asyncio.run(story())
    way_on = "cgrunbook run 02_developer_images -p location europe-west1 -p description 'my text'"
    assert way_on in page.outputs[-1]["text/plain"]
    assert way_on in ended.value.remedy
    assert "allow_stdin=False" in ended.value.remedy
    assert values.read_saved() is None


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        ({"location": "Mars"}, "location: must be a location"),
        ({"labels": ["Upper=x"]}, "labels: 'Upper=x' must be key=value"),
        ({"rotation_topic": "projects/p/topics/abc"}, "rotation_period is missing"),
    ],
)
def test_where_no_page_draws_the_form_a_value_that_breaks_its_rule_is_named_and_no_command_has_it(
    page, monkeypatch, told, wrong
):
    monkeypatch.setattr(presence, "UNSEEN_SECONDS", 0.0)

    async def story():
        await Opening("03_production_images", namespace(**told)).run()

    with pytest.raises(ParameterError, match=wrong) as ended:
        asyncio.run(story())
    for said in (ended.value.remedy, page.outputs[-1]["text/plain"]):
        assert "cgrunbook run" not in said
        assert "JupyterLab" in said


def test_where_no_page_draws_the_buttons_a_plan_is_not_approved_and_the_step_ends(page, monkeypatch):
    monkeypatch.setattr(presence, "UNSEEN_SECONDS", 0.0)
    values.save({"target": "sandbox"})
    step = steps.EnableApi(steps.SECRET_MANAGER)

    async def story():
        book = await Opening("03_production_images", namespace()).run()
        with pytest.raises(UsageError, match="shows nothing to click"):
            await book.perform(step)
        return book

    book = asyncio.run(story())
    assert book.session.results[0].outcome == "failed"
    assert not book.cloud.project.api_enabled(steps.SECRET_MANAGER)


def test_a_page_that_draws_the_form_is_waited_for_however_long(page, monkeypatch):
    monkeypatch.setattr(presence, "UNSEEN_SECONDS", 60.0)

    async def story():
        opening = Opening("02", namespace())
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        opening._presence.widgets[0].children[0].click()  # what the markup beside it does as it is drawn
        monkeypatch.setattr(presence, "UNSEEN_SECONDS", 0.0)
        await asyncio.sleep(0)
        opening.form.use.click()
        return await opened

    assert asyncio.run(story()).target["target"] == "sandbox"


def test_a_page_that_names_its_cells_is_told_nothing_of_consoles(page, monkeypatch):
    monkeypatch.setattr(presence, "names_a_cell", lambda _: True)
    monkeypatch.setattr(presence, "UNSEEN_SECONDS", 0.0)

    async def story():
        opening = Opening("02", namespace())
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        assert page.outputs[-1]["text/plain"] == "A form, where the notebook runs."
        opening.form.use.click()
        return await opened

    assert asyncio.run(story()).target["target"] == "sandbox"


def test_a_mistyped_name_ends_the_opening_cell_and_asks_for_no_click(page, monkeypatch):
    monkeypatch.setattr(notebook_, "somebody_can_click", lambda _: True)
    with pytest.raises(ParameterError, match="Did you mean 'mode'"):
        asyncio.run(open_notebook("02_developer_images", namespace(mod="plan")))


def test_it_waits_when_a_value_breaks_its_rule_although_everything_was_confirmed_once(page):
    values.save({"target": "sandbox"})

    async def story():
        opening = Opening("02", namespace(location="US Central"))
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        assert "correct the form below" in page.texts[0]
        opening.form.use.click()
        assert not opened.done()
        opening.form.fields["location"].control.value = "us-central1"
        opening.form.use.click()
        return await opened

    assert asyncio.run(story()).target["location"] == "us-central1"


def test_a_value_that_only_the_target_refuses_is_corrected_in_the_form(page):
    values.save({"target": "sandbox"})

    async def story():
        opening = Opening("02", namespace(location="moon-north1"))
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        assert "the sandbox plays no moon-north1-docker.pkg.dev" in error_at(opening.form, "location")
        assert "has not begun" in page.texts[0]
        opening.form.fields["location"].control.value = "us-central1"
        opening.form.use.click()
        return await opened

    assert asyncio.run(story()).target["location"] == "us-central1"


def test_google_cloud_without_a_project_waits_for_one(page):
    values.save({"target": "sandbox"})

    async def story():
        opening = Opening("02", namespace(target="google-cloud"))
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        assert "must be given" in error_at(opening.form, "project_id")
        opening.form.fields["target"].control.value = "sandbox"
        opening.form.use.click()
        return await opened

    assert asyncio.run(story()).target["target"] == "sandbox"


def test_an_interrupt_while_it_waits_leaves_a_card_that_says_so(page):
    async def story():
        opening = Opening("02", namespace())
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        opened.cancel()
        with pytest.raises(Interrupted):
            await opened
        assert "was interrupted before its values were confirmed: run this cell again" in page.texts[0]
        assert values.read_saved() is None
        return opening

    asyncio.run(story())


def test_after_an_interrupt_the_forms_button_begins_in_the_place_of_the_cell(page):
    async def story():
        notebook = namespace() | {"In": ["mine = await open_notebook('02', globals())"]}
        opening = Opening("02", notebook)
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        opened.cancel()
        with pytest.raises(Interrupted):
            await opened
        assert "Interrupted before" in words(opening.form.status)
        opening.form.use.click()
        await until(lambda: "mine" in notebook)
        assert words(opening.form.status) == "Saved, and in use. Run the cells below."
        await notebook["mine"].perform(Look())
        await use(opening, location="europe-west1")
        assert notebook["mine"].target["location"] == "europe-west1"

    asyncio.run(story())
    assert page.texts[0].startswith("▸ 02: works on the sandbox")


def test_an_interrupt_while_it_connects_leaves_a_form_that_works(page, monkeypatch):
    values.save({"target": "sandbox"})
    connecting, going_on = asyncio.Event(), asyncio.Event()

    async def slow(self, chosen):
        connecting.set()
        await going_on.wait()
        return await of_old(self, chosen)

    of_old = Opening._open
    monkeypatch.setattr(Opening, "_open", slow)

    async def story():
        notebook = namespace()
        opening = Opening("02", notebook)
        opened = asyncio.ensure_future(opening.run())
        await connecting.wait()
        opened.cancel()
        with pytest.raises(Interrupted):
            await opened
        going_on.set()
        opening.form.use.click()
        await until(lambda: "book" in notebook)

    asyncio.run(story())


def test_credentials_that_are_missing_are_said_and_the_same_cell_goes_on_once_that_is_put_right(page):
    async def story():
        opening = Opening("02", namespace())
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        opening.form.fields["target"].control.value = "google-cloud"
        opening.form.fields["project_id"].control.value = "my-project"
        opening.form.use.click()
        await until(lambda: "Error" in words(opening.form.status))
        assert "There are no application default credentials" in words(opening.form.status)
        assert "What to do: Sign in: gcloud auth" in words(opening.form.status)
        assert "waits for you" not in page.texts[0]
        assert "has not begun: put right what the form says, and press 'Use these values'" in page.texts[0]
        assert not opened.done()
        await waits(opening)
        opening.form.fields["target"].control.value = "sandbox"
        assert opening.form.fields["project_id"].text == "", "a project is of one target"
        opening.form.use.click()
        return await opened

    assert asyncio.run(story()).target["target"] == "sandbox"
    saved = values.read_saved()
    assert saved is not None
    assert saved.of("google-cloud") == {}


def test_a_target_that_cannot_be_reached_at_first_is_no_end_but_a_form_that_says_so(page):
    values.save({"target": "google-cloud", "project_id": "my-project"})

    async def story():
        opening = Opening("02", namespace())
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        assert "There are no application default credentials" in words(opening.form.status)
        assert page.texts[0].startswith("▸ 02: has not begun")
        opening.form.fields["target"].control.value = "sandbox"
        opening.form.use.click()
        return await opened

    assert asyncio.run(story()).target["project_id"] == "cgrunbook-sandbox"


def test_where_no_page_draws_the_form_a_target_that_cannot_be_reached_is_what_ends_the_cell(page, monkeypatch):
    monkeypatch.setattr(presence, "UNSEEN_SECONDS", 0.0)
    values.save({"target": "google-cloud", "project_id": "my-project"})

    async def story():
        await Opening("02", namespace()).run()

    with pytest.raises(NotSignedIn, match="no application default credentials"):
        asyncio.run(story())


def test_back_to_the_defaults_forgets_what_was_saved_of_this_target_alone_and_only_when_it_is_used(page):
    values.save({"target": "google-cloud", "project_id": "my-project", "location": "europe-west1"})
    values.save({"target": "sandbox", "location": "europe-west1", "secret_id": "of-another-notebook"})

    async def story():
        opening = Opening("02", namespace())
        book = await opening.run()
        assert "Saved so far: Location, Secret." in words(opening.form.kept)
        opening.form.defaults.click()
        kept = values.read_saved()
        assert kept is not None
        assert kept.of("sandbox") != {}
        assert book.target["location"] == "europe-west1"
        await use(opening)
        assert book.target["location"] == "us-central1"
        assert "Saved so far: only the defaults." in words(opening.form.kept)

    asyncio.run(story())
    saved = values.read_saved()
    assert saved is not None
    assert saved.of("sandbox") == {}
    assert saved.of("google-cloud") == {"project_id": "my-project", "location": "europe-west1"}


def test_what_was_saved_and_cannot_be_read_is_said_and_keeps_nobody(page, home):
    (home / "parameters.json").write_text('{"target": 1')

    async def story():
        opening = Opening("02", namespace())
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        assert "What was saved before is not taken" in words(opening.form.kept)
        opening.form.use.click()
        await opened
        assert "Saved so far" in words(opening.form.kept)

    asyncio.run(story())
    assert values.read_saved() is not None


def test_a_length_of_time_is_one_truth_however_it_is_written(page):
    values.save({"target": "sandbox"})

    async def story():
        notebook = namespace() | {"token_ttl": "30d", "rotation_period": "", "rotation_topic": ""}
        opening = Opening("03", notebook)
        book = await opening.run()
        await book.perform(Look())
        await use(opening, token_ttl="720h", rotation_period="1w", rotation_topic="projects/p/topics/told")
        await book.perform(Look())
        assert (book.params.token_ttl, book.params.rotation_period) == ("720h", "168h")

    asyncio.run(story())


def test_values_changed_later_point_the_same_book_at_another_target_and_into_another_run(page):
    values.save({"target": "sandbox"})

    async def story():
        notebook = namespace()
        opening = Opening("02", notebook)
        book = await opening.run()
        folder = book.folder
        opening.form.fields["location"].control.value = "europe-west1"
        opening.form.use.click()
        opening.form.use.click()
        await until(lambda: "Run the cells below again" in words(opening.form.status))
        assert book.target["location"] == notebook["location"] == "europe-west1"
        assert book.folder != folder

    asyncio.run(story())
    assert "  location: europe-west1 (saved)" in page.outputs[0]["text/plain"].splitlines()
    saved = values.read_saved()
    assert saved is not None
    assert saved.of("sandbox") == {"location": "europe-west1"}


def test_values_that_the_target_refuses_later_leave_everything_as_it_was(page):
    values.save({"target": "sandbox"})

    async def story():
        notebook = namespace()
        opening = Opening("02", notebook)
        book = await opening.run()
        opening.form.fields["location"].control.value = "moon-north1"
        opening.form.use.click()
        await until(lambda: "Error" in words(opening.form.status))
        assert book.target["location"] == notebook["location"] == "us-central1"
        assert not opening.form.use.disabled

    asyncio.run(story())
    assert values.read_saved() == values.Saved(target="sandbox", values={"sandbox": {}})


def test_nothing_is_changed_under_a_step_at_work(page):
    values.save({"target": "sandbox"})

    async def story():
        opening = Opening("02", namespace())
        book = await opening.run()
        async with book._alone:
            opening.form.fields["location"].control.value = "europe-west1"
            opening.form.use.click()
            await until(lambda: "a step is at work" in words(opening.form.status))
        assert book.target["location"] == "us-central1"

    asyncio.run(story())


class Look(Proof):
    """Sees nothing wrong."""

    section: ClassVar = Section.PREREQUISITES
    why: ClassVar = "To see."
    title = "Look"

    def verify(self, world: World) -> Evidence:
        return Evidence("seen")


async def use(opening, **chosen):
    """Fill in the form and press its button, once the cell has ended."""
    for name, value in chosen.items():
        opening.form.fields[name].control.value = value
    opening.form.use.click()
    await until(lambda: "Run the cells below again" in words(opening.form.status))


def test_a_value_used_in_the_form_and_the_cell_run_again_are_two_truths_until_either_is_taken(page):
    values.save({"target": "sandbox"})

    async def story():
        notebook = namespace()
        opening = Opening("06", notebook)
        book = await opening.run()
        await use(opening, confirm="chainguard-pull-through")
        await book.perform(Look())
        notebook |= namespace()  # the cell of parameters is run again
        with pytest.raises(ParameterError) as raised:
            await book.perform(Look())
        assert raised.value.message == (
            "confirm: the notebook's variable is '', while the form's 'chainguard-pull-through' is in use."
        )
        assert "Use these values" in raised.value.remedy
        assert "run the opening cell (open_notebook) again" in raised.value.remedy
        opening.form.use.click()
        await until(lambda: notebook["confirm"])
        await until(lambda: "Run the cells below again" in words(opening.form.status))
        await book.perform(Look())
        assert book.params.confirm == "chainguard-pull-through"
        notebook |= namespace()
        again = Opening("06", notebook)
        await (await again.run()).perform(Look())
        assert again.form.fields["confirm"].text == ""

    asyncio.run(story())


def test_a_cell_edited_after_the_notebook_was_opened_counts_when_it_is_opened_again_and_not_before(page):
    values.save({"target": "sandbox"})

    async def story():
        notebook = namespace()
        book = await Opening("02", notebook).run()
        notebook["repository"] = "edited"
        with pytest.raises(ParameterError, match="repository: the notebook's variable is 'edited'"):
            await book.perform(Look())
        book = await Opening("02", notebook).run()
        await book.perform(Look())
        assert book.params.repository == "edited"

    asyncio.run(story())


def test_what_was_typed_into_the_form_and_not_used_is_not_passed_over(page):
    values.save({"target": "sandbox"})

    async def story():
        opening = Opening("06", namespace())
        book = await opening.run()
        opening.form.fields["confirm"].control.value = "chainguard-pull-through"
        with pytest.raises(
            ParameterError, match="confirm: the form shows 'chainguard-pull-through', while '' is in use"
        ):
            await book.perform(Look())
        opening.form.fields["confirm"].control.value = ""
        await book.perform(Look())

    asyncio.run(story())


def test_values_of_the_form_are_no_second_truth_by_being_written_differently(page):
    values.save({"target": "sandbox"})

    async def story():
        notebook = namespace(developer_images=["chainguard/go"], upstream="https://cgr.dev")
        opening = Opening("02", notebook)
        book = await opening.run()
        await book.perform(Look())
        await use(opening, developer_images="chainguard/go , chainguard/node:latest")
        await book.perform(Look())
        assert book.params.developer_images == ["chainguard/go:latest", "chainguard/node:latest"]

    asyncio.run(story())


def test_a_file_that_cannot_be_written_is_said_and_keeps_nobody(page, monkeypatch):
    def full(*_, **__):
        raise StepFailed("parameters.json cannot be written: No space left on device.", "Make room.")

    monkeypatch.setattr(values, "save", full)

    async def story():
        opening = Opening("02", namespace())
        opened = asyncio.ensure_future(opening.run())
        await waits(opening)
        opening.form.use.click()
        await opened
        assert words(opening.form.status) == "In use, and not saved: see below."
        assert "Not saved for other notebooks: parameters.json cannot be written: No space left" in words(
            opening.form.kept
        )

    asyncio.run(story())


def test_with_nobody_in_front_there_is_a_table_and_no_form(page, monkeypatch):
    values.save({"target": "sandbox", "location": "europe-west1"})
    monkeypatch.setattr(notebook_, "somebody_can_click", lambda _: False)
    notebook = namespace(repository="edited") | {"In": ["# Parameters\nmode = 'plan'\n"], "mode": "plan"}
    book = asyncio.run(open_notebook("02", notebook))
    assert book.target["location"] == "us-central1"
    assert page.widgets == 0
    [table] = page.outputs
    lines = table["text/plain"].splitlines()
    assert "  mode: plan (given)" in lines
    assert "  repository: edited (this cell)" in lines
    assert "  location: us-central1 (default)" in lines
    assert "<style" not in table["text/html"]


@pytest.mark.parametrize("version", ["0.0", "0.2", "1.1"])
@pytest.mark.parametrize("somebody", [True, False])
def test_a_notebook_of_another_version_ends_before_anything_is_looked_at(page, monkeypatch, version, somebody):
    monkeypatch.setattr(cgrunbook, "__version__", "0.1.3")
    monkeypatch.setattr(notebook_, "somebody_can_click", lambda _: somebody)
    monkeypatch.setattr(notebook_, "open_runbook", None)
    monkeypatch.setattr(notebook_, "Opening", None)
    with pytest.raises(
        UsageError, match=f"written for cgrunbook {version}, and this kernel has cgrunbook 0.1.3"
    ) as other:
        asyncio.run(open_notebook("02", namespace(), version=version))
    assert "cgrunbook notebooks copy" in other.value.remedy
    assert page.outputs == []


def test_a_notebook_of_this_version_and_one_of_somebodys_own_are_opened(page, monkeypatch):
    monkeypatch.setattr(notebook_, "somebody_can_click", lambda _: False)
    for version in (".".join(cgrunbook.__version__.split(".")[:2]), ""):
        assert asyncio.run(open_notebook("02", namespace(), version=version))
