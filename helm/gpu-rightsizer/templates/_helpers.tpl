{{- define "gpu-rightsizer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "gpu-rightsizer.fullname" -}}
{{- $name := include "gpu-rightsizer.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- /* Name of cluster-scoped objects. One release serves the whole cluster, and a second one is refused by Helm because
       it would own the same names; releases that serve some namespaces stand side by side. */ -}}
{{- define "gpu-rightsizer.clusterName" -}}
{{- if .Values.watchNamespaces -}}
{{- printf "%s-%s" (include "gpu-rightsizer.fullname" .) .Release.Namespace -}}
{{- else -}}
{{- include "gpu-rightsizer.fullname" . -}}
{{- end -}}
{{- end }}

{{- define "gpu-rightsizer.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gpu-rightsizer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gpu-rightsizer.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "gpu-rightsizer.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: gpu-rightsizer
{{- end }}

{{- define "gpu-rightsizer.serviceAccountName" -}}
{{- default (include "gpu-rightsizer.fullname" .) .Values.serviceAccount.name -}}
{{- end }}

{{- define "gpu-rightsizer.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{- /* "true" when the CustomResourceDefinition `.name` is this release's to render: absent, ours, or to be adopted. */ -}}
{{- define "gpu-rightsizer.crdIsOurs" -}}
{{- $live := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" .name -}}
{{- $notes := dig "metadata" "annotations" (dict) $live | default dict -}}
{{- $labels := dig "metadata" "labels" (dict) $live | default dict -}}
{{- if or (not $live) .root.Values.crds.adopt -}}
true
{{- else if and (eq (get $notes "meta.helm.sh/release-name") .root.Release.Name)
                (eq (get $notes "meta.helm.sh/release-namespace") .root.Release.Namespace)
                (eq (get $labels "app.kubernetes.io/managed-by") "Helm") -}}
true
{{- end -}}
{{- end }}

{{- /* Label selector for the namespaces served, empty for all of them. */ -}}
{{- define "gpu-rightsizer.namespaceSelector" -}}
{{- with .Values.watchNamespaces -}}
namespaceSelector:
  matchExpressions:
    - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}
{{- end -}}
{{- end }}

{{- /* What can be granted namespace by namespace. */ -}}
{{- define "gpu-rightsizer.namespacedRules" -}}
- apiGroups: [gpu-rightsizer.dev]
  resources: [inferencedeployments]
  verbs: [get, list, watch, patch]
- apiGroups: [gpu-rightsizer.dev]
  resources: [inferencedeployments/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments, statefulsets, replicasets]
  verbs: [get, list]
- apiGroups: [""]
  resources: [pods, persistentvolumeclaims]
  verbs: [get, list]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list]
{{- if .Values.rbac.scaledObjects }}
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- /* What belongs to no namespace. */ -}}
{{- define "gpu-rightsizer.clusterRules" -}}
- apiGroups: [gpu-rightsizer.dev]
  resources: [instanceclasses, rightsizingpolicies]
  verbs: [get, list, watch]
{{- if not .Values.watchNamespaces }}
- apiGroups: [gpu-rightsizer.dev]
  resources: [instanceclasses/status, rightsizingpolicies/status]
  verbs: [patch]
{{- end }}
- apiGroups: [""]
  resources: [nodes, persistentvolumes, namespaces]
  verbs: [get, list]
{{- end }}

{{- /* Everything that makes the installation wrong in a way the schema cannot say. */ -}}
{{- define "gpu-rightsizer.validate" -}}
{{- $p := .Values.prometheus -}}
{{- if not $p.url -}}
{{- fail "`prometheus.url` is not set. Say where metrics are read, as in --set prometheus.url=http://prometheus-operated.monitoring.svc:9090" -}}
{{- end -}}
{{- $keys := list $p.bearerTokenKey $p.basicAuth.usernameKey $p.basicAuth.passwordKey $p.clientCertificate.certificateKey $p.clientCertificate.privateKeyKey -}}
{{- if not $p.ca.configMap }}{{ $keys = append $keys $p.ca.key }}{{ end -}}
{{- if and (compact $keys) (not $p.existingSecret) -}}
{{- fail (printf "`prometheus.existingSecret` is not set. Name the Secret that holds %s" (compact $keys | join ", ")) -}}
{{- end -}}
{{- if and $p.existingSecret (not (compact $keys)) -}}
{{- fail (printf "`prometheus.existingSecret` is %s, but no key of it is named. Set `prometheus.bearerTokenKey`, `prometheus.basicAuth`, `prometheus.clientCertificate` or `prometheus.ca.key`" $p.existingSecret) -}}
{{- end -}}
{{- if ne (empty $p.basicAuth.usernameKey) (empty $p.basicAuth.passwordKey) -}}
{{- fail "`prometheus.basicAuth` needs both `usernameKey` and `passwordKey`" -}}
{{- end -}}
{{- if ne (empty $p.clientCertificate.certificateKey) (empty $p.clientCertificate.privateKeyKey) -}}
{{- fail "`prometheus.clientCertificate` needs both `certificateKey` and `privateKeyKey`" -}}
{{- end -}}
{{- if and $p.bearerTokenKey $p.basicAuth.usernameKey -}}
{{- fail "`prometheus.bearerTokenKey` and `prometheus.basicAuth` exclude each other. Keep one" -}}
{{- end -}}
{{- if and $p.ca.configMap (not $p.ca.key) -}}
{{- fail (printf "`prometheus.ca.key` is not set. Name the key of the ConfigMap %s that holds the certificate authority" $p.ca.configMap) -}}
{{- end -}}
{{- end }}
