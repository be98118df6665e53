"""What docs/automation.md gives to be copied: each unit, workflow, manifest and command is held against what would read it."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import papermill
import pytest
import yaml

from cgrunbook.cli import main
from cgrunbook.errors import StepFailed
from cgrunbook.run import headless
from cgrunbook.run.notebooks import find
from tests.clients.programs import client

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "automation.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
INSTALLED = "/opt/cgrunbook/bin/cgrunbook"


def block(language: str, having: str) -> str:
    """The one block of the page in a language that has some words in it."""
    (found,) = [text for kind, text in BLOCKS if kind == language and having in text]
    return str(found)


def commands(program: str) -> list[str]:
    """The lines of shell in which a program is called first."""
    lines = [line for kind, text in BLOCKS if kind == "sh" for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith(f"{program} ")]


CRON_JOB = {one["kind"]: one for one in yaml.safe_load_all(block("yaml", "kind: CronJob"))}
CLOUD_RUN_JOB = yaml.safe_load(block("yaml", "run.googleapis.com/v1"))
WORKFLOW = yaml.safe_load(block("yaml", "google-github-actions/auth"))
SERVICE = block("ini", "# cgrunbook-rotate.service")
CRONTAB = block("crontab", "MAILTO")


def our_commands() -> Iterator[list[str]]:
    """Every command line of cgrunbook's on the page, wherever it stands."""
    everything = "\n".join(text for _, text in BLOCKS).replace("\\\n", " ")
    joined = re.sub(r"\n\s+(-p|--output)", r" \1", everything)  # a folded scalar of YAML
    for match in re.finditer(r"cgrunbook (?:run|plan|status|rotate|teardown|notebooks) [^\n]*", joined):
        words = []
        for word in shlex.split(re.split(r" 2>&1| >|\) \|\||  #", match[0])[0]):
            if word in {"||", "|", "#"}:
                break
            words.append(word)
        yield words[1:]
    yield CRON_JOB["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"]
    yield CLOUD_RUN_JOB["spec"]["template"]["spec"]["template"]["spec"]["containers"][0]["args"]


@pytest.mark.parametrize("words", [*our_commands()], ids=" ".join)
def test_each_command_of_ours_is_taken_by_our_command_line(words, monkeypatch):
    def perform(notebooks: list[str], values: dict[str, Any], **_: Any) -> None:
        headless._check(find(notebooks), values)
        raise StepFailed("parsed")

    def look(*_: Any, **__: Any) -> None:
        raise StepFailed("parsed")

    monkeypatch.setattr(headless, "run", perform)
    monkeypatch.setattr("cgrunbook.cloud.connect_as", look)
    if words[0] == "notebooks":
        words = [*words[:-1], "/proc/none/here"]
    words = ["0" * 40 + "/" + "0" * 16 if word == "ID_OF_THE_IDENTITY" else word for word in words]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1


def test_cron_is_silent_of_a_run_that_succeeds_and_mails_what_one_said_that_failed(tmp_path):
    line = next(line for line in CRONTAB.splitlines() if INSTALLED in line)
    assert "%" not in line  # a new line to cron
    schedule, command = line.split("  ", 1)
    assert len(schedule.split()) == 5
    program = tmp_path / "cgrunbook"
    for code, mailed in ((0, ""), (1, "the table\nthe error\nexit code 1\n")):
        program.write_text(f"#!/bin/sh\necho the table\necho the error >&2\nexit {code}\n")
        program.chmod(0o755)
        typed = command.replace(INSTALLED, str(program)).replace("/var/lib/cgrunbook", str(tmp_path))
        done = subprocess.run(
            ["/bin/sh", "-c", typed], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}
        )
        assert (done.returncode, done.stdout, done.stderr) == (code, mailed, "")


def test_systemd_takes_the_units(tmp_path):
    names = re.findall(r"^# (\S+\.(?:service|timer))$", PAGE, re.MULTILINE)
    assert len(names) == 3
    for name in names:
        unit = block("ini", f"# {name}\n").replace(INSTALLED, "/bin/true")
        (tmp_path / name).write_text(unit)
    words = [client("systemd-analyze"), "verify", "--man=no", *(str(tmp_path / name) for name in names)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_may_write_no_more_than_its_own_folder():
    settings = dict(line.split("=", 1) for line in SERVICE.splitlines() if re.match(r"\w+=", line))
    assert (settings["DynamicUser"], settings["ProtectSystem"], settings["CapabilityBoundingSet"]) == (
        "yes",
        "strict",
        "",
    )
    folder = f"/var/lib/{settings['StateDirectory']}"
    assert settings["WorkingDirectory"] == folder
    assert f"HOME={folder} CGRUNBOOK_HOME={folder}/home" in SERVICE


def test_the_workflow_asks_github_for_no_more_than_it_needs_and_keeps_the_record():
    assert WORKFLOW["permissions"] == {}
    assert set(WORKFLOW[True]) == {"schedule", "workflow_dispatch"}  # YAML 1.1 reads `on` as true; GitHub does not
    (job,) = WORKFLOW["jobs"].values()
    assert job["permissions"] == {"contents": "read", "id-token": "write"}
    assert set(job) == {"runs-on", "timeout-minutes", "permissions", "steps"}
    uses = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in uses)
    order = [step.get("uses", step.get("run")).split("@")[0].split()[0] for step in job["steps"]]
    assert order.index("google-github-actions/auth") < order.index(
        "cgrunbook"
    )  # checked out before, or it would be wiped
    kept = job["steps"][-1]
    assert kept["if"] == "${{ !cancelled() }}"
    assert kept["with"]["path"].rstrip("/") == job["steps"][-2]["run"].split("--output ")[1].strip()


def test_the_cron_job_is_kubernetes_own_and_runs_as_the_image_can():
    job = CRON_JOB["CronJob"]
    _known(
        job["spec"],
        "schedule concurrencyPolicy startingDeadlineSeconds successfulJobsHistoryLimit failedJobsHistoryLimit jobTemplate",
    )
    each = job["spec"]["jobTemplate"]["spec"]
    _known(each, "backoffLimit activeDeadlineSeconds template")
    pod = each["template"]["spec"]
    times = "restartPolicy terminationGracePeriodSeconds hostname"
    _known(pod, f"serviceAccountName automountServiceAccountToken {times} securityContext containers volumes")
    _known(pod["securityContext"], "runAsNonRoot runAsUser runAsGroup fsGroup seccompProfile")
    (container,) = pod["containers"]
    _known(container, "name image args env securityContext resources volumeMounts")
    _known(container["securityContext"], "allowPrivilegeEscalation readOnlyRootFilesystem capabilities")
    assert (job["spec"]["concurrencyPolicy"], each["backoffLimit"], pod["restartPolicy"]) == ("Forbid", 0, "Never")
    assert all(isinstance(word, str) for word in container["args"])
    assert container["env"] == [{"name": "CGRUNBOOK_HOME", "value": "/job/home"}]  # as the test of the image keeps it
    assert f"USER {pod['securityContext']['runAsUser']}:" in (ROOT / "Containerfile").read_text()
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == {"/tmp", "/job"}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    claim, account = CRON_JOB["PersistentVolumeClaim"], CRON_JOB["ServiceAccount"]
    assert pod["volumes"][1]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    spaces = {one["metadata"]["namespace"] for one in CRON_JOB.values()}
    assert f"[{spaces.pop()}/{account['metadata']['name']}]" in PAGE
    assert not spaces


def _known(message: dict[str, Any], fields: str) -> None:
    """Every field is one that the API has by this name; a misspelt one would be refused, or ignored."""
    assert set(message) <= set(fields.split())


def test_gcloud_takes_each_command_as_it_stands(tmp_path):
    lines = [line for line in commands("gcloud") if not line.startswith("gcloud auth")]
    assert len(lines) > 10
    asked = tmp_path / "commands.json"
    asked.write_text(json.dumps([{"command_string": line} for line in lines]))
    words = [client("gcloud"), "meta", "lint-gcloud-commands", f"--commands-file={asked}"]
    told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert len(told) == len(lines)
    assert [(one["command_string"], one["error_message"]) for one in told if not one["success"]] == []


def test_gcloud_takes_the_file_of_the_cloud_run_job(tmp_path):
    """It refuses a field that it does not know before it asks the service, which here says no to everything."""
    asked: list[str] = []

    class No(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(403)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    token, job = tmp_path / "token", tmp_path / "cloud-run-job.yaml"
    token.write_text("none")
    job.write_text(block("yaml", "run.googleapis.com/v1"))
    (command,) = [line for line in commands("gcloud") if "jobs replace" in line]
    with ThreadingHTTPServer(("127.0.0.1", 0), No) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        variables = {
            "CLOUDSDK_CONFIG": str(tmp_path / "configuration"),
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": "http://run.example/",
            "HTTP_PROXY": f"http://127.0.0.1:{service.server_port}",
        }
        words = [client("gcloud"), *shlex.split(command.replace("cloud-run-job.yaml", str(job)))[1:], "--quiet"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | variables)
        service.shutdown()
    assert "Failed to parse value" not in done.stderr
    assert asked == [
        "http://us-central1-run.example/apis/run.googleapis.com/v1/namespaces/my-project/jobs/rotate-pull-token?alt=json"
    ]


def test_airflows_operator_is_given_what_papermill_and_the_notebook_take(tmp_path):
    """The operator hands these on to papermill as they are; Airflow itself is too much to install for that."""
    (call,) = [
        node
        for node in ast.walk(ast.parse(block("python", "PapermillOperator")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "PapermillOperator"
    ]
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert set(given) == {"task_id", "input_nb", "output_nb", "kernel_name", "language_name", "parameters", "retries"}
    notebook = ROOT / "notebooks" / Path(given["input_nb"]).name
    declared = papermill.inspect_notebook(notebook)
    assert set(given["parameters"]) <= set(declared)
    for name, value in given["parameters"].items():
        assert type(ast.literal_eval(declared[name]["default"])) is type(value)
    with pytest.raises(papermill.PapermillExecutionError, match="ParameterError"):
        papermill.execute_notebook(
            notebook,
            tmp_path / "out.ipynb",
            parameters=given["parameters"] | {"location": "nowhere at all"},
            progress_bar=False,
            report_mode=True,
            log_output=False,
            kernel_name="python3",
            language=given["language_name"],
            engine_name=None,
            cwd=tmp_path,
        )
    (record,) = tmp_path.glob("runs/*/record.json")
    assert json.loads(record.read_text())["exit_code"] == 2
