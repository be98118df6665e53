"""Bad values end before any call, with the parameter, the value, the rule and an example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgrunbook import parameters
from cgrunbook.errors import ParameterError
from cgrunbook.parameters import Way
from tests.notebooks.parameter_cells import notebook_cell, notebook_line

_KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k"


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
        ("token_ttl", "30 days", "did you mean '30d'?"),
        ("token_ttl", "400d", "at most 8760h"),
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
        ("cleanup_older_than", "a month", "such as 30d, 720h or 1h30m"),
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
    message = refused(location="us central", repository="X", token_ttl="1y")
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
        (Way.OPTION, "labels", ["Team"], "Give it as: -p labels team=platform"),
        (Way.OPTION, "labels", ["a=b", "Team=x"], "Give it as: -p labels a=b,team=x"),
        (Way.PAPERMILL, "project_id", 12345, "papermill -r project_id my-project, for its -p makes a number"),
        (
            Way.PAPERMILL,
            "cleanup_keep",
            "many",
            "papermill -p cleanup_keep 1; in the injected cell as: cleanup_keep = 1",
        ),
        (Way.PAPERMILL, "docker_pull", "yes", "papermill -p docker_pull true"),
        (Way.PAPERMILL, "labels", "team=a", "papermill -y 'labels: [\"team=a\"]'"),
        (Way.CELL, "labels", "team=a", 'as: labels = ["team=a"]'),
        (Way.CELL, "description", "the key = true\n", 'as: description = "the key = true"'),
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
        ("token_ttl", "9" * 5000, "must be a length of time"),
        ("location", f"{'9' * 5000} months", "must be a location"),
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
    rewritten = {"upstream", "developer_images", "production_images", *parameters.LENGTHS_OF_TIME}
    assert getattr(params, name) == value or name in rewritten


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
        ("token_ttl", "30d", "720h"),
        ("token_ttl", "43200m", "720h"),
        ("rotation_period", "1w", "168h"),
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
        parameters.check({"location": "the moon", "wait_limit": 0})
    assert caught.value.rules == {
        "location": "must be a location of Artifact Registry, such as us-central1 or europe. Example: 'us-central1'.",
        "wait_limit": "must be at least 1. Example: 600.",
    }
    with pytest.raises(ParameterError) as caught:
        parameters.from_text("docker_pull", "yes")
    assert caught.value.rules == {"docker_pull": "must be true or false (did you mean true?)."}


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("target", "gcp", "google-cloud"),
        ("target", "Google Cloud", "google-cloud"),
        ("mode", "dry-run", "plan"),
        ("vulnerability_scanning", "off", "disabled"),
        ("docker_login", "Credential Helper", "credential-helper"),
        ("project_id", "My-Project", "my-project"),
        ("project_id", "my_project", "my-project"),
        ("project_id", "projects/my-project", "my-project"),
        ("project_id", "https://console.cloud.google.com/artifacts?project=my-project&x=1", "my-project"),
        ("project_id", "123456789012", None),
        ("location", "us-centrall1", "us-central1"),
        ("location", "US-Central1", "us-central1"),
        ("location", "us central1", "us-central1"),
        ("location", "us central", "us-central1"),
        ("location", "us-central1-a", "us-central1"),
        ("location", "europe-west1-docker.pkg.dev", "europe-west1"),
        ("location", "us-central1", None),
        ("location", "Mars", None),
        ("secret_locations", ["us-east1-b", "europe-west1"], ["us-east1", "europe-west1"]),
        ("secret_locations", ["us-east1", "us-east1"], ["us-east1"]),
        ("repository", "us-central1-docker.pkg.dev/my-project/our-images", "our-images"),
        ("repository", "https://us-central1-docker.pkg.dev/example.com/my-project/our-images/chainguard/go:latest", "our-images"),
        ("private_repository", "projects/p/locations/us/repositories/ours", "ours"),
        ("repository", "Our_Images", "our-images"),
        ("organization", "https://cgr.dev/example.com/chainguard-base:latest", "example.com"),
        ("organization", "cgr.dev/example.com", "example.com"),
        ("organization", "https://example.com/", "example.com"),
        ("organization", "https://cgr.dev/", None),
        ("secret_id", "projects/my-project/secrets/our-token/versions/7", "our-token"),
        ("secret_id", "our token", "our-token"),
        ("developer_images", ["chainguard/go:latest", "go"], ["chainguard/go:latest", "chainguard/go"]),
        ("developer_images", ["https://cgr.dev/chainguard/Go:Latest"], ["chainguard/go:Latest"]),
        ("developer_images", ["us-central1-docker.pkg.dev/p/r/chainguard/go:latest"], ["chainguard/go:latest"]),
        ("developer_images", "chainguard/go chainguard/node", None),
        ("production_images", ["cgr.dev/example.com/chainguard-base:latest"], ["chainguard-base:latest"]),
        ("platform", "arm64", "linux/arm64"),
        ("platform", "Linux-x86_64", "linux/amd64"),
        ("labels", ["Team: Platform"], ["team=platform"]),
        ("token_ttl", "720", "720h"),
        ("token_ttl", "90", "90d"),
        ("token_ttl", "1 month", "30d"),
        ("token_ttl", "P30D", "30d"),
        ("secret_expires_after", "1 year", "365d"),
        ("cleanup_older_than", "720H", "720h"),
        ("wait_limit", "10m", 600),
        ("wait_limit", "1,000", 1000),
        ("docker_pull", "no", False),
        ("upstream", "http://cgr.dev/", "https://cgr.dev/"),
        ("kms_key_name", f"{_KEY}/cryptoKeyVersions/1", _KEY),
        ("rotation_topic", "//pubsub.googleapis.com/projects/p/topics/told", "projects/p/topics/told"),
        ("description", "two\nlines", "two lines"),
        ("confirm", "anything", None),
        ("repository", "!!!", None),
    ],
)  # fmt: skip
def test_what_was_likeliest_meant_is_a_value_that_the_parameter_may_have(name, value, meant):
    assert parameters.meant_by(name, value) == meant
    if meant is not None:
        assert parameters.allowed(name, meant)
        assert not isinstance(value, str) or parameters.type_name(name) != "str" or value != meant


def test_who_meant_something_is_asked_once_and_advised_to_give_that():
    said = refused(Way.OPTION, project_id="My-Project", developer_images=["go"])
    assert said.count("my-project") == 2
    assert said.count("Example") == 0
    assert "(did you mean 'my-project'?)" in said
    assert "Give it as: -p project_id my-project" in said
    assert "Give it as: -p developer_images chainguard/go" in said


def test_in_the_form_a_list_has_commas_and_an_example_stands_once():
    with pytest.raises(ParameterError) as caught:
        parameters.check(
            {"developer_images": ["chainguard/static", "go"], "labels": ["x"], "location": "?"}, way=lambda _: Way.FORM
        )
    rules = caught.value.rules
    assert rules["developer_images"].endswith("(did you mean chainguard/static, chainguard/go?).")
    assert rules["labels"].endswith("Example: team=platform.")
    assert rules["location"] == "must be a location of Artifact Registry, such as us-central1 or europe."


def test_a_deletion_that_is_confirmed_with_another_name_is_refused_before_anything_is_called():
    assert "nothing is deleted unless they are the same" in refused(confirm="chainguard", repository="ours")
    assert "Give it as: -p confirm ours" in refused(Way.OPTION, confirm="chainguard", repository="ours")
    assert parameters.check({"confirm": "ours", "repository": "ours"}).confirm == "ours"
    assert parameters.check({"confirm": "ours"}).confirm == "ours", "a notebook of one's own may say its repository"
