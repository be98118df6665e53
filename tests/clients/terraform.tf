# What tests/clients/test_terraform.py applies: the guide's resources, as a team that uses Terraform would write them.
terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
    }
  }
}

variable "team" { default = "one" }
variable "username" { default = "org/first" }
variable "password_version" { default = 1 }
variable "second_enabled" { default = false }
variable "aliases" {
  type    = map(string)
  default = {}
}
variable "next_rotation_time" { default = "2099-10-02T15:01:23Z" }
variable "older_than" { default = "2592000s" }

provider "google" {
  region = "us-central1"
  default_labels = {
    managed = "terraform"
  }
}

data "google_project" "this" {}

resource "google_project_service" "needed" {
  for_each           = toset(["artifactregistry.googleapis.com", "secretmanager.googleapis.com"])
  service            = each.key
  disable_on_destroy = each.key == "secretmanager.googleapis.com"
}

resource "google_secret_manager_secret" "token" {
  secret_id       = "token"
  labels          = { team = var.team }
  annotations     = { note = "a pull token" }
  version_aliases = var.aliases
  replication {
    auto {}
  }
  depends_on = [google_project_service.needed]
}

resource "google_secret_manager_secret" "notice" {
  secret_id           = "notice"
  expire_time         = "2099-11-30T00:00:00Z"
  version_destroy_ttl = "86400s"
  replication {
    auto {}
  }
  topics {
    name = "projects/${data.google_project.this.project_id}/topics/rotate"
  }
  rotation {
    next_rotation_time = var.next_rotation_time
    rotation_period    = "2592000s"
  }
  depends_on = [google_project_service.needed]
}

resource "google_secret_manager_secret_version" "first" {
  secret          = google_secret_manager_secret.token.id
  secret_data     = "first"
  deletion_policy = "DELETE"
}

resource "google_secret_manager_secret_version" "second" {
  secret          = google_secret_manager_secret.token.id
  secret_data     = "second"
  enabled         = var.second_enabled
  deletion_policy = "DISABLE"
  depends_on      = [google_secret_manager_secret_version.first]
}

resource "google_artifact_registry_repository" "public" {
  repository_id = "public"
  format        = "DOCKER"
  mode          = "REMOTE_REPOSITORY"
  description   = "images for ${var.team}"
  labels        = { team = var.team }
  remote_repository_config {
    description = "of Chainguard"
    common_repository {
      uri = "https://cgr.dev"
    }
  }
  cleanup_policy_dry_run = true
  cleanup_policies {
    id     = "old"
    action = "DELETE"
    condition {
      older_than = var.older_than
      tag_state  = "ANY"
    }
  }
  cleanup_policies {
    id     = "keep"
    action = "KEEP"
    most_recent_versions {
      keep_count = 3
    }
  }
  depends_on = [google_project_service.needed]
}

resource "google_secret_manager_secret_iam_member" "agent" {
  secret_id  = google_secret_manager_secret.token.secret_id
  role       = "roles/secretmanager.secretAccessor"
  member     = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
  depends_on = [google_artifact_registry_repository.public] # the first repository brings the agent into being
}

resource "google_artifact_registry_repository" "private" {
  repository_id = "private"
  format        = "DOCKER"
  mode          = "REMOTE_REPOSITORY"
  labels        = { team = var.team }
  remote_repository_config {
    docker_repository {
      custom_repository {
        uri = "https://cgr.dev"
      }
    }
    disable_upstream_validation = true
    upstream_credentials {
      username_password_credentials {
        username                = var.username
        password_secret_version = "${google_secret_manager_secret.token.id}/versions/${var.password_version}"
      }
    }
  }
  vulnerability_scanning_config {
    enablement_config = "DISABLED"
  }
  depends_on = [google_secret_manager_secret_iam_member.agent]
}

resource "google_artifact_registry_repository_iam_member" "reader" {
  repository = google_artifact_registry_repository.public.name
  location   = google_artifact_registry_repository.public.location
  role       = "roles/artifactregistry.reader"
  member     = "user:reader@example.com"
}

output "effective_labels" { value = google_artifact_registry_repository.public.effective_labels }
output "registry_uri" { value = google_artifact_registry_repository.public.registry_uri }
