{{- define "bedrock-poller.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "bedrock-poller.fullname" -}}
{{- $name := include "bedrock-poller.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "bedrock-poller.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "bedrock-poller.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* What a pod is selected by, for ever: a Deployment's selector cannot be changed. */}}
{{- define "bedrock-poller.selectorLabels" -}}
app.kubernetes.io/name: {{ include "bedrock-poller.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bedrock-poller.labels" -}}
{{- $fixed := include "bedrock-poller.selectorLabels" . | fromYaml -}}
{{- $version := .Values.image.tag | default .Chart.AppVersion | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" $version
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{- merge $fixed $own .Values.commonLabels | toYaml -}}
{{- end -}}

{{/* The annotations of an object: its own go before commonAnnotations. */}}
{{- define "bedrock-poller.annotations" -}}
{{- $common := (index . 0).Values.commonAnnotations | default dict -}}
{{- with merge (dict) (index . 1 | default dict) $common -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "bedrock-poller.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels and annotations of the objects for Prometheus and Grafana, which may lie in other namespaces. */}}
{{- define "bedrock-poller.monitoringMetadata" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
name: {{ include "bedrock-poller.fullname" $root }}
{{- with $own.namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- merge (include "bedrock-poller.labels" $root | fromYaml) $own.labels | toYaml | nindent 2 }}
{{- with include "bedrock-poller.annotations" (list $root $own.annotations) }}
{{ . }}
{{- end }}
{{- end -}}
