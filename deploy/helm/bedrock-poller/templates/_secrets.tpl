{{/*
Secrets in values that everybody may read who may see ConfigMaps or pods. files/secrets.yaml says which settings
hold secrets, and what names and addresses of secrets look like. No message has the secret in it.
*/}}

{{/* Whether an address in a text has a password or a token: of (list root text). */}}
{{- define "bedrock-poller.secretAddress" -}}
{{- $text := index . 1 | toString -}}
{{- range (index . 0).Files.Get "files/secrets.yaml" | fromYaml | dig "addresses" list -}}
{{- if regexMatch . $text }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{/*
The secrets in part of the configuration, a line for each. It gets the root, the path and key of the part, its
value, the secret settings in it, and whether others are known by their names.
*/}}
{{- define "bedrock-poller.inlineSecrets" -}}
{{- $at := . -}}
{{- $known := get .settings .key | default dict -}}
{{- $text := kindIs "string" .value -}}
{{- $address := and $text (contains "://" .value) -}}
{{- $always := or (eq ($known.rule | default "") "always") (and .byName (regexMatch .names .key) (or $text (kindIs "slice" .value))) -}}
{{- $remedy := "put the whole configuration into a Secret, and name that in existingSecret" -}}
{{- with $known.file | default .file -}}
{{- $remedy = printf "put it into a Secret, name that in secretFiles, and its file in %s" . -}}
{{- end -}}
{{- if eq .path "config.store.url" -}}
{{- $remedy = "put it into a Secret, and name that in postgresql.passwordSecret.name" -}}
{{- end -}}
{{- $seen := "but config becomes a ConfigMap, which everybody who may read ConfigMaps can see" -}}
{{- if and $always .value (not $address) }}
{{ .path }} is a secret, {{ $seen }}: {{ $remedy }}
{{- else if and $text (include "bedrock-poller.secretAddress" (list .root .value)) }}
{{ .path }} holds a password or a token, {{ $seen }}: {{ $remedy }}
{{- else if kindIs "map" .value }}
{{- range $key, $value := .value }}
{{- include "bedrock-poller.inlineSecrets" (dict "root" $at.root "names" $at.names "settings" $at.settings "byName" (or $at.byName (eq ($known.rule | default "") "named")) "path" (printf "%s.%s" $at.path $key) "key" $key "value" $value "file" $known.file) }}
{{- end }}
{{- else if kindIs "slice" .value }}
{{- range $index, $value := .value }}
{{- include "bedrock-poller.inlineSecrets" (dict "root" $at.root "names" $at.names "settings" $at.settings "byName" $at.byName "path" (printf "%s[%d]" $at.path $index) "key" $at.key "value" $value) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* All of them, a line for each: in `config`, in postgresql.url and in the values of `extraEnv`. */}}
{{- define "bedrock-poller.secretsInValues" -}}
{{- $root := . -}}
{{- $about := .Files.Get "files/secrets.yaml" | fromYaml -}}
{{- if include "bedrock-poller.ownConfig" . -}}
{{- $config := .Values.config | default dict -}}
{{- include "bedrock-poller.inlineSecrets" (dict "root" $root "names" $about.names "settings" $about.settings "byName" false "path" "config" "key" "" "value" (omit $config "sinks")) }}
{{- range $name, $sink := $config.sinks }}
{{- $type := $sink.type | toString }}
{{- include "bedrock-poller.inlineSecrets" (dict "root" $root "names" $about.names "settings" (get $about.sinks $type | default dict) "byName" (not (hasKey $about.sinks $type)) "path" (printf "config.sinks.%s" $name) "key" "" "value" $sink) }}
{{- end }}
{{- end }}
{{- if include "bedrock-poller.secretAddress" (list $root .Values.postgresql.url) }}
postgresql.url holds a password, which everybody who may see the pod could read: put it into a Secret, and name that in postgresql.passwordSecret.name
{{- end }}
{{- range .Values.extraEnv }}
{{- $value := regexReplaceAll "\\$\\([^)]*\\)" (.value | default "" | toString) "" }}
{{- $setting := trimPrefix "BEDROCK_POLLER_" .name | splitList "__" | last | lower }}
{{- $secret := and (hasPrefix "BEDROCK_POLLER_" .name) (eq (dig $setting "rule" "" $about.settings) "always") }}
{{- if and $value (or $secret (regexMatch $about.names .name) (include "bedrock-poller.secretAddress" (list $root $value))) }}
extraEnv has the secret {{ .name }} as a plain value, which everybody who may see the pod could read: put it into a Secret, and take it from there with valueFrom.secretKeyRef
{{- end }}
{{- end }}
{{- end -}}
