"""IAM's predefined roles and the permissions in them, as far as the sandbox's services ask for them.

Knows which role holds what, as Google publishes it (https://cloud.google.com/iam/docs/roles-permissions). Knows nobody
who has one.
"""

from __future__ import annotations

from collections.abc import Mapping


def _of(service: str, names: str) -> frozenset[str]:
    return frozenset(f"{service}.{name}" for name in names.split())


_ARTIFACT_READ = _of(
    "artifactregistry",
    "attachments.get attachments.list dockerimages.get dockerimages.list files.download files.get files.list "
    "locations.get locations.list mavenartifacts.get mavenartifacts.list npmpackages.get npmpackages.list "
    "packages.get packages.list projectconfigs.get projectsettings.get pythonpackages.get pythonpackages.list "
    "repositories.downloadArtifacts repositories.get repositories.list repositories.listEffectiveTags "
    "repositories.listTagBindings repositories.readViaVirtualRepository rules.get rules.list tags.get tags.list "
    "versions.get versions.list",
)
_ARTIFACT_WRITE = _of(
    "artifactregistry",
    "aptartifacts.create attachments.create attachments.delete files.update files.upload kfpartifacts.create "
    "packages.update repositories.uploadArtifacts tags.create tags.update yumartifacts.create",
)
_ARTIFACT_REPO_ADMIN = _of(
    "artifactregistry",
    "files.delete packages.delete repositories.deleteArtifacts rules.create rules.delete rules.update tags.delete "
    "versions.delete versions.update",
)
_ARTIFACT_ADMIN = _of(
    "artifactregistry",
    "projectconfigs.update projectsettings.update repositories.create repositories.createTagBinding repositories.delete "
    "repositories.deleteTagBinding repositories.getIamPolicy repositories.setIamPolicy repositories.update "
    "vpcscconfigs.get vpcscconfigs.update",
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
    "secrets.create secrets.delete secrets.update versions.add versions.destroy versions.disable versions.enable",
)
_SECRET_POLICY = _of("secretmanager", "secrets.setIamPolicy")
_PROJECT_ONE = _of("resourcemanager", "projects.get")
_PROJECT_GET = _PROJECT_ONE | _of("resourcemanager", "projects.list")
_PROJECT_READ_POLICY = _of("resourcemanager", "projects.getIamPolicy")
_PROJECT_POLICY = _of("resourcemanager", "projects.getIamPolicy projects.setIamPolicy")
_USAGE_READ = _of("serviceusage", "services.get services.list operations.get quotas.get")
_USAGE_WRITE = _of("serviceusage", "services.enable services.disable quotas.update")
_USE = _of("serviceusage", "services.use")
_KEY_READ_POLICY = _of("cloudkms", "cryptoKeys.getIamPolicy")
_KEY_POLICY = _KEY_READ_POLICY | _of("cloudkms", "cryptoKeys.setIamPolicy")
_TOPIC_READ = _of("pubsub", "topics.get topics.list")
_TOPIC_PUBLISH = _of("pubsub", "topics.publish")
_TOPIC_EDIT = _TOPIC_READ | _TOPIC_PUBLISH | _of("pubsub", "topics.create topics.delete topics.update")
_TOPIC_POLICY = _of("pubsub", "topics.getIamPolicy topics.setIamPolicy")
_LOGS_READ = _of("logging", "logEntries.list")
_ACCESS_POLICY = _of("accesscontextmanager", "policies.get policies.list")
_POLICIES = _of("artifactregistry", "repositories.getIamPolicy") | _KEY_READ_POLICY
_ACCOUNT_READ = _of("iam", "serviceAccounts.get")
_ACCOUNT_IDENTITY = _of("iam", "serviceAccounts.getOpenIdToken")
_VIEWER = (
    _ACCOUNT_READ
    | _TOPIC_READ
    | _LOGS_READ
    | _ARTIFACT_READ
    | _SECRET_READ
    | _PROJECT_GET
    | _PROJECT_READ_POLICY
    | _USAGE_READ
    | _POLICIES
)
_EDITOR = (
    (_VIEWER | _TOPIC_EDIT | _ARTIFACT_WRITE | _ARTIFACT_REPO_ADMIN | _SECRET_WRITE | _USAGE_WRITE | _USE)
    | _of(
        "artifactregistry",
        "repositories.create repositories.createOnPush repositories.delete repositories.update projectsettings.update",
    )
    | _of("resourcemanager", "projects.update")
)
_SECRET_TAGS = _of("secretmanager", "secrets.createTagBinding secrets.deleteTagBinding")
_OWNER = (
    _EDITOR
    | _TOPIC_POLICY
    | _ARTIFACT_ADMIN
    | _SECRET_TAGS
    | _SECRET_ACCESS
    | _SECRET_POLICY
    | _PROJECT_POLICY
    | _KEY_POLICY
) | _of("resourcemanager", "projects.delete")
_SECURITY_REVIEWER = (
    _of("resourcemanager", "projects.list")
    | _PROJECT_READ_POLICY
    | frozenset(name for name in _ARTIFACT_READ | _SECRET_READ | _USAGE_READ if name.endswith(".list"))
    | _of("secretmanager", "secrets.getIamPolicy")
    | _POLICIES
)
_SECURITY_ADMIN = (_SECURITY_REVIEWER | _PROJECT_POLICY | _SECRET_POLICY | _KEY_POLICY) | _of(
    "artifactregistry", "repositories.setIamPolicy"
)
#: Documented, and nothing of Secret Manager among it: that is the trap the guide falls into.
_SERVICE_AGENT = _TOPIC_PUBLISH | _of(
    "artifactregistry",
    "repositories.downloadArtifacts repositories.get repositories.readViaVirtualRepository versions.delete",
)
#: Predefined role to the permissions that this sandbox's services ask for. Owner reads payloads, editor does not.
ROLES: Mapping[str, frozenset[str]] = {
    "roles/owner": _OWNER,
    "roles/editor": _EDITOR,
    "roles/viewer": _VIEWER,
    "roles/browser": _PROJECT_GET | _PROJECT_READ_POLICY,
    "roles/resourcemanager.projectIamAdmin": _PROJECT_ONE | _PROJECT_POLICY,
    "roles/iam.securityAdmin": _SECURITY_ADMIN,
    "roles/iam.securityReviewer": _SECURITY_REVIEWER,
    "roles/artifactregistry.admin": _PROJECT_ONE
    | (_ARTIFACT_READ | _ARTIFACT_WRITE | _ARTIFACT_REPO_ADMIN | _ARTIFACT_ADMIN),
    "roles/artifactregistry.repoAdmin": _PROJECT_ONE | _ARTIFACT_READ | _ARTIFACT_WRITE | _ARTIFACT_REPO_ADMIN,
    "roles/artifactregistry.writer": _PROJECT_ONE | _ARTIFACT_READ | _ARTIFACT_WRITE,
    "roles/artifactregistry.reader": _PROJECT_ONE | _ARTIFACT_READ,
    "roles/artifactregistry.serviceAgent": _SERVICE_AGENT,
    "roles/secretmanager.admin": _PROJECT_GET
    | (_SECRET_READ | _SECRET_WRITE | _SECRET_TAGS | _SECRET_ACCESS | _SECRET_POLICY),
    "roles/secretmanager.secretAccessor": _SECRET_ACCESS | _PROJECT_GET,
    "roles/secretmanager.secretVersionAdder": _of("secretmanager", "versions.add") | _PROJECT_GET,
    "roles/secretmanager.secretVersionManager": _SECRET_VERSION_MANAGE | _PROJECT_GET,
    "roles/secretmanager.viewer": _SECRET_READ | _PROJECT_GET,
    "roles/serviceusage.serviceUsageAdmin": _USAGE_READ | _USAGE_WRITE | _USE,
    "roles/serviceusage.serviceUsageConsumer": _USAGE_READ | _USE,
    "roles/serviceusage.serviceUsageViewer": _USAGE_READ,
    "roles/cloudkms.admin": _PROJECT_ONE | _KEY_POLICY,
    "roles/cloudkms.cryptoKeyEncrypterDecrypter": _PROJECT_ONE
    | _of("cloudkms", "cryptoKeyVersions.useToDecrypt cryptoKeyVersions.useToEncrypt"),
    "roles/logging.viewer": _PROJECT_ONE | _LOGS_READ,
    "roles/pubsub.publisher": _TOPIC_PUBLISH,
    "roles/pubsub.viewer": _TOPIC_READ,
    "roles/pubsub.editor": _TOPIC_EDIT,
    "roles/pubsub.admin": _TOPIC_EDIT | _TOPIC_POLICY,
    "roles/accesscontextmanager.policyEditor": _PROJECT_GET
    | (_ACCESS_POLICY | _of("accesscontextmanager", "policies.update")),
    "roles/iam.serviceAccountUser": _PROJECT_GET | _of("iam", "serviceAccounts.actAs serviceAccounts.get"),
    "roles/iam.serviceAccountTokenCreator": _PROJECT_GET
    | (_ACCOUNT_READ | _ACCOUNT_IDENTITY | _of("iam", "serviceAccounts.getAccessToken")),
    "roles/iam.serviceAccountOpenIdTokenCreator": _ACCOUNT_IDENTITY,
    "roles/iam.workloadIdentityUser": _ACCOUNT_READ | _ACCOUNT_IDENTITY | _of("iam", "serviceAccounts.getAccessToken"),
}
