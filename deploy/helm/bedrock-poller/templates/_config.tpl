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

{{/* The ports that the addresses of the configured sinks name. */}}
{{- define "bedrock-poller.sinkPorts" -}}
{{- $ports := list -}}
{{- if include "bedrock-poller.ownConfig" . -}}
{{- range $sink := dig "sinks" (dict) (.Values.config | default dict) -}}
{{- with get ($sink | default dict) "url" -}}
{{- $authority := regexReplaceAll "^[a-z]+://([^@/?#]*@)?([^/?#]*).*$" . "${2}" -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" | default (ternary "80" "443" (hasPrefix "http://" .)) -}}
{{- $ports = append $ports (float64 $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toYaml -}}
{{- end -}}

{{/* Where secrets stand in the configuration, which becomes a ConfigMap. */}}
{{- define "bedrock-poller.inlineSecrets" -}}
{{- $telling := "(?i)(secret|password|passwd|passphrase|token|api_?key|private_?key|credential|authorization|dsn|cookie)" -}}
{{- $found := list -}}
{{- if include "bedrock-poller.ownConfig" . -}}
{{- range $name, $sink := dig "sinks" (dict) (.Values.config | default dict) -}}
{{- range $key, $value := $sink | default dict -}}
{{- $at := printf "config.sinks.%s.%s" $name $key -}}
{{- if eq $key "headers" -}}
{{- range $header := keys ($value | default dict) | sortAlpha -}}
{{- if regexMatch (printf "%s|(?i)[-_]key$" $telling) $header -}}
{{- $found = append $found (printf "%s.%s" $at $header) -}}
{{- end -}}
{{- end -}}
{{- else if and (kindIs "string" $value) (regexMatch "://[^/@ ]*:[^/@ ]+@" $value) -}}
{{- $found = append $found $at -}}
{{- else if and $value (regexMatch $telling $key) (not (regexMatch "_files?$" $key)) -}}
{{- $found = append $found $at -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $index, $target := dig "targets" (list) (.Values.config | default dict) -}}
{{- if dig "external_id" "" $target -}}
{{- $found = append $found (printf "config.targets[%d].external_id" $index) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found | toYaml -}}
{{- end -}}

{{/* The port of a postgresql:// address. */}}
{{- define "bedrock-poller.postgresqlPort" -}}
{{- $url := .Values.postgresql.url | default (include "bedrock-poller.configUrl" .) -}}
{{- $authority := regexReplaceAll "^[a-z+]+://([^@/?]*@)?([^/?]*).*$" $url "${2}" -}}
{{- regexFind ":[0-9]+$" $authority | trimPrefix ":" | default "5432" -}}
{{- end -}}
