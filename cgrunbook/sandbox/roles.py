"""IAM's predefined roles and the permissions in them, as far as the sandbox's services ask for them.

Knows which role holds what. Knows nobody who has one.
"""

from __future__ import annotations

from collections.abc import Mapping


def _of(service: str, names: str) -> frozenset[str]:
    return frozenset(f"{service}.{name}" for name in names.split())


_ARTIFACT_READ = _of(
    "artifactregistry",
    "attachments.get attachments.list dockerimages.get dockerimages.list files.download files.get files.list "
    "locations.get locations.list mavenartifacts.get mavenartifacts.list npmpackages.get npmpackages.list "
    "packages.get packages.list projectsettings.get pythonpackages.get pythonpackages.list "
    "repositories.downloadArtifacts repositories.get repositories.list repositories.listEffectiveTags "
    "repositories.listTagBindings repositories.readViaVirtualRepository rules.get rules.list tags.get tags.list "
    "versions.get versions.list",
)
_ARTIFACT_WRITE = _of(
    "artifactregistry",
    "aptartifacts.create attachments.create files.update files.upload kfpartifacts.create "
    "repositories.uploadArtifacts tags.create tags.update versions.update yumartifacts.create",
)
_ARTIFACT_REPO_ADMIN = _of(
    "artifactregistry",
    "attachments.delete files.delete packages.delete packages.update repositories.deleteArtifacts tags.delete "
    "versions.delete",
)
_ARTIFACT_ADMIN = _of(
    "artifactregistry",
    "projectsettings.update repositories.create repositories.createOnPush repositories.createTagBinding "
    "repositories.delete repositories.deleteTagBinding repositories.getIamPolicy repositories.setIamPolicy "
    "repositories.update rules.create rules.delete rules.update vpcscconfigs.get vpcscconfigs.update",
)
_SECRET_READ = _of(
    "secretmanager",
    "locations.get locations.list secrets.get secrets.getIamPolicy secrets.list secrets.listEffectiveTags "
    "secrets.listTagBindings versions.get versions.list",
)
_SECRET_ACCESS = _of("secretmanager", "versions.access")
_SECRET_VERSION_MANAGE = _of(
    "secretmanager", "versions.add versions.destroy versions.disable versions.enable versions.get versions.list"
)
_SECRET_WRITE = _of(
    "secretmanager",
    "secrets.create secrets.createTagBinding secrets.delete secrets.deleteTagBinding secrets.update versions.add "
    "versions.destroy versions.disable versions.enable",
)
_SECRET_POLICY = _of("secretmanager", "secrets.setIamPolicy")
_PROJECT_GET = _of("resourcemanager", "projects.get projects.list")
_PROJECT_READ_POLICY = _of("resourcemanager", "projects.getIamPolicy")
_PROJECT_POLICY = _of("resourcemanager", "projects.getIamPolicy projects.setIamPolicy")
_USAGE_READ = _of("serviceusage", "services.get services.list operations.get quotas.get")
_USAGE_WRITE = _of(
    "serviceusage",
    "services.enable services.disable operations.cancel operations.delete operations.list quotas.update",
)
_USE = _of("serviceusage", "services.use")
_KEY_POLICY = _of("cloudkms", "cryptoKeys.getIamPolicy cryptoKeys.setIamPolicy")
_ACCESS_POLICY = _of("accesscontextmanager", "policies.get policies.list")
_VIEWER = _ARTIFACT_READ | _SECRET_READ | _PROJECT_GET | _PROJECT_READ_POLICY | _USAGE_READ
_EDITOR = (
    _VIEWER
    | (_ARTIFACT_WRITE | _ARTIFACT_REPO_ADMIN | _SECRET_WRITE | _USAGE_WRITE | _USE)
    | _of(
        "artifactregistry",
        "repositories.create repositories.createOnPush repositories.delete repositories.update "
        "projectsettings.update repositories.getIamPolicy",
    )
)
_OWNER = (
    _EDITOR
    | (_ARTIFACT_ADMIN | _SECRET_ACCESS | _SECRET_POLICY | _PROJECT_POLICY | _KEY_POLICY)
    | _of("resourcemanager", "projects.update projects.delete")
)
_SECURITY_REVIEWER = (
    (_PROJECT_GET | _PROJECT_READ_POLICY)
    | _of("artifactregistry", "repositories.getIamPolicy repositories.list")
    | _of("secretmanager", "secrets.getIamPolicy secrets.list")
)
_SECURITY_ADMIN = (_SECURITY_REVIEWER | _PROJECT_POLICY | _SECRET_POLICY) | _of(
    "artifactregistry", "repositories.setIamPolicy"
)
#: Documented, and nothing of Secret Manager among it: that is the trap the guide falls into.
_SERVICE_AGENT = _of("pubsub", "topics.publish") | _of(
    "artifactregistry",
    "repositories.downloadArtifacts repositories.get repositories.readViaVirtualRepository versions.delete",
)
#: Predefined role to the permissions that this sandbox's services ask for. Owner reads payloads, editor does not.
ROLES: Mapping[str, frozenset[str]] = {
    "roles/owner": _OWNER,
    "roles/editor": _EDITOR,
    "roles/viewer": _VIEWER,
    "roles/browser": _PROJECT_GET | _PROJECT_READ_POLICY,
    "roles/resourcemanager.projectIamAdmin": _PROJECT_GET | _PROJECT_POLICY,
    "roles/iam.securityAdmin": _SECURITY_ADMIN,
    "roles/iam.securityReviewer": _SECURITY_REVIEWER,
    "roles/artifactregistry.admin": _ARTIFACT_READ | _ARTIFACT_WRITE | _ARTIFACT_REPO_ADMIN | _ARTIFACT_ADMIN,
    "roles/artifactregistry.repoAdmin": _ARTIFACT_READ | _ARTIFACT_WRITE | _ARTIFACT_REPO_ADMIN,
    "roles/artifactregistry.writer": _ARTIFACT_READ | _ARTIFACT_WRITE,
    "roles/artifactregistry.reader": _ARTIFACT_READ,
    "roles/artifactregistry.serviceAgent": _SERVICE_AGENT,
    "roles/secretmanager.admin": _SECRET_READ | _SECRET_WRITE | _SECRET_ACCESS | _SECRET_POLICY | _PROJECT_GET,
    "roles/secretmanager.secretAccessor": _SECRET_ACCESS | _PROJECT_GET,
    "roles/secretmanager.secretVersionAdder": _of("secretmanager", "versions.add") | _PROJECT_GET,
    "roles/secretmanager.secretVersionManager": _SECRET_VERSION_MANAGE | _PROJECT_GET,
    "roles/secretmanager.viewer": _SECRET_READ | _PROJECT_GET,
    "roles/serviceusage.serviceUsageAdmin": _USAGE_READ | _USAGE_WRITE | _USE,
    "roles/serviceusage.serviceUsageConsumer": _USAGE_READ | _USE,
    "roles/serviceusage.serviceUsageViewer": _USAGE_READ,
    "roles/cloudkms.admin": _PROJECT_GET | _KEY_POLICY,
    "roles/cloudkms.cryptoKeyEncrypterDecrypter": _PROJECT_GET
    | _of("cloudkms", "cryptoKeyVersions.useToDecrypt cryptoKeyVersions.useToEncrypt"),
    "roles/accesscontextmanager.policyEditor": _ACCESS_POLICY | _of("accesscontextmanager", "policies.update"),
    "roles/iam.serviceAccountUser": _of("iam", "serviceAccounts.actAs serviceAccounts.get"),
    "roles/iam.serviceAccountTokenCreator": _of("iam", "serviceAccounts.getAccessToken"),
}
