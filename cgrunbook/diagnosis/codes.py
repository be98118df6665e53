"""Every check of the doctor by its code: what it looks at, why it can fail, what helps, and of what else it is the cause.

It is data: the checks, the verdict, the pages of docs/diagnosis.md and the tests all read it. It looks at nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cgrunbook.steps.token_sides import Check

# Where each check has a page, under its code.
PAGES = "docs/diagnosis.md"


class Hop(StrEnum):
    """The parts of an image's way, in its order."""

    MACHINE = "this machine"
    PULLER = "who pulls"
    REGISTRY = "Artifact Registry"
    SECRET = "the secret"  # noqa: S105 - a place
    TOKEN = "the pull token"  # noqa: S105 - a thing
    CGR = "cgr.dev"
    THROUGH = "all of the way"


class Code(StrEnum):
    """The checks, in the order of the way and of mending; those of a pull token are `status`' own."""

    NETWORK = "network"
    CLOCK = "clock"
    DISK = "disk"
    CALLER = "caller"
    PROJECT = "project"
    REGISTRY_API = "artifact-registry-api"
    SECRETS_API = "secret-manager-api"
    PERIMETER = "vpc-sc"
    REPOSITORY = "repository"
    UPSTREAM = "upstream"
    PLATFORM_LOGS = "platform-logs"
    DOCKER_LOGIN = "docker-login"
    READER = "reader"
    SECRET = Check.SECRET.value
    VERSION = Check.VERSION.value
    PINNED = Check.PINNED.value
    GRANT = Check.GRANT.value
    END = Check.END.value
    IDENTITY = Check.IDENTITY.value
    PAIR = Check.PAIR.value
    TAKEN = Check.TAKEN.value
    CGR_HOST = "cgr-host"
    ORGANIZATION = "organization"
    IMAGE = "image"
    TAG = "tag"
    BLOBS = "blob-host"
    PULL = "pull"
    CACHE = "cache"


class Sure(StrEnum):
    """How sure it is that a reason is the one."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


@dataclass(frozen=True)
class Reason:
    """One way in which a check fails.

    Args:
        why: what is so.
        helps: what to do about it; where it failed, the check says it with the names that count there.
        sure: how sure it is, once it is told.
        notebook: the one that does it, "" for none.
    """

    why: str
    helps: str
    sure: Sure = Sure.CERTAIN
    notebook: str = ""


@dataclass(frozen=True)
class About:
    """What there is to know of a check.

    Args:
        hop: which part of the way it is about.
        title: what is so when it is ok, in few words.
        looks_at: what is read for it.
        source: where the facts are from that it leans on.
        reasons: why it can fail, by a code that is stable as its own.
    """

    hop: Hop
    title: str
    looks_at: str
    source: str
    reasons: Mapping[str, Reason] = field(default_factory=dict)


_GUIDE = "https://edu.chainguard.dev/chainguard/chainguard-registry/pull-through-guides/artifact-registry-pull-through/"
_ERRORS = "https://edu.chainguard.dev/chainguard/containers/troubleshooting/registry-errors/"
_REMOTE = "https://cloud.google.com/artifact-registry/docs/repositories/remote-overview"
_TROUBLE = "https://docs.cloud.google.com/artifact-registry/docs/troubleshoot-remote"
_SIGN_IN = "https://cloud.google.com/artifact-registry/docs/repositories/configure-remote-authentication"
_ACCESS = "https://cloud.google.com/artifact-registry/docs/access-control"
_LOGS = "https://docs.cloud.google.com/artifact-registry/docs/platform-logs"
_DOCKER = "https://docs.cloud.google.com/artifact-registry/docs/docker/authentication"
_NETWORK = "https://www.chainguard.dev/docs/chainguard/containers/registry/network-requirements"
_VERSIONS = "https://github.com/googleapis/googleapis/blob/master/google/cloud/secretmanager/v1/resources.proto"
_PULL_TOKEN = "https://edu.chainguard.dev/chainguard/containers/registry/authenticating/"  # noqa: S105 - an address
_ADC = "https://cloud.google.com/docs/authentication/application-default-credentials"
_REASONS = "https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto"

_RENEW = "Let `cgrunbook rotate` make another and set username and password together."
_PUBLIC, _PRIVATE, _DEBUGGING, _ROTATE = (
    "02_developer_images",
    "03_production_images",
    "04_debugging",
    "05_rotate_pull_token",
)

CHECKS: Mapping[Code, About] = {
    Code.NETWORK: About(
        Hop.MACHINE,
        "the hosts answer",
        "The hosts that this target's way needs from here, one by one, by what came of the other checks' own requests: name, "
        "connection, TLS, proxy. No host is asked for this alone. cgr.dev is needed by Google's servers and not from here; what "
        "is the matter with it is `cgr-host`'s affair.",
        _NETWORK,
        {
            "connection": Reason(
                "No connection, or one that broke.", "Let this machine reach the host on port 443.", Sure.LIKELY
            ),
            "no-answer": Reason(
                "The host takes the connection and does not answer in time.",
                "Look at what is between here and there: a firewall that drops what it refuses, a proxy.",
                Sure.LIKELY,
            ),
            "name": Reason("DNS does not know the host.", "Look at DNS, and at HTTPS_PROXY where a proxy is needed."),
            "address": Reason("An address that is none: in a proxy's variable, or in a redirect.", "Correct it."),
            "untrusted": Reason(
                "The certificate is signed by nobody who is trusted here: something on the way opens TLS, or stands in the host's "
                "place.",
                "Let SSL_CERT_FILE or the system's store name that authority, where it should be trusted.",
            ),
            "out-of-date": Reason("The certificate has ended, or this clock is wrong.", "Compare with `date -u`."),
            "other-name": Reason(
                "The certificate is another host's.", "Look at DNS, /etc/hosts, and a network's login page."
            ),
            "tls": Reason(
                "No version of TLS in common, or none spoken at all.", "Look at what answers in the host's place."
            ),
            "proxy": Reason(
                "The proxy does not let the host through.", "Let its owner allow it, or name it in NO_PROXY."
            ),
            "proxy-login": Reason(
                "The proxy wants a password, or another.", "Put USER:PASSWORD@ before its host in HTTPS_PROXY."
            ),
            "no-proxy": Reason("What HTTPS_PROXY names is no proxy.", "Look at its host and port."),
        },
    ),
    Code.CLOCK: About(
        Hop.MACHINE,
        "this machine's clock is right",
        "The Date of the registries' answers against this machine's time. Tokens and certificates count by it; a token's end is "
        "judged by the registries' time where the two differ.",
        "https://www.rfc-editor.org/rfc/rfc9110#field.date",
        {"skewed": Reason("It is five minutes off, or more.", "Set it: sudo timedatectl set-ntp true")},
    ),
    Code.DISK: About(
        Hop.MACHINE,
        "there is room for images",
        "The room where docker keeps images, if it is on this machine, and where temporary files go.",
        "https://docs.docker.com/engine/daemon/",
        {
            "full": Reason(
                "Less than 100 MB are left there.",
                "Make room there, or let TMPDIR name another disk. What docker has no use for goes with: docker system prune -f",
            )
        },
    ),
    Code.CALLER: About(
        Hop.MACHINE,
        "whoever asks may look",
        "Whether Google takes the credentials that these checks are made with, and which of the readings it refused them. Who "
        "may not look sees neither well nor wrong.",
        _ADC,
        {
            "signed-out": Reason("There are no credentials, or Google does not take them.", "Sign in."),
            "permission": Reason(
                "A permission to read is missing. Google answers the same for what is not there.",
                "Ask for the role that is named, or leave those checks out.",
            ),
        },
    ),
    Code.PROJECT: About(
        Hop.REGISTRY,
        "the project is there",
        "What Google's services say of the project when they are asked for what is in it.",
        _REASONS,
        {
            "unknown": Reason(
                "There is no such project, or none that you may see: Google does not say which.", "Check project_id."
            )
        },
    ),
    Code.REGISTRY_API: About(
        Hop.REGISTRY,
        "Artifact Registry's API is on",
        "Artifact Registry's own answer: an API that is off says so whatever it is asked.",
        _REASONS,
        {
            "off": Reason(
                "The API is off in the project.",
                "gcloud services enable artifactregistry.googleapis.com",
                notebook=_PUBLIC,
            )
        },
    ),
    Code.SECRETS_API: About(
        Hop.SECRET,
        "Secret Manager's API is on",
        "Secret Manager's own answer.",
        _REASONS,
        {
            "off": Reason(
                "The API is off: Artifact Registry cannot read the password.",
                "gcloud services enable secretmanager.googleapis.com",
                notebook=_PRIVATE,
            )
        },
    ),
    Code.PERIMETER: About(
        Hop.REGISTRY,
        "no perimeter is in the way",
        "Whether a service refuses because of VPC Service Controls. Inside of a perimeter Artifact Registry may not ask its "
        "upstream until that is allowed for the location. Whether the project is inside of one nobody tells who does not "
        "administer it.",
        _REMOTE,
        {
            "denied": Reason(
                "A perimeter keeps the caller, or Artifact Registry's own request, out.",
                "Call from inside, or have the perimeter's administrator allow it.",
            )
        },
    ),
    Code.REPOSITORY: About(
        Hop.REGISTRY,
        "the repository is there",
        "The repository in its location, its format and its mode; where it is not there, the project's other locations.",
        _REMOTE,
        {
            "absent": Reason("There is none of this name.", "Make it: 02_developer_images or 03_production_images."),
            "elsewhere": Reason(
                "It is in another location: host and repository do not belong together.",
                "Pull from the host of its location, and give that location.",
            ),
            "format": Reason("It is no Docker repository.", "Make one under another name: a format cannot be changed."),
            "mode": Reason(
                "It is no remote repository: it fetches nothing.",
                "Make one under another name: a mode cannot be changed.",
            ),
        },
    ),
    Code.UPSTREAM: About(
        Hop.REGISTRY,
        "the upstream is https://cgr.dev/",
        "The upstream's address in the repository, in its newest form and in the older ones. Whether it was checked when it was "
        "set (validation skipped) is not kept anywhere.",
        _GUIDE,
        {
            "path": Reason(
                "Something stands behind cgr.dev: every image is asked for under a wrong name.",
                "Make the repository anew: an upstream cannot be changed.",
            ),
            "host": Reason("It is not cgr.dev.", "Make the repository anew: an upstream cannot be changed."),
        },
    ),
    Code.PLATFORM_LOGS: About(
        Hop.REGISTRY,
        "what the platform logs tell",
        "The repository's setting of its platform logs. Where they are on, the last failed requests of the last hour in Cloud "
        "Logging: time, method, image and status, never who asked. Where the repository has no setting of its own, the "
        "project's counts, and is looked at where a pull fails now. It stands beside the verdict: an old failure warns of "
        "nothing, and logs that are off are nothing to mend. Who reads them needs roles/logging.viewer; who may not is told so, "
        "and the exit code stays as it is.",
        _LOGS,
        {
            "unread": Reason(
                "They are on and could not be read, or nobody may tell whether they are.",
                "Ask for roles/logging.viewer, or turn the Logging API on.",
            )
        },
    ),
    Code.DOCKER_LOGIN: About(
        Hop.PULLER,
        "docker signs in",
        "docker's configuration as docker reads it: DOCKER_AUTH_CONFIG, credHelpers, credsStore, auths; the helper is asked, and "
        "what it gives is shown to the location's docker.pkg.dev. Where there is neither docker nor a login of it, nothing is "
        "looked at.",
        _DOCKER,
        {
            "none": Reason(
                "docker would send nothing to this host.", "gcloud auth configure-docker HOST", notebook=_PUBLIC
            ),
            "other-location": Reason(
                "docker has a login for another location's host only.", "gcloud auth configure-docker HOST"
            ),
            "helper-missing": Reason(
                "The credential helper that the file names is not on the PATH.",
                "Install it, or take its name out of the file.",
            ),
            "helper-fails": Reason(
                "The helper has no login for the host, or does not answer.", "Sign in with the helper's own means."
            ),
            "refused": Reason(
                "The registry does not take what docker sends; an access token lasts an hour.",
                "Sign in anew.",
                notebook=_PUBLIC,
            ),
            "unusable": Reason("docker cannot read its configuration.", "Repair config.json."),
            "snap": Reason(
                "docker is installed as a snap, which cannot run helpers from outside.",
                "Install docker otherwise, or sign in with a token.",
            ),
        },
    ),
    Code.READER: About(
        Hop.PULLER,
        "who pulls may read the repository",
        "For docker here: what docker.pkg.dev answers to its login. For `--as PRINCIPAL`: the policies of the repository and of "
        "the project, not those of folders and the organisation.",
        _ACCESS,
        {
            "absent": Reason(
                "No role with downloadArtifacts. The same is answered where there is no such repository.",
                "Grant roles/artifactregistry.reader on the repository.",
                notebook=_PRIVATE,
            ),
            "conditional": Reason(
                "The role is held under a condition.", "Grant it without, if it should hold always.", Sure.POSSIBLE
            ),
            "not-found": Reason(
                "No role is seen in these two policies; a folder, the organisation or a group may give it.",
                "Grant it on the repository.",
                Sure.LIKELY,
                notebook=_PRIVATE,
            ),
        },
    ),
    Code.SECRET: About(
        Hop.SECRET,
        "the secret is this project's, and stays",
        "The secret that the repository names: its project, and whether it is to be deleted.",
        _VERSIONS,
        {
            "absent": Reason("There is no such secret.", _RENEW, notebook=_ROTATE),
            "expires": Reason(
                "Secret Manager will delete it, with the password.", "gcloud secrets update SECRET --remove-expiration"
            ),
            "other-project": Reason(
                "It is in another project, where others decide on it.",
                "Leave the check out where that is meant.",
                Sure.POSSIBLE,
            ),
        },
    ),
    Code.VERSION: About(
        Hop.SECRET,
        "the secret version can be read",
        "The version that the repository names, its state, and its value.",
        _VERSIONS,
        {
            "absent": Reason("There is no such version.", _RENEW, notebook=_ROTATE),
            "disabled": Reason("Somebody has disabled it.", "gcloud secrets versions enable VERSION --secret=SECRET"),
            "destroyed": Reason("It was destroyed; its value is gone.", _RENEW, notebook=_ROTATE),
            "form": Reason(
                "What the repository names is no version of a global secret.",
                "Set one: projects/P/secrets/S/versions/V.",
            ),
            "api-off": Reason(
                "Nobody can read it while the API is off.",
                "gcloud services enable secretmanager.googleapis.com",
                notebook=_PRIVATE,
            ),
        },
    ),
    Code.PINNED: About(
        Hop.SECRET,
        "the version is a number",
        "Whether the repository names a version or an alias of one.",
        _VERSIONS,
        {
            "latest": Reason(
                "An alias: with the next version the password moves, and the username stays.", "Set the number."
            )
        },
    ),
    Code.GRANT: About(
        Hop.SECRET,
        "the service agent may read the secret",
        "The policies of the secret and, where that has no grant, of its project, for Artifact Registry's service agent of the "
        "project in which the repository is.",
        _SIGN_IN,
        {
            "missing": Reason(
                "The agent has no role that lets it read the value.",
                "Grant roles/secretmanager.secretAccessor on the secret (03_production_images).",
                notebook=_PRIVATE,
            ),
            "conditional": Reason("It has one under a condition.", "Grant it without.", Sure.LIKELY),
            "other-agent": Reason("Another project's agent has it.", "Grant it to this project's.", notebook=_PRIVATE),
            "agent-gone": Reason(
                "The agent was deleted, or never made; what it had been granted is worth nothing.",
                "gcloud beta services identity create --service=artifactregistry.googleapis.com, then grant it again.",
                notebook=_PRIVATE,
            ),
            "no-secret": Reason("There is no such secret.", _RENEW, notebook=_ROTATE),
            "everybody": Reason("Everybody may read the password.", "Grant it to the agent alone."),
            "in-project": Reason("It may read all secrets of the project.", "Grant it on the secret alone."),
        },
    ),
    Code.END: About(
        Hop.TOKEN,
        "the token has not ended",
        "The password's own form and end (it is a JWT), or what was written down of it, or what Chainguard lists.",
        _PULL_TOKEN,
        {
            "ended": Reason("The token has ended.", _RENEW, notebook=_ROTATE),
            "soon": Reason("The token ends soon.", _RENEW, notebook=_ROTATE),
            "empty": Reason(
                "The value is empty: `echo $PASSWORD` of a variable that was not set.", _RENEW, notebook=_ROTATE
            ),
            "white-space": Reason(
                "The value has a line break or a space in it: `echo` without -n.", _RENEW, notebook=_ROTATE
            ),
            "base64": Reason("The value was encoded once more.", _RENEW, notebook=_ROTATE),
            "no-token": Reason("The value is something else.", _RENEW, notebook=_ROTATE),
        },
    ),
    Code.IDENTITY: About(
        Hop.TOKEN,
        "the token's identity lives",
        "The organisation's pull tokens as Chainguard lists them, where somebody is signed in there who may.",
        _PULL_TOKEN,
        {"revoked": Reason("It is not among them: it was revoked.", _RENEW, notebook=_ROTATE)},
    ),
    Code.PAIR: About(
        Hop.TOKEN,
        "username and password belong together",
        "The repository's username against what was written down of the version, what cgr.dev says to both, and when each ends.",
        _ERRORS,
        {
            "mismatched": Reason(
                "They are two tokens': a new token has a new username.", "Set both together.", notebook=_ROTATE
            ),
            "form": Reason("The username is no pull token's.", "Set both together.", notebook=_ROTATE),
            "incomplete": Reason("One of the two is not set.", "Set both together.", notebook=_ROTATE),
            "unwritten": Reason("They work, and another username is written down.", "Write down the one that works."),
        },
    ),
    Code.TAKEN: About(
        Hop.TOKEN,
        "cgr.dev takes the pair",
        "What cgr.dev's token endpoint says to username and password, and to nobody.",
        _ERRORS,
        {
            "refused": Reason(
                "It does not, and does not say why: ended, revoked, of another token.", _RENEW, Sure.LIKELY, _ROTATE
            )
        },
    ),
    Code.CGR_HOST: About(
        Hop.CGR,
        "cgr.dev answers",
        "What came of the other checks' requests to cgr.dev from this machine. Artifact Registry asks it from Google's side: "
        "where only this machine gets no answer, nothing is wrong with the way.",
        _NETWORK,
        {
            "no-answer": Reason(
                "No connection, or no answer in time.",
                "See https://status.cgr.dev; let this machine reach it, if it should.",
                Sure.LIKELY,
            ),
            "failing": Reason("It answers with an error of its own (5xx).", "Wait; see https://status.cgr.dev."),
            "throttled": Reason(
                "It answers 429: too many requests.", "Wait, and pull less often: by digest, through the cache."
            ),
            "slow": Reason(
                "Its answers take more than two seconds each.",
                "Wait; Artifact Registry gives up on an upstream that is too slow.",
            ),
        },
    ),
    Code.ORGANIZATION: About(
        Hop.CGR,
        "cgr.dev knows the organisation",
        "What cgr.dev's token endpoint says to the image's name.",
        _ERRORS,
        {"unknown": Reason("The first part of the name is no organisation's.", "chainctl iam organizations list")},
    ),
    Code.IMAGE: About(
        Hop.CGR,
        "cgr.dev gives the image",
        "cgr.dev directly, with the repository's own credentials where they can be read, else without any; the organisation's "
        "catalogue, where somebody is signed in at Chainguard.",
        _ERRORS,
        {
            "not-granted": Reason(
                "The image is not in the organisation's catalogue.",
                "chainctl images repos list --parent=ORGANIZATION",
                Sure.LIKELY,
            ),
            "no-role": Reason(
                "The catalogue has it, and the token's identity lacks the role registry.pull.", _RENEW, notebook=_ROTATE
            ),
            "unknown": Reason("There is no such image.", "chainctl images repos list --parent=ORGANIZATION"),
            "not-public": Reason(
                "It is not one of the free images, or does not exist: without credentials cgr.dev does not tell.",
                "Pull it through a repository that signs in (03_production_images).",
                notebook=_PRIVATE,
            ),
            "refused": Reason(
                "cgr.dev refuses, and nobody here can see why.",
                "See whether it is in the catalogue: chainctl images repos list --parent=ORGANIZATION",
                Sure.POSSIBLE,
            ),
        },
    ),
    Code.TAG: About(
        Hop.CGR,
        "the tag is there",
        "The tag or digest at cgr.dev.",
        _ERRORS,
        {
            "unknown": Reason("The image has no such tag for this caller.", "chainctl images tags list --repo=IMAGE"),
            "not-free": Reason(
                "Of the free images there are latest and latest-dev alone.",
                "Pull one of these, or an image of your organisation's.",
            ),
        },
    ),
    Code.BLOBS: About(
        Hop.CGR,
        "the blob host sends what it should",
        "The image's config, fetched from cgr.dev, which redirects to its blob host, and hashed.",
        _NETWORK,
        {
            "no-answer": Reason(
                "The blob host cannot be reached from here, or does not answer.",
                "Let it through: its name is among the network requirements.",
                Sure.LIKELY,
            ),
            "corrupted": Reason(
                "What came is not what its digest says.",
                "Look for what changes content on the way; if it stays, tell Chainguard.",
            ),
            "truncated": Reason(
                "The answer ended before all of it had come.", "Look for what cuts connections on the way."
            ),
            "failing": Reason("The blob host answers with an error.", "Wait; see https://status.cgr.dev."),
        },
    ),
    Code.PULL: About(
        Hop.THROUGH,
        "the image comes through Artifact Registry",
        "What every pull begins with: the tag, the manifests and the config through docker.pkg.dev, hashed, with docker's own "
        "login where it has one, else with the caller's. As with any pull, Artifact Registry keeps what it did not have.",
        _TROUBLE,
        {
            "denied": Reason("docker.pkg.dev does not let in who pulls.", "See `reader` and `docker-login`."),
            "not-found": Reason(
                "Artifact Registry finds no such image or tag; through a cache that is weak evidence.",
                "See `image` and `tag`.",
                Sure.LIKELY,
            ),
            "upstream-refused": Reason("cgr.dev refuses the repository's credentials.", "See `cgr-dev`."),
            "upstream-fails": Reason(
                "Artifact Registry got no good answer from cgr.dev.", "See `cgr-host`; else wait.", Sure.LIKELY
            ),
            "secret-unreadable": Reason(
                "Artifact Registry could not read the password.", "See `grant` and `secret-version`."
            ),
            "upstream-wrong": Reason("The upstream is no registry's root.", "See `upstream`."),
            "damaged": Reason("What came is not what its digest says.", "See `blob-host`; pull again."),
            "no-answer": Reason("docker.pkg.dev did not answer in time.", "See `network`; else wait.", Sure.LIKELY),
            "other": Reason(
                "It refuses for another reason.",
                "Try a fresh repository (04_debugging).",
                Sure.POSSIBLE,
                notebook=_DEBUGGING,
            ),
        },
    ),
    Code.CACHE: About(
        Hop.THROUGH,
        "the cache has what cgr.dev has",
        "The digest through Artifact Registry against cgr.dev's own.",
        _REMOTE,
        {
            "stale": Reason(
                "The tag has moved at cgr.dev: Artifact Registry asks for a tag once an hour at most.",
                "Wait an hour, or pull by digest.",
            ),
            "hides": Reason(
                "What is cached still comes, while cgr.dev itself would not give it: pulls will fail one by one.",
                "Mend what cgr.dev refuses.",
            ),
        },
    ),
}


_HELPER_FAILS, _LOGIN_REFUSED = f"{Code.DOCKER_LOGIN}/helper-fails", f"{Code.DOCKER_LOGIN}/refused"

# What else fails where a check fails, as a check or as one reason of one; what that explains is explained with it.
EXPLAINS: Mapping[Code, tuple[str, ...]] = {
    Code.NETWORK: (Code.CALLER, _HELPER_FAILS, Code.PULL),
    Code.CLOCK: (f"{Code.NETWORK}/out-of-date", Code.CALLER, _HELPER_FAILS, _LOGIN_REFUSED),
    Code.CALLER: (Code.PULL,),
    Code.PROJECT: (Code.READER, Code.PULL, Code.CALLER),
    Code.REGISTRY_API: (Code.PULL,),
    Code.SECRETS_API: (Code.VERSION, Code.PULL, Code.CACHE),
    Code.PERIMETER: (Code.CALLER, _LOGIN_REFUSED, Code.PULL),
    Code.REPOSITORY: (Code.READER, Code.PULL),
    Code.UPSTREAM: (Code.PULL, Code.CACHE),
    Code.DOCKER_LOGIN: (Code.PULL,),
    Code.READER: (Code.PULL,),
    Code.SECRET: (Code.VERSION, Code.GRANT, Code.PULL, Code.CACHE),
    Code.VERSION: (Code.TAKEN, Code.PULL, Code.CACHE),
    Code.GRANT: (Code.PULL, Code.CACHE),
    Code.END: (Code.TAKEN, Code.IMAGE, Code.PULL, Code.CACHE),
    Code.IDENTITY: (Code.TAKEN, Code.IMAGE, Code.PULL, Code.CACHE),
    Code.PAIR: (Code.TAKEN, Code.IMAGE, Code.PULL, Code.CACHE),
    Code.TAKEN: (Code.IMAGE, Code.PULL, Code.CACHE),
    Code.CGR_HOST: (Code.BLOBS, Code.PULL, Code.CACHE),
    Code.ORGANIZATION: (Code.IMAGE, Code.TAG, Code.PULL, Code.CACHE),
    Code.IMAGE: (Code.TAG, Code.PULL, Code.CACHE),
    Code.TAG: (Code.PULL, Code.CACHE),
    Code.BLOBS: (Code.PULL, Code.CACHE),
    Code.PULL: (Code.CACHE,),
}

_OF_THE_TOKEN = (Code.END, Code.IDENTITY, Code.PAIR, Code.TAKEN)
_AT_CGR = (Code.ORGANIZATION, Code.IMAGE, Code.TAG, Code.BLOBS, Code.CACHE)
_OF_THE_SECRET = (Code.SECRET, Code.VERSION, Code.PINNED, Code.GRANT)
_IN_PROJECT = (
    Code.CALLER,
    Code.PROJECT,
    Code.CLOCK,
    Code.REPOSITORY,
    Code.UPSTREAM,
    Code.PLATFORM_LOGS,
    Code.READER,
    *_OF_THE_SECRET,
    *_OF_THE_TOKEN,
    *_AT_CGR,
)

# What cannot be looked at where a check fails.
HIDES: Mapping[Code, tuple[str, ...]] = {
    Code.NETWORK: (Code.REGISTRY_API, Code.SECRETS_API, Code.DOCKER_LOGIN, *_IN_PROJECT),
    Code.CALLER: (Code.REGISTRY_API, Code.SECRETS_API, Code.DOCKER_LOGIN, *_IN_PROJECT),
    Code.PROJECT: (Code.REGISTRY_API, Code.SECRETS_API, *_IN_PROJECT),
    Code.REGISTRY_API: _IN_PROJECT,
    Code.SECRETS_API: (*_OF_THE_SECRET, *_OF_THE_TOKEN, *_AT_CGR),
    Code.PERIMETER: (Code.REGISTRY_API, Code.SECRETS_API, Code.DOCKER_LOGIN, *_IN_PROJECT),
    Code.REPOSITORY: (Code.UPSTREAM, Code.READER, *_OF_THE_SECRET, *_OF_THE_TOKEN, *_AT_CGR),
    Code.DOCKER_LOGIN: (Code.READER,),
    Code.SECRET: (*_OF_THE_SECRET, *_OF_THE_TOKEN, *_AT_CGR),
    Code.VERSION: (Code.PINNED, *_OF_THE_TOKEN, *_AT_CGR),
    Code.END: (Code.IDENTITY, Code.PAIR),
    Code.IDENTITY: (Code.PAIR,),
    Code.PAIR: (Code.IDENTITY,),
    Code.TAKEN: (Code.PAIR, Code.ORGANIZATION, Code.TAG, Code.BLOBS),
    Code.CGR_HOST: (Code.TAKEN, Code.PAIR, *_AT_CGR),
    Code.ORGANIZATION: (Code.IDENTITY, Code.BLOBS),
    Code.IMAGE: (Code.BLOBS,),
    Code.TAG: (Code.BLOBS,),
    Code.PULL: (Code.READER,),
}
