"""The three methods of IAM that a resource with a policy has.

Knows their requests and answers. Knows no resource; each service says how its resources are named and found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cgrunbook.sandbox import errors
from cgrunbook.sandbox.google.wire import Answer, Call, Handler


@dataclass(frozen=True)
class Policies:
    """The policies of one kind of resource.

    Attributes:
        permission: what its permissions begin with, for example "secretmanager.secrets".
        name: makes the resource's name, with the project's id, of a call.
        find: raises NotFound for a resource that is not there.
        hides_absence: whether nobody is told to hold a permission on what is not there, instead of NotFound.
    """

    permission: str
    name: Callable[[Call], str]
    find: Callable[[Call], object] = lambda _: None
    hides_absence: bool = False

    def methods(self, collection: str) -> dict[str, Handler]:
        """What answers the methods of a collection, for example "projects.secrets"."""
        return {
            f"{collection}.getIamPolicy": self._get,
            f"{collection}.setIamPolicy": self._set,
            f"{collection}.testIamPermissions": self._test,
        }

    def _get(self, call: Call) -> Answer:
        call.check(f"{self.permission}.getIamPolicy", self.name(call))
        self.find(call)
        # The options come as a parameter of a GET, or in the body of Resource Manager's POST.
        options = call.body.get("options", {})
        version = call.query.get("options.requestedPolicyVersion", options.get("requestedPolicyVersion", 1))
        return call.sandbox.iam.policy(self.name(call), version)

    def _set(self, call: Call) -> Answer:
        call.check(f"{self.permission}.setIamPolicy", self.name(call))
        self.find(call)
        if "policy" not in call.body:
            raise errors.InvalidArgument("Request contains an invalid argument.")
        return call.sandbox.iam.set_policy(self.name(call), call.body["policy"])

    def _test(self, call: Call) -> Answer:
        asked: list[str] = call.body.get("permissions", [])
        if len(asked) > 100:
            raise errors.InvalidArgument("At most 100 permissions can be tested at once.")
        for permission in asked:
            if "*" in permission or permission.count(".") < 2 or not permission.replace(".", "").isalnum():
                raise errors.InvalidArgument(f"Permission {permission} is not valid for this resource.")
        try:
            self.find(call)
        except errors.NotFound:
            if self.hides_absence:
                return {}
            raise
        return {"permissions": call.sandbox.iam.held(call.principal, asked, self.name(call))}
