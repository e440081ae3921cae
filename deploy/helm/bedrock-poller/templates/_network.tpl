{{/*
What the pods have to reach, as far as the values tell. A chart cannot see an existing configuration, nor
addresses in files; networkPolicy.egress has to name those.
*/}}

{{/* Every address in `config` and in the values of `extraEnv`, as a YAML list. */}}
{{- define "bedrock-poller.addresses" -}}
{{- $text := list -}}
{{- if include "bedrock-poller.ownConfig" . -}}
{{- $text = append $text (toYaml .Values.config) -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- $text = append $text (toYaml .value) -}}
{{- end -}}
{{- if .Values.postgresql.enabled -}}
{{- $text = append $text .Values.postgresql.url -}}
{{- end -}}
{{- regexFindAll "[A-Za-z][A-Za-z0-9+.-]*://[^\\s\"'<>]+" (join "\n" $text) -1 | uniq | toYaml -}}
{{- end -}}

{{/* The host, or hosts, and ports of an address: `db.example.com:6432`. */}}
{{- define "bedrock-poller.authority" -}}
{{- regexReplaceAll "^[^:]+://([^/?#]*@)?([^/?#]*).*$" . "${2}" | lower -}}
{{- end -}}

{{/* The ports of an address, separated by blanks: those it names, or the one of its scheme. */}}
{{- define "bedrock-poller.portsOf" -}}
{{- $usual := dict "http" "80" "https" "443" "postgresql" "5432" "postgresql+psycopg" "5432" -}}
{{- $authority := regexReplaceAll "\\[[^\\]]*\\]" (include "bedrock-poller.authority" .) "" -}}
{{- $named := concat (regexFindAll ":[0-9]+" $authority -1) (regexFindAll "[?&]port=[0-9]+" . -1) -}}
{{- if $named -}}
{{- regexFindAll "[0-9]+" (join " " $named) -1 | join " " -}}
{{- else -}}
{{- dig (regexFind "^[^:]+" . | lower) "" $usual -}}
{{- end -}}
{{- end -}}

{{/* The ports of any address that the pods may reach, as a YAML list. */}}
{{- define "bedrock-poller.egressPorts" -}}
{{- $ports := list -}}
{{- range .Values.networkPolicy.egress.ports -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- range include "bedrock-poller.addresses" . | fromYamlArray -}}
{{- range regexFindAll "[0-9]+" (include "bedrock-poller.portsOf" .) -1 -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toYaml -}}
{{- end -}}

{{/*
The namespaces of the Services that addresses name, as a YAML list; the namespace of the release is empty. Pods
may listen on another port than their Service, and a policy sees the pod's: hence the rule has no ports.
*/}}
{{- define "bedrock-poller.egressNamespaces" -}}
{{- $namespaces := list -}}
{{- range $address := include "bedrock-poller.addresses" . | fromYamlArray -}}
{{- range splitList "," (include "bedrock-poller.authority" $address) -}}
{{- $labels := splitList "." (regexReplaceAll ":[0-9]+$" . "") -}}
{{- if and (eq (len $labels) 1) (regexMatch "^[a-z][-a-z0-9]*$" (first $labels)) (ne (first $labels) "localhost") -}}
{{- $namespaces = append $namespaces "" -}}
{{- else if and (eq (len $labels) 2) (not (hasPrefix "https:" $address)) -}}
{{- $namespaces = append $namespaces (last $labels) -}}
{{- else if and (ge (len $labels) 3) (has "svc" (rest (rest $labels))) -}}
{{- $namespaces = append $namespaces (regexFind "[^.]+\\.svc(\\.|$)" (join "." $labels) | splitList "." | first) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $valid := list -}}
{{- range $namespaces | uniq -}}
{{- if regexMatch "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$" . -}}
{{- $valid = append $valid . -}}
{{- end -}}
{{- end -}}
{{- $valid | toYaml -}}
{{- end -}}
