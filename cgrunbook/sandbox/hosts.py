"""The hosts that the sandbox plays, by their real names, and the locations that have a docker host.

Knows names. Knows neither ports nor what answers there.
"""

from __future__ import annotations

ARTIFACT_REGISTRY = "artifactregistry.googleapis.com"
SECRET_MANAGER = "secretmanager.googleapis.com"  # noqa: S105 - a host
SERVICE_USAGE = "serviceusage.googleapis.com"
RESOURCE_MANAGER = "cloudresourcemanager.googleapis.com"
CLOUD_BILLING = "cloudbilling.googleapis.com"
CLOUD_KMS = "cloudkms.googleapis.com"
PUBSUB = "pubsub.googleapis.com"
LOGGING = "logging.googleapis.com"
IAM = "iam.googleapis.com"
IAM_CREDENTIALS = "iamcredentials.googleapis.com"
CGR_DEV = "cgr.dev"
CONSOLE_API = "console-api.enforce.dev"
STS = "issuer.enforce.dev"
BLOB_HOST = "9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com"
#: A proxy that wants a password, for the shells that are told to use it; nobody of this name exists.
PROXY = "proxy.example.com"
#: The hosts that are played once; `LOCATION-docker.pkg.dev` is played for every location besides.
SINGLE_HOSTS = (
    ARTIFACT_REGISTRY,
    SECRET_MANAGER,
    SERVICE_USAGE,
    RESOURCE_MANAGER,
    CLOUD_BILLING,
    CLOUD_KMS,
    PUBSUB,
    LOGGING,
    IAM,
    IAM_CREDENTIALS,
    CGR_DEV,
    CONSOLE_API,
    STS,
    BLOB_HOST,
    PROXY,
)

#: Where every port says whose it is, so that a starter can tell this sandbox from whatever else took a port.
IDENTITY_PATH = "/.well-known/cgrunbook-sandbox"

#: Locations that have a docker host (gcloud 528). A few of them Google opens to chosen customers only.
_LOCATION_NAMES = """
    africa-south1 asia asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1 asia-south2
    asia-southeast1 asia-southeast2 australia-southeast1 australia-southeast2 europe europe-central2 europe-north1
    europe-north2 europe-southwest1 europe-west1 europe-west10 europe-west12 europe-west2 europe-west3 europe-west4
    europe-west6 europe-west8 europe-west9 me-central1 me-central2 me-west1 northamerica-northeast1
    northamerica-northeast2 northamerica-south1 southamerica-east1 southamerica-west1 us us-central1 us-central2
    us-east1 us-east4 us-east5 us-east7 us-south1 us-west1 us-west2 us-west3 us-west4 us-west8
    """
LOCATIONS: tuple[str, ...] = tuple(_LOCATION_NAMES.split())
_DOCKER_SUFFIX = "-docker.pkg.dev"


def docker_host_name(location: str) -> str:
    """The real name of a location's docker host."""
    return location + _DOCKER_SUFFIX


def docker_path(project: str) -> str:
    """What a project is called in the paths of docker hosts: one of a domain, example.com:p, is example.com/p there."""
    return project.replace(":", "/")


def docker_location(host: str) -> str | None:
    """The location whose docker host this is, None for any other host."""
    return host.removesuffix(_DOCKER_SUFFIX) if host.endswith(_DOCKER_SUFFIX) else None


def all_host_names() -> tuple[str, ...]:
    """The real name of every host that the sandbox plays."""
    return SINGLE_HOSTS + tuple(docker_host_name(location) for location in LOCATIONS)
