{{- define "surefoot.labels" -}}
app.kubernetes.io/name: surefoot
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{- define "surefoot.selector" -}}
app.kubernetes.io/name: surefoot
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "surefoot.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}
{{- define "surefoot.replicas" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicas }}{{ end -}}
{{- end }}
{{- define "surefoot.check" -}}
{{- if and (not .Values.existingConfigSecret) (gt (int (include "surefoot.replicas" .)) 1) (hasPrefix "sqlite:" .Values.config.serve.state) -}}
{{- fail "config.serve.state is SQLite, which is for one process: several replicas need postgresql://..." -}}
{{- end -}}
{{- if and .Values.vault.enabled (not .Values.vault.address) -}}
{{- fail "vault.enabled needs vault.address, such as https://vault.example:8200" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not (and .Values.ingress.host .Values.ingress.tlsSecret)) -}}
{{- fail "ingress.enabled needs ingress.host and ingress.tlsSecret: keys do not go over plain HTTP" -}}
{{- end -}}
{{- end }}
{{- /* A map as TOML: toToml writes every whole number as a float, and toJson's scalars and lists of scalars are TOML as they are. */ -}}
{{- define "surefoot.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table }}
{{- if not (or (kindIs "map" $value) (and (kindIs "slice" $value) $value (kindIs "map" (first $value))) (kindIs "invalid" $value)) }}
{{ toJson $key }} = {{ toRawJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- $inside := append $path (toJson $key) }}
{{- if kindIs "map" $value }}
[{{ join "." $inside }}]
{{- include "surefoot.toml" (dict "table" $value "path" $inside) }}
{{- else if and (kindIs "slice" $value) $value (kindIs "map" (first $value)) }}
{{- range $value }}
[[{{ join "." $inside }}]]
{{- include "surefoot.toml" (dict "table" . "path" $inside) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
