{{/* The file of the program, as it is mounted. */}}
{{- define "bedrock-poller.config" -}}
{{- toYaml .Values.config -}}
{{- end -}}

{{/* What rolls the pods. A configuration that exists is not looked at: it may not be there yet. */}}
{{- define "bedrock-poller.ownConfig" -}}
{{- if not (or .Values.existingConfigMap .Values.existingSecret) }}yes{{ end -}}
{{- end -}}

{{- define "bedrock-poller.configUrl" -}}
{{- if include "bedrock-poller.ownConfig" . -}}
{{- dig "store" "url" "" (.Values.config | default dict) -}}
{{- end -}}
{{- end -}}

{{/* `1m30s` in whole seconds, rounded up. */}}
{{- define "bedrock-poller.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|s|m|h|d)" . -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $sum = addf $sum (mulf (trimSuffix $unit . | float64) (index $units $unit)) -}}
{{- end -}}
{{- $sum | ceil | int -}}
{{- end -}}

{{- define "bedrock-poller.graceSeconds" -}}
{{- $grace := "20s" -}}
{{- if include "bedrock-poller.ownConfig" . -}}
{{- $grace = dig "shutdown" "grace" $grace (.Values.config | default dict) -}}
{{- end -}}
{{- include "bedrock-poller.seconds" $grace -}}
{{- end -}}

{{- define "bedrock-poller.terminationGracePeriodSeconds" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add (include "bedrock-poller.graceSeconds" .) 20 -}}
{{- else -}}
{{- .Values.terminationGracePeriodSeconds | int -}}
{{- end -}}
{{- end -}}

{{/* HTTPS if the web server has a certificate; of a configuration that exists only the user can tell. */}}
{{- define "bedrock-poller.scheme" -}}
{{- $tls := and (include "bedrock-poller.ownConfig" .) (dig "web" "tls" "" (.Values.config | default dict)) -}}
{{- .Values.web.scheme | default (ternary "HTTPS" "HTTP" (not (empty $tls))) -}}
{{- end -}}

{{/* A probe, with the scheme that the web server speaks. */}}
{{- define "bedrock-poller.probe" -}}
{{- $probe := index . 1 | deepCopy -}}
{{- if and $probe.httpGet (eq (include "bedrock-poller.scheme" (index . 0)) "HTTPS") -}}
{{- $_ := set $probe "httpGet" (merge $probe.httpGet (dict "scheme" "HTTPS")) -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}
