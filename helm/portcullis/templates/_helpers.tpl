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
{{- fail "hostKeys.existingSecret is empty: clients recognise the gateway by its host keys, so they must outlive its Pods. Make them once: ssh-keygen -q -t ed25519 -N '' -f host_key && kubectl create secret generic portcullis-host-keys --from-file=host_key; then set hostKeys.existingSecret=portcullis-host-keys" -}}
{{- end -}}
{{- $identity := .Values.config.identity -}}
{{- if and (eq (default "webhook" $identity.provider) "webhook") (not $identity.url) -}}
{{- fail "config.identity.url is empty: set it to the webhook that is asked about logins" -}}
{{- end -}}
{{- $secrets := .Values.secrets -}}
{{- if and $secrets.existingSecret $secrets.values -}}
{{- fail "secrets.existingSecret and secrets.values are both set: choose one" -}}
{{- end -}}
{{- if and $secrets.existingSecret (not $secrets.settings) -}}
{{- fail "secrets.settings is empty: name the settings that secrets.existingSecret holds, such as [storage.secret_access_key]" -}}
{{- end -}}
{{- if and $secrets.settings (not $secrets.existingSecret) -}}
{{- fail "secrets.settings names what is in secrets.existingSecret, which is empty: set it, or use secrets.values" -}}
{{- end -}}
{{- with .Values.test -}}
{{- if and .enabled (not (and .user .existingSecret .hostKeyFingerprint)) -}}
{{- fail "test.enabled needs test.user, test.existingSecret and test.hostKeyFingerprint" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Values as TOML. Helm's own toToml writes whole numbers as 30.0, since YAML's numbers reach it as
floats; the gateway takes whole numbers only. What is null or empty is left out.
*/}}
{{- define "portcullis.toml" -}}
{{- range $section, $settings := . }}
{{- if kindIs "map" $settings }}
[{{ $section }}]
{{- range $name, $value := $settings }}
{{- if ne (toString $value | default "<nil>") "<nil>" }}
{{ $name }} = {{ include "portcullis.tomlValue" $value }}
{{- end }}
{{- end }}
{{ end }}
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
