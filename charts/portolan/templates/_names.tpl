{{/* Names */}}
{{- define "portolan.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "portolan.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := include "portolan.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "portolan.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "portolan.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "portolan.configMapName" -}}
{{- default (include "portolan.fullname" .) .Values.existingConfigMap }}
{{- end }}

{{- define "portolan.job" -}}
{{- default (printf "%s/%s" .Release.Namespace (include "portolan.fullname" .)) .Values.prometheusRule.job }}
{{- end }}

{{/* Labels */}}
{{- define "portolan.selectorLabels" -}}
app.kubernetes.io/name: {{ include "portolan.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: agent
{{- end }}

{{- define "portolan.labels" -}}
{{ include "portolan.selectorLabels" . }}
{{ include "portolan.furtherLabels" . }}
{{- end }}

{{- define "portolan.furtherLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: portolan
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Checks of values that depend on each other, which the schema cannot express */}}
{{- define "portolan.check" -}}
{{- if not (or .Values.sources.runtime.enabled .Values.sources.apiServer.enabled) }}
{{- fail "sources: at least one of sources.runtime.enabled and sources.apiServer.enabled must be true: nothing else tells which pods there are" }}
{{- end }}
{{- if and .Values.sources.runtime.enabled (not .Values.sources.runtime.socket) (not .Values.sources.runtime.directories) }}
{{- fail "sources.runtime: give the socket, or directories to look for it" }}
{{- end }}
{{- if not .Values.agent.netnsDirs }}
{{- fail "agent.netnsDirs: give at least one directory: without it no pod's network namespace is seen" }}
{{- end }}
{{- if and (.Values.state).enabled (not (.Values.state).hostPath) }}
{{- fail "state.hostPath: give a directory of the node, or set state.enabled to false" }}
{{- end }}
{{- if and (.Values.state).enabled (or (has (.Values.state).hostPath .Values.agent.netnsDirs) (contains ".." (.Values.state).hostPath)) }}
{{- fail "state.hostPath: give a directory that nothing else uses, without `..`" }}
{{- end }}
{{- if and .Values.exceptions .Values.existingConfigMap }}
{{- fail "exceptions and existingConfigMap exclude each other: put the exceptions into your ConfigMap" }}
{{- end }}
{{- if and (or .Values.agent.reports .Values.agent.events) (not .Values.sources.apiServer.enabled) }}
{{- fail "agent.reports and agent.events write to the API server: set sources.apiServer.enabled to true" }}
{{- end }}
{{- if and .Values.agent.otlp.endpoint (not .Values.agent.otlp.signals) }}
{{- fail "agent.otlp.signals: give at least one of logs and metrics, or leave agent.otlp.endpoint empty" }}
{{- end }}
{{- if and (hasPrefix "https:" .Values.agent.otlp.endpoint) (not .Values.agent.otlp.caConfigMap) }}
{{- fail "agent.otlp.caConfigMap: the image has no certificate authorities of its own: name a ConfigMap whose key ca.crt has those to trust" }}
{{- end }}
{{- if and .Values.agent.api.enabled (eq (int .Values.agent.api.port) (int .Values.agent.telemetry.port)) }}
{{- fail "agent.api.port and agent.telemetry.port must differ" }}
{{- end }}
{{- end }}
