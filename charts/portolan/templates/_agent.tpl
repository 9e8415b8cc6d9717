{{/* The agent: image, arguments, privileges, and mounts of the node */}}
{{- define "portolan.image" -}}
{{- $repository := .Values.image.repository }}
{{- $first := splitList "/" $repository | first }}
{{- if .Values.image.registry }}
{{- $repository = printf "%s/%s" .Values.image.registry $repository }}
{{- else if not (contains "/" $repository) }}
{{- /* A short name is Docker Hub's to containerd, and refused by CRI-O: the full name is the same to both */}}
{{- $repository = printf "docker.io/library/%s" $repository }}
{{- else if not (or (contains "." $first) (contains ":" $first) (eq $first "localhost")) }}
{{- $repository = printf "docker.io/%s" $repository }}
{{- end }}
{{- $released := index (default dict .Chart.Annotations) "portolan.dev/image" | default "" }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else if and (not .Values.image.tag) (hasPrefix (printf "%s@" $repository) $released) }}
{{- $released }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* `--metadata`: the sources of pods, strongest first */}}
{{- define "portolan.metadata" -}}
{{- $sources := list }}
{{- with .Values.sources.runtime }}
{{- if .enabled }}{{ $sources = append $sources (ternary (printf "cri=%s" .socket) "cri" (ne .socket "")) }}{{ end }}
{{- end }}
{{- if .Values.sources.apiServer.enabled }}{{ $sources = append $sources "kubernetes" }}{{ end }}
{{- join "," $sources }}
{{- end }}

{{- define "portolan.args" -}}
{{- $a := .Values.agent -}}
- agent
- --config=/etc/portolan/config.yaml
- --metadata={{ include "portolan.metadata" . }}
{{- if .Values.sources.apiServer.enabled }}
- --services={{ .Values.sources.apiServer.services }}
- --policies={{ .Values.sources.apiServer.networkPolicies }}
{{- end }}
{{- with .Values.clusterName }}
- {{ printf "--cluster-name=%s" . | toJson }}
{{- end }}
- --api={{ ternary (printf "127.0.0.1:%d" (int $a.api.port)) "off" $a.api.enabled }}
- --telemetry={{ $a.telemetry.address }}:{{ int $a.telemetry.port }}
- --traffic={{ $a.traffic }}
- --record={{ $a.record }}
- --output={{ $a.output }}
{{- with $a.kinds }}
- --kinds={{ join "," . }}
{{- end }}
- --grace={{ $a.grace }}
- --stale-grace={{ $a.staleGrace }}
- --repeat-findings={{ $a.repeatFindings }}
{{- if $a.includeHost }}
- --include-host
{{- end }}
{{- if $a.scanOnly }}
- --scan-only
{{- end }}
{{- if ne $a.exceptionAnnotations "namespace" }}
- --exception-annotations={{ $a.exceptionAnnotations }}
{{- end }}
{{- with $a.podCidrs }}
- --pod-cidr={{ join "," . }}
{{- end }}
{{- with $a.nodeCidrs }}
- --node-cidr={{ join "," . }}
{{- end }}
{{- range $a.netnsDirs }}
- --netns-dir={{ . }}
{{- end }}
- --state-dir={{ if (.Values.state).enabled }}{{ .Values.state.hostPath }}{{ else }}off{{ end }}
- --kernel-log={{ $a.kernelLog }}
- --max-listeners={{ int $a.limits.listeners }}
- --max-peers={{ int $a.limits.peers }}
- --max-peers-per-port={{ int $a.limits.peersPerPort }}
- --max-findings-per-pod={{ int $a.limits.findingsPerPod }}
- --max-connections={{ int $a.limits.connections }}
- --max-records-per-second={{ int $a.limits.recordsPerSecond }}
- --max-connection-lines={{ int $a.limits.connectionLines }}
{{- if $a.reports }}
- --reports
{{- end }}
{{- if $a.events }}
- --events
{{- end }}
{{- with $a.otlp }}
{{- if .endpoint }}
- --otlp={{ .endpoint }}
- --otlp-signals={{ join "," .signals }}
- --otlp-interval={{ .interval }}
{{- if .caConfigMap }}
- --otlp-ca=/etc/portolan-otlp/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- with $a.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "portolan.env" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: PORTOLAN_LOG
  value: {{ printf "%s,kube_client=off" .Values.agent.logLevel | quote }}
{{- if .Values.agent.api.enabled }}
- name: PORTOLAN_SERVER
  value: {{ printf "http://127.0.0.1:%d" (int .Values.agent.api.port) | quote }}
{{- end }}
{{- with .Values.agent.otlp }}
{{- if and .endpoint .headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .headersSecret }}
      key: headers
{{- end }}
{{- end }}
{{- with .Values.agent.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Security context of the container */}}
{{- define "portolan.securityContext" -}}
{{- $selinux := .Values.securityContext.seLinuxOptions }}
{{- if and .Values.openshift.enabled (not $selinux) }}{{ $selinux = dict "type" "spc_t" }}{{ end -}}
runAsUser: 0
runAsGroup: 0
runAsNonRoot: false
readOnlyRootFilesystem: true
{{- if .Values.privileged }}
privileged: true
{{- else }}
privileged: false
allowPrivilegeEscalation: false
capabilities:
  {{- toYaml .Values.securityContext.capabilities | nindent 2 }}
{{- with .Values.securityContext.seccompProfile }}
seccompProfile:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.securityContext.appArmorProfile }}
{{- if semverCompare ">=1.30.0-0" $.Capabilities.KubeVersion.Version }}
appArmorProfile:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- with $selinux }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* AppArmor annotation for Kubernetes before 1.30; the argument is the container's name */}}
{{- define "portolan.appArmorAnnotation" -}}
{{- $profile := .root.Values.securityContext.appArmorProfile }}
{{- if and $profile (not .root.Values.privileged) (semverCompare "<1.30.0-0" .root.Capabilities.KubeVersion.Version) }}
{{- $known := dict "Unconfined" "unconfined" "RuntimeDefault" "runtime/default" }}
{{- $written := default (printf "localhost/%s" (default "" $profile.localhostProfile)) (get $known $profile.type) -}}
container.apparmor.security.beta.kubernetes.io/{{ .container }}: {{ $written | quote }}
{{- end }}
{{- end }}

{{/* Paths of the node to mount for the runtime's socket. The path is the socket's directory, because a restarted runtime creates
a new socket. If that directory is /run or /var/run, which contains much more, the path is the socket itself */}}
{{- define "portolan.runtimePaths" -}}
{{- $runtime := .Values.sources.runtime }}
{{- $paths := $runtime.directories }}
{{- if $runtime.socket }}
{{- $paths = list (ternary $runtime.socket (dir $runtime.socket) (has (dir $runtime.socket) (list "/run" "/var/run"))) }}
{{- end }}
{{- toJson (ternary $paths list $runtime.enabled) }}
{{- end }}

{{/* Mounts of the node; only the state directory is writable. New mounts and unmounts must both reach the agent: without unmounts it would keep ended netns alive */}}
{{- define "portolan.hostMounts" -}}
- name: cgroup
  mountPath: /sys/fs/cgroup
  readOnly: true
{{- range $i, $dir := .Values.agent.netnsDirs }}
- name: netns-{{ $i }}
  mountPath: {{ $dir }}
  readOnly: true
  mountPropagation: HostToContainer
{{- end }}
{{- range $i, $path := include "portolan.runtimePaths" . | fromJsonArray }}
- name: runtime-{{ $i }}
  mountPath: {{ $path }}
  readOnly: true
  {{- if ne $path $.Values.sources.runtime.socket }}
  mountPropagation: HostToContainer
  {{- end }}
{{- end }}
{{- if (.Values.state).enabled }}
- name: state
  mountPath: {{ (.Values.state).hostPath }}
{{- end }}
{{- end }}

{{- define "portolan.hostVolumes" -}}
- name: cgroup
  hostPath:
    path: /sys/fs/cgroup
    type: Directory
{{- range $i, $dir := .Values.agent.netnsDirs }}
- name: netns-{{ $i }}
  hostPath:
    path: {{ $dir }}
    type: DirectoryOrCreate
{{- end }}
{{- range $i, $path := include "portolan.runtimePaths" . | fromJsonArray }}
- name: runtime-{{ $i }}
  hostPath:
    path: {{ $path }}
    type: {{ ternary "Socket" "DirectoryOrCreate" (eq $path $.Values.sources.runtime.socket) }}
{{- end }}
{{- if (.Values.state).enabled }}
- name: state
  hostPath:
    path: {{ (.Values.state).hostPath }}
    type: DirectoryOrCreate
{{- end }}
{{- end }}

{{/* Scheduling and service account of a pod of this chart */}}
{{- define "portolan.placement" -}}
serviceAccountName: {{ include "portolan.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.sources.apiServer.enabled }}
enableServiceLinks: false
hostPID: true
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
