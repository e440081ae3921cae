{{/*
What no schema can say, all of it at once. Each message says what is wrong and which value to set.
*/}}
{{- define "bedrock-poller.checks" -}}
{{- $values := .Values -}}
{{- $own := include "bedrock-poller.ownConfig" . -}}
{{- $url := include "bedrock-poller.configUrl" . -}}
{{- $wrong := list -}}
{{- if and (gt (int $values.replicaCount) 1) (not $values.postgresql.enabled) -}}
{{- $wrong = append $wrong (printf "replicaCount is %d, but SQLite takes one replica only: set replicaCount to 1, or use PostgreSQL (postgresql.enabled)" (int $values.replicaCount)) -}}
{{- end -}}
{{- if and $values.existingConfigMap $values.existingSecret -}}
{{- $wrong = append $wrong "existingConfigMap and existingSecret are both set: keep the one that holds the configuration" -}}
{{- end -}}
{{- if and (hasPrefix "postgresql" $url) (not $values.postgresql.enabled) -}}
{{- $wrong = append $wrong "config.store.url is an address of PostgreSQL: set postgresql.enabled to true, too" -}}
{{- end -}}
{{- if and $values.postgresql.enabled $own (not $values.postgresql.url) (not (hasPrefix "postgresql" $url)) -}}
{{- $wrong = append $wrong "postgresql.enabled is true, but there is no address: set postgresql.url, such as postgresql://bedrock_poller@db.example.com/bedrock_poller" -}}
{{- end -}}
{{- if and $values.postgresql.enabled $values.postgresql.url $url -}}
{{- $wrong = append $wrong "postgresql.url and config.store.url are both set: keep one of them" -}}
{{- end -}}
{{- range splitList "\n" (include "bedrock-poller.secretsInValues" .) -}}
{{- with trim . -}}
{{- $wrong = append $wrong . -}}
{{- end -}}
{{- end -}}
{{- if and $own (dig "web" "listen" "" ($values.config | default dict)) -}}
{{- $wrong = append $wrong "config.web.listen has no effect in the pod: set web.host and web.port instead" -}}
{{- end -}}
{{- if and $own (dig "web" "tls" "client_ca_file" "" ($values.config | default dict)) -}}
{{- range $name := list "startupProbe" "livenessProbe" "readinessProbe" -}}
{{- if dig "httpGet" "" (get $values $name | default dict) -}}
{{- $wrong = append $wrong (printf "%s asks by HTTP, but config.web.tls.client_ca_file lets nobody in without a certificate: set %s.httpGet to null, and %s.tcpSocket to {port: http}" $name $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq ($values.dnsPolicy | default "") "None") (not (dig "nameservers" "" ($values.dnsConfig | default dict))) -}}
{{- $wrong = append $wrong "dnsPolicy is None, but dnsConfig has no nameservers: set dnsConfig.nameservers, or another dnsPolicy" -}}
{{- end -}}
{{- range $key := list "initContainers" "extraContainers" -}}
{{- range get $values $key -}}
{{- if eq .name "bedrock-poller" -}}
{{- $wrong = append $wrong (printf "%s has a container called bedrock-poller, which is the program's own name: rename it" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $enough := add (include "bedrock-poller.graceSeconds" .) 10 -}}
{{- if lt (include "bedrock-poller.terminationGracePeriodSeconds" . | int) (int $enough) -}}
{{- $wrong = append $wrong (printf "terminationGracePeriodSeconds is %d, but shutdown.grace asks for %d at least: raise it, or leave it out" (int $values.terminationGracePeriodSeconds) $enough) -}}
{{- end -}}
{{- $mounted := "/etc/bedrock-poller/secrets" -}}
{{- if and $own (contains (printf "%s/" $mounted) (toYaml $values.config)) (not $values.secretFiles) (not (has $mounted (include "bedrock-poller.extraMountPaths" . | fromYamlArray))) -}}
{{- $wrong = append $wrong (printf "config names a file in %s, but no Secret is mounted there: name one in secretFiles" $mounted) -}}
{{- end -}}
{{- with $wrong -}}
{{- fail (printf "\n\nThese values of bedrock-poller cannot be used:\n- %s\n" (join "\n- " .)) -}}
{{- end -}}
{{- end -}}

{{- define "bedrock-poller.extraMountPaths" -}}
{{- $paths := list -}}
{{- range .Values.extraVolumeMounts -}}
{{- $paths = append $paths (.mountPath | trimSuffix "/") -}}
{{- end -}}
{{- toYaml $paths -}}
{{- end -}}
