{{- define "portcullis.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Leaves room for the suffix within the 63 characters of a name. */}}
{{- define "portcullis.suffixed" -}}
{{- printf "%s-%s" (include "portcullis.fullname" .root | trunc 50 | trimSuffix "-") .suffix -}}
{{- end -}}

{{- define "portcullis.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "portcullis.probeSelector" -}}
{{- include "portcullis.selector" . | replace "component: gateway" "component: probe" -}}
{{- end -}}

{{- define "portcullis.labels" -}}
{{ include "portcullis.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "portcullis.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "portcullis.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.secret" -}}
{{- if .Values.secrets.existingSecret -}}
{{- .Values.secrets.existingSecret -}}
{{- else if .Values.secrets.values -}}
{{- include "portcullis.suffixed" (dict "root" . "suffix" "settings") -}}
{{- end -}}
{{- end -}}

{{/* What no schema can say, each with its remedy. */}}
{{- define "portcullis.refuse" -}}
{{- if not .Values.hostKeys.existingSecret -}}
{{- fail "hostKeys.existingSecret is empty: all Pods need the same host keys, also after an upgrade. Make them once: ssh-keygen -q -t ed25519 -N '' -f host_key && kubectl create secret generic portcullis-host-keys --from-file=host_key; then set hostKeys.existingSecret=portcullis-host-keys" -}}
{{- end -}}
{{- include "portcullis.refuseProviders" . -}}
{{- $secrets := .Values.secrets -}}
{{- if and $secrets.existingSecret $secrets.values -}}
{{- fail "secrets.existingSecret and secrets.values are both set: choose one" -}}
{{- end -}}
{{- if and $secrets.existingSecret (not $secrets.settings) -}}
{{- fail "secrets.settings is empty: name the settings that secrets.existingSecret holds, such as [storage.secret_access_key]" -}}
{{- end -}}
{{- if and $secrets.settings (not $secrets.existingSecret) -}}
{{- fail "secrets.settings is set, but secrets.existingSecret is empty: set it, or use secrets.values" -}}
{{- end -}}
{{- with .Values.test -}}
{{- if and .enabled (not (and .user .existingSecret .hostKeyFingerprint)) -}}
{{- fail "test.enabled needs test.user, test.existingSecret and test.hostKeyFingerprint" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.refuseProviders" -}}
{{- $identity := default dict .Values.config.identity -}}
{{- $providers := default dict .Values.config.provider -}}
{{- $order := default list $identity.providers -}}
{{- if not (or $providers $order) -}}
{{- include "portcullis.refuseProvider" (dict "path" "config.identity" "settings" $identity) -}}
{{- end -}}
{{- if ne (sortAlpha (keys $providers) | join ",") (sortAlpha $order | join ",") -}}
{{- fail "config.identity.providers must list each table of config.provider once, in the order in which they are used" -}}
{{- end -}}
{{- range $name, $provider := $providers -}}
{{- $settings := mergeOverwrite (deepCopy $identity) $provider -}}
{{- include "portcullis.refuseProvider" (dict "path" (printf "config.provider.%s" $name) "settings" $settings) -}}
{{- $port := include "portcullis.portOf" $provider.listen -}}
{{- if has $port (list "2222" "9090" "9091") -}}
{{- fail (printf "config.provider.%s.listen: %s is already the main port, the admin port or the health check port; choose another one" $name $port) -}}
{{- end -}}
{{- end -}}
{{- range $name, $listener := default dict .Values.config.listener -}}
{{- $port := include "portcullis.portOf" $listener.listen -}}
{{- if has $port (list "9090" "9091") -}}
{{- fail (printf "config.listener.%s.listen: %s is already the admin port or the health check port; choose another one" $name $port) -}}
{{- end -}}
{{- end -}}
{{- $ports := include "portcullis.providerPorts" . | fromJsonArray -}}
{{- range $port, $_ := .Values.service.providerPorts -}}
{{- if not (has $port $ports) -}}
{{- fail (printf "service.providerPorts has %s, which no config.provider.NAME.listen has" $port) -}}
{{- end -}}
{{- end -}}
{{- $taken := list (toString .Values.service.port) -}}
{{- range $port := $ports -}}
{{- $outside := include "portcullis.servicePort" (dict "root" $ "port" $port) -}}
{{- if has $outside $taken -}}
{{- fail (printf "port %s of the Service would forward to two ports of the gateway: set service.providerPorts.%s.port to another one" $outside $port) -}}
{{- end -}}
{{- $taken = append $taken $outside -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.refuseProvider" -}}
{{- $asked := default "webhook" .settings.provider -}}
{{- $needed := dict "webhook" "url" "api-gateway" "url" "lambda" "function" "static" "users_file" -}}
{{- with get $needed $asked -}}
{{- if not (get $.settings .) -}}
{{- fail (printf "%s.%s is empty, but the provider %s needs it" $.path . $asked) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The port of an address; nothing of `off`. */}}
{{- define "portcullis.portOf" -}}
{{- if contains ":" (default "" .) -}}
{{- splitList ":" . | last -}}
{{- end -}}
{{- end -}}

{{/* What clients connect to in place of a provider's port. */}}
{{- define "portcullis.servicePort" -}}
{{- $seen := default dict (get .root.Values.service.providerPorts .port) -}}
{{- default .port $seen.port -}}
{{- end -}}

{{/* The ports of providers with a port of their own, each once, as a list in JSON. */}}
{{- define "portcullis.providerPorts" -}}
{{- $ports := list -}}
{{- range $provider := default dict .Values.config.provider -}}
{{- $ports = append $ports (include "portcullis.portOf" $provider.listen) -}}
{{- end -}}
{{- without ($ports | uniq | sortAlpha) "" | toJson -}}
{{- end -}}

{{/*
Values as TOML. Helm's own toToml writes whole numbers as 30.0, since YAML's numbers reach it as
floats; the gateway takes whole numbers only. What is null or empty is left out. A table of tables,
such as config.provider, has one section for each of them.
*/}}
{{- define "portcullis.toml" -}}
{{- $prefix := .prefix -}}
{{- range $section, $settings := .sections }}
{{- if kindIs "map" $settings }}
{{- $path := printf "%s%s" $prefix $section }}
{{- if has $path (list "provider" "role" "listener" "store" "api_key") }}
{{- include "portcullis.toml" (dict "prefix" (printf "%s." $path) "sections" $settings) }}
{{- else }}
[{{ $path }}]
{{- range $name, $value := $settings }}
{{- if ne (toString $value | default "<nil>") "<nil>" }}
{{ $name }} = {{ include "portcullis.tomlValue" $value }}
{{- end }}
{{- end }}
{{ end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "portcullis.tomlValue" -}}
{{- if kindIs "float64" . -}}
{{- int64 . -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{/* urlquery writes a space as +, which only a query understands. */}}
{{- define "portcullis.urlEscaped" -}}
{{- . | urlquery | replace "+" "%20" -}}
{{- end -}}

{{- define "portcullis.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "portcullis.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Bytes of a setting: a number, or text such as 192MiB. */}}
{{- define "portcullis.bytes" -}}
{{- $units := dict "" 1 "KiB" 1024 "MiB" 1048576 "GiB" 1073741824 "TiB" 1099511627776 -}}
{{- $text := kindIs "string" . | ternary (toString .) (printf "%d" (int64 .)) -}}
{{- mul (regexFind "^[0-9]+" $text | int64) (get $units (regexFind "[KMGT]iB$" $text)) -}}
{{- end -}}

{{/* Bytes of a quantity of Kubernetes, such as 640Mi. */}}
{{- define "portcullis.quantity" -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 -}}
{{- $text := kindIs "string" . | ternary (toString .) (printf "%d" (int64 .)) -}}
{{- $number := regexFind "^[0-9]+([.][0-9]+)?([eE][+]?[0-9]+)?" $text -}}
{{- $unit := trimPrefix $number $text -}}
{{- if or (not $number) (not (hasKey $units $unit)) -}}
{{- fail (printf "resources: memory %s is not a quantity; allowed: for example 1Gi" $text) -}}
{{- end -}}
{{- mulf (float64 $number) (get $units $unit) | floor | int64 -}}
{{- end -}}

{{/*
What the process may take, in MiB: the sum of docs/operations.md, Memory, which `check-config` makes
as well. `base` is what it takes without connections.
*/}}
{{- define "portcullis.memory" -}}
{{- $limits := default dict .Values.config.limits -}}
{{- $bytes := 67108864 -}}
{{- range $name, $default := dict "upload" "192MiB" "download" "128MiB" "session" "64MiB" -}}
{{- $set := get $limits (printf "%s_memory_bytes_max" $name) -}}
{{- $bytes = add $bytes (include "portcullis.bytes" (default $default $set) | int64) -}}
{{- end -}}
{{- $all := add $bytes (mul (int64 (default 2000 $limits.connections_max)) 294912) -}}
{{- $mib := dict "base" (div (add $bytes 1048575) 1048576) "all" (div (add $all 1048575) 1048576) -}}
{{- toJson $mib -}}
{{- end -}}

{{/* Requests and limits with memory in them, where nothing else is said. */}}
{{- define "portcullis.resources" -}}
{{- $mib := include "portcullis.memory" . | fromJson -}}
{{- $resources := deepCopy (default dict .Values.resources) -}}
{{- $limits := default dict $resources.limits -}}
{{- $requests := default dict $resources.requests -}}
{{- if $limits.memory -}}
{{- $given := include "portcullis.quantity" $limits.memory | int64 -}}
{{- if lt $given (mul (int64 $mib.all) 1048576) -}}
{{- fail (printf "resources.limits.memory is %v; allowed: at least %dMi, which the process may need with these config.limits (docs/operations.md, Memory). Raise it, or lower config.limits.connections_max or one of config.limits.*_memory_bytes_max" $limits.memory (int64 $mib.all)) -}}
{{- end -}}
{{- end -}}
{{- $most := printf "%dMi" (int64 $mib.all) -}}
{{- if $requests.memory -}}
{{- if gt (include "portcullis.quantity" $requests.memory | int64) (mul (int64 $mib.all) 1048576) -}}
{{- $most = $requests.memory -}}
{{- end -}}
{{- end -}}
{{- $limits = merge $limits (dict "memory" $most) -}}
{{- $requests = merge $requests (dict "memory" (printf "%dMi" (int64 $mib.base))) -}}
{{- toYaml (merge (dict "limits" $limits "requests" $requests) $resources) -}}
{{- end -}}
