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
_SECRET_ACCESS = frozenset({"secretmanager.versions.access"})
_SECRET_VERSION_MANAGE = frozenset(
    f"secretmanager.versions.{name}" for name in ("add", "destroy", "disable", "enable", "get", "list")
)
_SECRET_WRITE = _of(
    "secretmanager",
    "secrets.create secrets.createTagBinding secrets.delete secrets.deleteTagBinding secrets.update versions.add "
    "versions.destroy versions.disable versions.enable",
)
_SECRET_POLICY = frozenset({"secretmanager.secrets.setIamPolicy"})
_PROJECT_GET = frozenset({"resourcemanager.projects.get", "resourcemanager.projects.list"})
_PROJECT_POLICY = frozenset({"resourcemanager.projects.getIamPolicy", "resourcemanager.projects.setIamPolicy"})
_USAGE_READ = frozenset(
    {
        "serviceusage.services.get",
        "serviceusage.services.list",
        "serviceusage.operations.get",
        "serviceusage.quotas.get",
    }
)
_USAGE_WRITE = frozenset(
    {
        "serviceusage.services.enable",
        "serviceusage.services.disable",
        "serviceusage.operations.cancel",
        "serviceusage.operations.delete",
        "serviceusage.operations.list",
        "serviceusage.quotas.update",
    }
)
_USE = frozenset({"serviceusage.services.use"})
_ACCESS_POLICY = frozenset({"accesscontextmanager.policies.get", "accesscontextmanager.policies.list"})
_VIEWER = _ARTIFACT_READ | _SECRET_READ | _PROJECT_GET | {"resourcemanager.projects.getIamPolicy"} | _USAGE_READ
_EDITOR = (
    _VIEWER
    | _ARTIFACT_WRITE
    | _ARTIFACT_REPO_ADMIN
    | _SECRET_WRITE
    | _USAGE_WRITE
    | _USE
    | {
        "artifactregistry.repositories.create",
        "artifactregistry.repositories.createOnPush",
        "artifactregistry.repositories.delete",
        "artifactregistry.repositories.update",
        "artifactregistry.projectsettings.update",
        "artifactregistry.repositories.getIamPolicy",
    }
)
#: Predefined role to the permissions that this sandbox's services ask for. Owner reads payloads, editor does not.
ROLES: Mapping[str, frozenset[str]] = {
    "roles/owner": _EDITOR
    | _ARTIFACT_ADMIN
    | _SECRET_ACCESS
    | _SECRET_POLICY
    | _PROJECT_POLICY
    | {
        "cloudkms.cryptoKeys.getIamPolicy",
        "cloudkms.cryptoKeys.setIamPolicy",
        "resourcemanager.projects.update",
        "resourcemanager.projects.delete",
    },
    "roles/editor": _EDITOR,
    "roles/viewer": _VIEWER,
    "roles/browser": _PROJECT_GET | {"resourcemanager.projects.getIamPolicy"},
    "roles/resourcemanager.projectIamAdmin": _PROJECT_GET | _PROJECT_POLICY,
    "roles/iam.securityAdmin": _PROJECT_GET
    | _PROJECT_POLICY
    | _SECRET_POLICY
    | {
        "artifactregistry.repositories.getIamPolicy",
        "artifactregistry.repositories.setIamPolicy",
        "artifactregistry.repositories.list",
        "secretmanager.secrets.getIamPolicy",
        "secretmanager.secrets.list",
    },
    "roles/iam.securityReviewer": _PROJECT_GET
    | {
        "resourcemanager.projects.getIamPolicy",
        "artifactregistry.repositories.getIamPolicy",
        "artifactregistry.repositories.list",
        "secretmanager.secrets.getIamPolicy",
        "secretmanager.secrets.list",
    },
    "roles/artifactregistry.admin": _ARTIFACT_READ | _ARTIFACT_WRITE | _ARTIFACT_REPO_ADMIN | _ARTIFACT_ADMIN,
    "roles/artifactregistry.repoAdmin": _ARTIFACT_READ | _ARTIFACT_WRITE | _ARTIFACT_REPO_ADMIN,
    "roles/artifactregistry.writer": _ARTIFACT_READ | _ARTIFACT_WRITE,
    "roles/artifactregistry.reader": _ARTIFACT_READ,
    # Documented, and nothing of Secret Manager among it: that is the trap the guide falls into.
    "roles/artifactregistry.serviceAgent": frozenset(
        {
            "pubsub.topics.publish",
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.readViaVirtualRepository",
            "artifactregistry.versions.delete",
        }
    ),
    "roles/secretmanager.admin": _SECRET_READ | _SECRET_WRITE | _SECRET_ACCESS | _SECRET_POLICY | _PROJECT_GET,
    "roles/secretmanager.secretAccessor": _SECRET_ACCESS | _PROJECT_GET,
    "roles/secretmanager.secretVersionAdder": frozenset({"secretmanager.versions.add"}) | _PROJECT_GET,
    "roles/secretmanager.secretVersionManager": _SECRET_VERSION_MANAGE | _PROJECT_GET,
    "roles/secretmanager.viewer": _SECRET_READ | _PROJECT_GET,
    "roles/serviceusage.serviceUsageAdmin": _USAGE_READ | _USAGE_WRITE | _USE,
    "roles/serviceusage.serviceUsageConsumer": _USAGE_READ | _USE,
    "roles/serviceusage.serviceUsageViewer": _USAGE_READ,
    "roles/cloudkms.admin": _PROJECT_GET | {"cloudkms.cryptoKeys.getIamPolicy", "cloudkms.cryptoKeys.setIamPolicy"},
    "roles/cloudkms.cryptoKeyEncrypterDecrypter": _PROJECT_GET
    | {"cloudkms.cryptoKeyVersions.useToDecrypt", "cloudkms.cryptoKeyVersions.useToEncrypt"},
    "roles/accesscontextmanager.policyEditor": _ACCESS_POLICY | {"accesscontextmanager.policies.update"},
    "roles/iam.serviceAccountUser": frozenset({"iam.serviceAccounts.actAs", "iam.serviceAccounts.get"}),
    "roles/iam.serviceAccountTokenCreator": frozenset({"iam.serviceAccounts.getAccessToken"}),
}
#: Every permission that some role of the sandbox holds.
PERMISSIONS: frozenset[str] = frozenset().union(*ROLES.values())
