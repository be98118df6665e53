"""The Google Cloud project: its number, its APIs, its service agent, and what the caller may do in it.

It knows Service Usage and Resource Manager, and that neither is asked for what another service's answer tells: whoever works in
a project need not be allowed to ask them. It does not know what the APIs are wanted for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any

from cgrunbook.cloud import alike, apis
from cgrunbook.cloud.apis import ARTIFACT_REGISTRY, SECRET_MANAGER
from cgrunbook.cloud.google_errors import explain_answer, of_operation
from cgrunbook.cloud.google_service import CALL, GoogleService, client
from cgrunbook.cloud.iam_policy import POLICY_VERSION, Policy, read_policy
from cgrunbook.errors import ApiDisabled, CgrunbookError, PermissionMissing, ProjectUnknown, ServiceError
from cgrunbook.first_use import at_first_use


class Project(GoogleService):
    """The connection's project."""

    # The libraries of these two are for few notebooks, and a tenth of what a kernel of the others would import.
    @at_first_use
    def _projects(self) -> Any:
        from google.cloud.resourcemanager_v3 import ProjectsClient

        return client(ProjectsClient, self.connection, self.connection.resource_manager)

    @at_first_use
    def _services(self) -> Any:
        from google.cloud.service_usage_v1 import ServiceUsageClient

        return client(ServiceUsageClient, self.connection, self.connection.service_usage)

    @property
    def id(self) -> str:
        """The project's id."""
        return self.connection.project_id

    def visible(self) -> tuple[str, ...]:
        """The ids of the active projects that the caller may see, sorted; of very many the first some hundred."""
        request = {"query": "state:ACTIVE", "page_size": 500}
        page = self._repeat("list the projects", lambda: next(self._projects.search_projects(request, **CALL).pages))
        return tuple(sorted(project.project_id for project in page.projects))

    def alike(self) -> str:
        """A question for whoever mistyped the project's id: the visible one that is nearest, "" where there is none."""
        try:
            return alike.question(self.id, self.visible())
        except CgrunbookError:
            return ""

    def number(self) -> str:
        """The project's number, digits, from Resource Manager; it never changes, and is read once.

        Raises:
            ApiDisabled: Resource Manager is off where requests are charged.
            PermissionMissing: the caller lacks resourcemanager.projects.get, or there is no such project: Resource
                Manager does not tell the two apart.
        """
        return self._number

    @property
    def number_is_known(self) -> bool:
        """Whether nobody needs to be asked for the number any more."""
        return "_number" in self.__dict__

    def learn_number(self, name: str) -> None:
        """Take the number from the name of something in the project, as a service has written it.

        Args:
            name: such as "projects/123456789012/secrets/S", as Secret Manager gives it.
        """
        project = name.split("/")[1]
        if project.isdigit():
            self._number = project

    @cached_property
    def _number(self) -> str:
        request = {"name": f"projects/{self.id}"}
        raw = self._repeat(f"read the project {self.id}", lambda: self._projects.get_project(request, **CALL))
        return str(raw.name).rpartition("/")[2]

    def named(self, project: str) -> bool:
        """Whether an id or a number is this project's; the number is asked for only where a number is given."""
        return project == self.id or (project.isdigit() and project == self.number())

    def api_enabled(self, service: str) -> bool:
        """Whether a Google API is on in the project, by one cheap read of its own: no right is needed to be told.

        Raises:
            ApiDisabled: it is off in another project, which requests are charged to.
            ProjectUnknown: there is no such project to be seen.
        """
        addresses = {
            ARTIFACT_REGISTRY: f"{self.connection.artifact_registry}/v1/projects/{self.id}/locations?pageSize=1",
            SECRET_MANAGER: f"{self.connection.secret_manager}/v1/projects/{self.id}/secrets?pageSize=1",
        }
        doing = f"see whether {service} answers in {self.id}"
        ask = partial(self._request, "GET", addresses[service], doing)
        try:
            return self.is_on(service, partial(self._repeat, doing, ask))
        except ProjectUnknown as unknown:
            raise ProjectUnknown(unknown.message, f"{self.alike()} {unknown.remedy}".strip()) from unknown

    def is_on(self, service: str, ask: Callable[[], object]) -> bool:
        """Whether a Google API is on, by what came of a question to it: one that is off says so before it looks at rights."""
        try:
            ask()
        except PermissionMissing as refusal:
            if not apis.answered(service, refusal):
                raise
        except ApiDisabled as off:
            if self.has_off(off):
                return False
            raise
        return True

    def has_off(self, disabled: ApiDisabled) -> bool:
        """Whether an API is off here, and not in another project that requests are charged to."""
        try:
            return not disabled.charged or self.named(disabled.charged)
        except CgrunbookError:
            return False  # whose number it is cannot be seen

    def enable_api(self, service: str) -> bool:
        """Turn a Google API on and wait until it answers; Service Usage is asked only where the API says that it is off.

        Returns:
            True when it was off before. An API that is on answers SERVICE_DISABLED for a while; that is waited for.
        """
        if self.api_enabled(service):
            return False
        doing = f"enable {service} in {self.id}"
        request = {"name": f"projects/{self.id}/services/{service}"}
        self._finish(doing, self._repeat(doing, lambda: self._services.enable_service(request, **CALL)))

        def answers() -> None:
            if not self.api_enabled(service):
                raise apis.disabled(service, self.id, f"Tried to {doing}. The service said yes, but it is still off.")

        self.attempts.run(answers, reason=f"{service} to answer", temporary=(ApiDisabled,))
        self.connection.enabled_at[service] = time.monotonic()
        return True

    def service_agent_email(self) -> str:
        """Artifact Registry's service agent: the account that reads the upstream's password; raises as `number`."""
        return apis.service_agent(self.number())

    def ensure_service_agent(self, service: str = ARTIFACT_REGISTRY) -> str:
        """Make a service's agent exist; it does not before the project's first repository otherwise.

        No official client has this method, so it is called as it stands: v1beta1 generateServiceIdentity, whose
        operation is read at v1 as gcloud does. It may be repeated.

        Returns:
            The agent's e-mail address; IAM may need a moment more to know it.
        """
        doing = f"make the service agent of {service} in {self.id}"
        base = self.connection.service_usage
        path = f"v1beta1/projects/{self.id}/services/{service}:generateServiceIdentity"
        operation = self._repeat(doing, lambda: self._request("POST", f"{base}/{path}", doing))
        begun = f"{base}/v1/{operation.get('name', '')}"

        def done() -> bool:
            nonlocal operation
            if not operation.get("done"):
                operation = self._repeat(doing, lambda: self._request("GET", begun, doing))
            return bool(operation.get("done"))

        self._until_done(doing, done)
        if isinstance(error := operation.get("error"), dict):
            raise explain_answer(of_operation(error), self.connection, doing)
        email = str((operation.get("response") or {}).get("email") or "")
        if not email:
            raise ServiceError(f"Tried to {doing}. The service said yes, but named no account.", "Run again.")
        return email

    def held_permissions(self, permissions: Iterable[str]) -> frozenset[str]:
        """Which of these permissions the caller has in the project; the method takes at most 100.

        Returns:
            Those that are held; the API itself warns that the answer may be too generous.
        """
        request = {"resource": f"projects/{self.id}", "permissions": sorted(set(permissions))}
        doing = f"ask for the permissions in the project {self.id}"
        return frozenset(self._repeat(doing, lambda: self._projects.test_iam_permissions(request, **CALL)).permissions)

    def get_policy(self) -> Policy:
        """Who has which role in the whole project; what is inherited from folders and the organisation is not part of it.

        Raises:
            PermissionMissing: the caller lacks resourcemanager.projects.getIamPolicy.
        """
        request = {"resource": f"projects/{self.id}", "options": {"requested_policy_version": POLICY_VERSION}}
        doing = f"read the IAM policy of the project {self.id}"
        return read_policy(self._repeat(doing, lambda: self._projects.get_iam_policy(request, **CALL)))
