"""Bad values end before any call, with the parameter, the value, the rule and an example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook import parameters
from cgrunbook.errors import ParameterError
from cgrunbook.parameters import Way
from tests.notebooks.parameter_cells import notebook_cell, notebook_line


def refused(way=None, **values):
    with pytest.raises(ParameterError) as caught:
        parameters.check(values, way=(lambda _: way) if way else None)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_nothing_given_is_the_guide_on_the_sandbox():
    params = parameters.check({})
    assert (params.target, params.mode, params.location) == ("sandbox", "apply", "us-central1")
    assert (params.repository, params.private_repository) == ("chainguard-pull-through", "chainguard-private")
    assert (params.secret_id, params.upstream) == ("chainguard-pull-token", "https://cgr.dev/")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("target", "aws", "must be 'sandbox' or 'google-cloud'"),
        ("mode", "apply it", "must be 'apply' or 'plan'"),
        ("project_id", "123456789012", "not its number"),
        ("project_id", "My Project", "must be a project id"),
        ("project_id", "ab", "6 to 30"),
        ("location", "us central", "us-central1"),
        ("location", "", "must not be empty"),
        ("location", "us-central1/../x", "us-central1"),
        ("repository", "Chainguard", "lower-case"),
        ("repository", "chainguard-", "not end with a hyphen"),
        ("repository", "a" * 64, "at most 63"),
        ("repository", "", "must not be empty"),
        ("private_repository", "a/b", "lower-case"),
        ("secret_id", "pull token", "letters, digits, _ and -"),
        ("secret_id", "x" * 256, "at most 255"),
        ("organization", "https://example.com", "example.com"),
        ("organization", "Example.com", "cgr.dev/NAME"),
        ("upstream", "https://cgr.dev/chainguard", "no path behind it"),
        ("upstream", "http://cgr.dev/", "https"),
        ("upstream", "cgr.dev", "must be exactly https://cgr.dev/"),
        ("upstream", "https://cgr.dev.example.com/", "must be exactly https://cgr.dev/"),
        ("upstream", "https://user:word@cgr.dev/", "must be exactly https://cgr.dev/"),
        ("developer_images", ["cgr.dev/chainguard/go:latest"], "names a registry"),
        ("developer_images", ["us-central1-docker.pkg.dev/p/r/chainguard/go"], "names a registry"),
        ("developer_images", ["go"], "chainguard/go"),
        ("developer_images", [], "at least one"),
        ("developer_images", ["chainguard/Go:latest"], "lower-case"),
        ("production_images", ["example.com/chainguard-base"], "must be the image alone"),
        ("production_images", ["chainguard-base:la test"], "tag"),
        ("platform", "amd64", "OS/ARCHITECTURE"),
        ("token_ttl", "30d", "720h"),
        ("token_ttl", "", "720h"),
        ("token_ttl", "10s", "a minute at least"),
        ("token_ttl", "8761h", "at most 8760h"),
        ("token_ttl", "9" * 400 + "h", "at most 8760h"),
        ("labels", ["team"], "key=value"),
        ("labels", ["Team=x"], "lower-case"),
        ("labels", ["team=a", "team=b"], "twice there: team"),
        ("labels", ["managed-by=me"], "managed-by"),
        ("labels", [f"k{n}=v" for n in range(64)], "at most 63 labels"),
        ("secret_locations", ["us"], "must be a region"),
        ("secret_locations", ["us-east1", "us-east1"], "twice there: us-east1"),
        ("secret_expires_after", "99999999h", "a hundred years"),
        ("rotation_period", "30m", "at least 1h"),
        ("rotation_topic", "projects/p/topics/t", "3 to 255"),
        ("rotation_topic", "projects/p/topics/googly", "not with goog"),
        ("cleanup_older_than", "99999999h", "a hundred years"),
        ("kms_key_name", "my-key", "projects/P/locations/L/keyRings/R/cryptoKeys/K"),
        ("cleanup_older_than", "30d", "no unit for days"),
        ("cleanup_keep", -1, "at least 0"),
        ("vulnerability_scanning", "on", "inherited"),
        ("docker_login", "always", "auto"),
        ("rotation_topic", "topic", "projects/P/topics/T"),
        ("description", "two\nlines", "one line"),
        ("wait_limit", 0, "at least 1"),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_by_name(name, value, said):
    message = refused(**{name: value})
    assert message.startswith(f"{name} is ")
    assert said in message


def test_all_that_is_wrong_is_said_at_once():
    message = refused(location="us central", repository="X", token_ttl="1d")
    assert [line.split(" is ")[0] for line in message.splitlines()] == ["location", "repository", "token_ttl"]


def test_a_notice_without_its_topic_is_refused():
    assert "rotation_topic is missing" in refused(rotation_period="600h")


def test_a_key_of_another_location_than_the_repositorys_is_refused():
    key = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"
    assert "kms_key_name is a key in europe-west1, and location is us-central1" in refused(kms_key_name=key)
    assert parameters.check({"kms_key_name": key, "location": "europe-west1"}).kms_key_name == key


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("repositry", "repository"),
        ("projectid", "project_id"),
        ("ttl", "token_ttl"),
        ("region", "location"),
        ("Location", "location"),
        ("project-id", "project_id"),
        ("developerImages", "developer_images"),
        ("dry_run", "mode"),
        ("repo", "repository"),
        ("gcp_project", "project_id"),
        ("zone", "location"),
        ("kms_key", "kms_key_name"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_one(typo, meant):
    assert f"Did you mean '{meant}'?" in refused(**{typo: "x"})


def test_a_name_that_another_notebook_has_is_suggested_before_one_that_is_less_like_it():
    with pytest.raises(ParameterError) as caught:
        parameters.check({"organisation": "x"}, among=["target", "location", "repository"])
    assert "Did you mean 'organization'? It is a parameter of other notebooks" in caught.value.message


def test_a_name_like_none_is_answered_with_all():
    assert "The parameters are: target, mode" in refused(zzz="x")


@pytest.mark.parametrize("value", [1.2, 20240708, True, None, ["x"]])
def test_a_value_that_papermill_turned_into_another_type_is_refused(value):
    message = refused(Way.PAPERMILL, repository=value)
    assert "must be str" in message
    assert "papermill -r repository chainguard-pull-through" in message


@pytest.mark.parametrize(
    ("way", "name", "value", "advice"),
    [
        (Way.OPTION, "location", "x y", "Give it as: -p location us-central1"),
        (Way.OPTION, "docker_pull", 1, "Give it as: -p docker_pull true"),
        (Way.OPTION, "labels", ["Team=x"], "Give it as: -p labels team=platform"),
        (Way.PAPERMILL, "project_id", 12345, "papermill -r project_id my-project, for its -p makes a number"),
        (
            Way.PAPERMILL,
            "cleanup_keep",
            "many",
            "papermill -p cleanup_keep 1; in the injected cell as: cleanup_keep = 1",
        ),
        (Way.PAPERMILL, "docker_pull", "yes", "papermill -p docker_pull true"),
        (Way.PAPERMILL, "labels", "team=a", "papermill -y 'labels: [\"team=platform\"]'"),
        (Way.CELL, "labels", "team=a", 'as: labels = ["team=platform"]'),
        (Way.CELL, "docker_pull", "true", "as: docker_pull = True"),
        (Way.CELL, "location", None, 'as: location = "us-central1"'),
    ],
)
def test_the_advice_is_for_the_way_that_the_value_came(way, name, value, advice):
    said = refused(way, **{name: value})
    assert advice in said
    assert said.count("papermill") == advice.count("papermill")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("target", "google_cloud", "did you mean 'google-cloud'?"),
        ("mode", "Plan", "did you mean 'plan'?"),
        ("vulnerability_scanning", "inherit", "did you mean 'inherited'?"),
        ("location", '"us-east1"', "it has quotes that belong to it"),
        ("project_id", "my-project\n", "there is white space around it"),
    ],
)
def test_a_value_that_is_nearly_right_says_what_is_wrong_with_it(name, value, said):
    assert said in refused(**{name: value})


def test_a_number_is_no_truth_value_and_a_text_no_number():
    assert "must be bool" in refused(docker_pull=1)
    assert "must be int" in refused(cleanup_keep="3")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("repository", "1.20", "1.20"),
        ("secret_id", "000123", "000123"),
        ("project_id", "1e5", "1e5"),
        ("docker_pull", "True", True),
        ("cleanup_keep", "7", 7),
        (
            "developer_images",
            "chainguard/go, chainguard/static:latest-dev",
            ["chainguard/go", "chainguard/static:latest-dev"],
        ),
        ("developer_images", '["chainguard/go"]', ["chainguard/go"]),
    ],
)
def test_text_from_the_command_line_is_read_by_the_parameters_type_and_not_by_its_looks(name, text, value):
    assert parameters.from_text(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"), [("docker_pull", "yes"), ("cleanup_keep", "1.0"), ("developer_images", '["a'), ("nope", "x")]
)
def test_text_that_is_no_value_of_its_type_is_refused(name, text):
    with pytest.raises(ParameterError):
        parameters.from_text(name, text)


@given(
    name=st.sampled_from(parameters.NAMES),
    value=st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.lists(st.text())),
)
def test_any_value_is_either_taken_or_refused_with_a_sentence(name, value):
    try:
        params = parameters.check({name: value})
    except ParameterError:
        return
    assert getattr(params, name) == value or name in {"upstream", "developer_images", "production_images"}


def test_each_line_of_a_notebook_cell_is_one_that_papermill_reads():
    for name in parameters.NAMES:
        line = notebook_line(name)
        declaration, _, help_text = line.partition("  # ")
        assert line.count("=") == 1, f"papermill drops a parameter with a second equals sign: {line}"
        assert "#" not in declaration
        assert help_text


def test_every_parameter_stands_once_in_a_cell_of_all_below_a_heading():
    cell = notebook_cell(parameters.NAMES)
    declared = [line.partition(":")[0] for line in cell.splitlines() if line and not line.startswith("# ")]
    assert sorted(declared) == sorted(parameters.NAMES)
    assert [line for line in cell.splitlines() if line.startswith("# ")] == [f"# {group}" for group in parameters.Group]


def test_a_cell_has_no_heading_without_a_parameter():
    assert notebook_cell(["confirm", "target"]).splitlines() == [
        "# Where",
        notebook_line("target"),
        "",
        "# This run",
        notebook_line("confirm"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "used"),
    [
        ("labels", ("team=a",), ["team=a"]),
        ("labels", ["team=a"], ["team=a"]),
        ("developer_images", ["chainguard/go"], ["chainguard/go:latest"]),
        ("upstream", "https://cgr.dev", "https://cgr.dev/"),
        ("cleanup_keep", True, 1),
        ("cleanup_keep", 3.0, 3),
    ],
)
def test_a_value_written_differently_is_the_same(name, value, used):
    assert parameters.same(name, value, used)


@pytest.mark.parametrize(
    ("name", "value", "used"),
    [
        ("labels", ["team=b"], ["team=a"]),
        ("confirm", "", "chainguard-pull-through"),
        ("location", "No Location", "us-central1"),
        ("platform", pytest, "linux/amd64"),
        ("rotation_topic", "projects/p/topics/ttt", ""),
    ],
)
def test_a_value_that_means_another_is_not_the_same(name, value, used):
    assert not parameters.same(name, value, used)


def test_a_refusal_has_each_rule_by_name():
    with pytest.raises(ParameterError) as caught:
        parameters.check({"location": "us central", "wait_limit": 0})
    assert caught.value.rules == {
        "location": "must be a location of Artifact Registry, such as us-central1 or europe. Example: 'us-central1'.",
        "wait_limit": "must be at least 1. Example: 600.",
    }
    with pytest.raises(ParameterError) as caught:
        parameters.from_text("docker_pull", "yes")
    assert caught.value.rules == {"docker_pull": "must be true or false."}
