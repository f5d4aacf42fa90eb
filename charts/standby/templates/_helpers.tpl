{{/* The name that every object of this release is named after. */}}
{{- define "standby.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "standby" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-standby" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the operator's pods. Storage nodes let these into their control port: keep
     name and component as they are. */}}
{{- define "standby.selector" -}}
app.kubernetes.io/name: standby
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "standby.labels" -}}
{{ include "standby.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "standby.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "standby.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "standby.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "standby.nodeImage" -}}
{{ .Values.nodeImage.repository }}:{{ .Values.nodeImage.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* What the operator may do where StandbyClusters live. Each rule says why. Objects are written by
     server-side apply: patch, and create for what is not there yet. Nothing that only goes with its
     cluster may be deleted: Kubernetes does that, by owner. */}}
{{- define "standby.rules" -}}
# What people ask for: read it, and hold it by a finalizer until its volumes are let go of.
- apiGroups: [standby.dev]
  resources: [standbyclusters]
  verbs: [get, list, watch, patch]
# Say what is.
- apiGroups: [standby.dev]
  resources: [standbyclusters/status]
  verbs: [patch]
# Be named as owner of a cluster's objects on API servers that check it.
- apiGroups: [standby.dev]
  resources: [standbyclusters/finalizers]
  verbs: [update]
# The recorded view: read live, replaced by compare-and-swap, released with its cluster.
- apiGroups: [standby.dev]
  resources: [standbyviews]
  verbs: [get, list, watch, create, update, patch]
# Storage nodes: made, labelled with their role, replaced. Their deaths are watched.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# Their volumes: made, kept or deleted as told, and replaced when their host is gone.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
# The Services -rw, -ro and -r.
- apiGroups: [""]
  resources: [services]
  verbs: [create, patch]
# Where they lead: this is how a new primary is announced. Watched, so that nobody else's change stays.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch, create, patch]
# The cluster's CA and certificates, by name. RBAC cannot tell Secrets apart by label.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
# How many storage nodes a drain may take now; a cluster of one has no budget.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, patch, delete]
# Who may reach the storage nodes, unless the cluster wants no policy.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, patch, delete]
# Say what was decided, and why.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
