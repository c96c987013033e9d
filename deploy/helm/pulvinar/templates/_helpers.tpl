{{- define "pulvinar.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pulvinar.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pulvinar.labels" -}}
{{ include "pulvinar.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "pulvinar.scales" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}yes{{- end -}}
{{- end -}}

{{- /* Combinations that a schema cannot name. */ -}}
{{- define "pulvinar.check" -}}
{{- if and (include "pulvinar.scales" .) (not .Values.state.secret) (not .Values.state.separate) -}}
{{- fail "several replicas count budgets and rates together only with Redis: set state.secret to a Secret with its URL, or state.separate=true to let each count by itself" -}}
{{- end -}}
{{- if and (include "pulvinar.scales" .) .Values.persistence.enabled -}}
{{- fail "several replicas cannot share the store's volume: set persistence.enabled=false, and records.secret to a Secret with the URL of PostgreSQL to keep records" -}}
{{- end -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int .Values.drainSeconds) -}}
{{- fail "terminationGracePeriodSeconds must be longer than drainSeconds plus the longest response" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is below autoscaling.minReplicas" -}}
{{- end -}}
{{- end -}}
