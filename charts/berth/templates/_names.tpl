{{- define "berth.labels" -}}
app.kubernetes.io/name: berth
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: berth
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Argument: dict "root" $ "component" "operator". */}}
{{- define "berth.selector" -}}
app.kubernetes.io/name: berth
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "berth.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "berth.operatorUser" -}}system:serviceaccount:{{ .Release.Namespace }}:{{ .Release.Name }}-operator{{- end }}
{{- define "berth.importerUser" -}}system:serviceaccount:{{ .Release.Namespace }}:{{ .Release.Name }}-importer{{- end }}
{{- define "berth.uninstallUser" -}}system:serviceaccount:{{ .Release.Namespace }}:{{ .Release.Name }}-uninstall{{- end }}
{{- define "berth.providerUser" -}}system:serviceaccount:{{ .Values.providerServiceAccount.namespace }}:{{ .Values.providerServiceAccount.name }}{{- end }}

{{- define "berth.operatorReplicas" -}}
{{- if kindIs "invalid" .Values.operator.replicas -}}
{{ ternary 1 2 (hasPrefix "file://" .Values.ledger.url) }}
{{- else -}}
{{ .Values.operator.replicas }}
{{- end -}}
{{- end }}

{{/* Says "true" where the store is a volume that one node alone may mount. */}}
{{- define "berth.storeIsOnOneNode" -}}
{{- if and (hasPrefix "file://" .Values.store.url) (not (has "ReadWriteMany" .Values.store.persistence.accessModes)) }}true{{ end }}
{{- end }}

{{/* Label that importer and store share where they must share a node. */}}
{{- define "berth.storeVolumeLabel" -}}
{{- if include "berth.storeIsOnOneNode" . }}
berth.dev/store-volume: {{ .Release.Name }}
{{- end }}
{{- end }}

{{/*
Affinity of a pod that mounts the store: the chart user's, and the company of the others that mount a volume of one node.
Each of them carries the label that it asks for, so the first one finds its place too. Argument: dict "root" $ "settings" .Values.importer.
*/}}
{{- define "berth.storeAffinity" -}}
{{- $own := dict }}
{{- if include "berth.storeIsOnOneNode" .root }}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (dict "berth.dev/store-volume" .root.Release.Name)) }}
{{- $own = dict "podAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term)) }}
{{- end }}
{{- mergeOverwrite $own (deepCopy .settings.affinity) | toYaml }}
{{- end }}

{{- define "berth.storeReplicas" -}}
{{- if kindIs "invalid" .Values.storeService.replicas -}}
{{ ternary 1 2 (eq (include "berth.storeIsOnOneNode" .) "true") }}
{{- else -}}
{{ .Values.storeService.replicas }}
{{- end -}}
{{- end }}

{{/* Scheme and host that signed addresses of the store have, as the S3 client writes them. */}}
{{- define "berth.redirectOrigin" -}}
{{- $suffix := ternary "amazonaws.com.cn" "amazonaws.com" (hasPrefix "cn-" .Values.store.region) }}
{{- $bucket := .Values.store.url | trimPrefix "s3://" | splitList "/" | first }}
{{- if and .Values.store.endpoint (eq .Values.store.addressingStyle "VirtualHost") }}{{ .Values.store.endpoint | trimSuffix "/" | replace "://" (printf "://%s." $bucket) }}
{{- else if .Values.store.endpoint }}{{ .Values.store.endpoint | trimSuffix "/" }}
{{- else if contains "." $bucket }}https://s3.{{ .Values.store.region }}.{{ $suffix }}
{{- else }}https://{{ $bucket }}.s3.{{ .Values.store.region }}.{{ $suffix }}
{{- end }}
{{- end }}

{{/* Public keys without their armour, separated by commas. Argument: list of PEM texts. */}}
{{- define "berth.publicKeys" -}}
{{- $keys := list }}
{{- range . }}
{{- $keys = append $keys (regexReplaceAll "-----[A-Z ]+-----|\\s" . "") }}
{{- end }}
{{- join "," $keys }}
{{- end }}

{{/* Directory of a file:// URL. Argument: the URL. */}}
{{- define "berth.directory" -}}{{ trimPrefix "file://" . | trimSuffix "/" }}{{- end }}

{{- define "berth.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "berth.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Environment with the credentials of an S3 URL. Argument: dict "prefix" "BERTH_LEDGER" "settings" .Values.ledger. */}}
{{- define "berth.credentials" -}}
{{- if hasPrefix "s3://" .settings.url }}
- name: {{ .prefix }}_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ .settings.existingSecret }}
      key: {{ .settings.accessKeyIdKey }}
- name: {{ .prefix }}_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .settings.existingSecret }}
      key: {{ .settings.secretAccessKeyKey }}
{{- end }}
{{- end }}

{{- define "berth.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{- define "berth.ownEnvironment" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- end }}

{{/* True where the importer reaches sources through a proxy. */}}
{{- define "berth.proxied" -}}
{{- with .Values.importer }}
{{- if or .httpsProxy .httpProxy .proxySecret.existingSecret }}true{{ end }}
{{- end }}
{{- end }}

{{/* Certificates of authorities that the public ones do not know; three pieces of a pod. */}}
{{- define "berth.caEnvironment" -}}
{{- if .Values.caBundle.existingConfigMap }}
- {name: NODE_EXTRA_CA_CERTS, value: /etc/berth/ca/{{ .Values.caBundle.key }}}
{{- end }}
{{- end }}

{{- define "berth.caMount" -}}
{{- if .Values.caBundle.existingConfigMap }}
- {name: ca-bundle, mountPath: /etc/berth/ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "berth.caVolume" -}}
{{- with .Values.caBundle }}
{{- if .existingConfigMap }}
- name: ca-bundle
  configMap:
    name: {{ .existingConfigMap }}
    items: [{key: {{ .key }}, path: {{ .key }}}]
{{- end }}
{{- end }}
{{- end }}

{{/* Scheduling and pull settings of a pod. Argument: dict "root" $ "component" "operator" "settings" .Values.operator. */}}
{{- define "berth.placement" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .settings.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- /* By node alone: the scheduler leaves nodes out that lack a label of any constraint, and many clusters have no zones. */}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "berth.selector" . | nindent 8 }}
{{- end }}

{{/* CEL variables: who may write what Berth records. */}}
{{- define "berth.privilegedVariables" -}}
- name: user
  expression: "request.userInfo.username"
- name: groups
  expression: "has(request.userInfo.groups) ? request.userInfo.groups : []"
- name: isPrivileged
  expression: >-
    variables.user in ['{{ include "berth.operatorUser" . }}', '{{ include "berth.uninstallUser" . }}', '{{ include "berth.providerUser" . }}',
    'system:kube-controller-manager', 'system:apiserver']
    || variables.user.startsWith('system:serviceaccount:kube-system:')
    || 'system:masters' in variables.groups
    {{- with .Values.policies.breakGlassGroup }}
    || '{{ . }}' in variables.groups
    {{- end }}
{{- end }}

{{/* Annotations of the objects that exist only while `helm uninstall` runs. Argument: the weight. */}}
{{- define "berth.uninstallHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/*
Says "true" where the policy of dedicated nodes would refuse this pod spec: the same rules as in policies.yaml.
Argument: the pod spec as `lookup` returns it.
*/}}
{{- define "berth.isRefused" -}}
{{- $label := "berth.node-restriction.kubernetes.io/pool" }}
{{- $terms := dig "affinity" "nodeAffinity" "requiredDuringSchedulingIgnoredDuringExecution" "nodeSelectorTerms" list . | default list }}
{{- $keepsOff := gt (len $terms) 0 }}
{{- $refused := or (hasKey (.nodeSelector | default dict) $label) (ne (.nodeName | default "") "") }}
{{- range $terms }}
{{- $termKeepsOff := false }}
{{- range .matchExpressions | default list }}
{{- if eq .key $label }}
{{- if eq .operator "DoesNotExist" }}{{ $termKeepsOff = true }}{{ end }}
{{- if has .operator (list "In" "Exists" "Gt" "Lt") }}{{ $refused = true }}{{ end }}
{{- end }}
{{- end }}
{{- if not $termKeepsOff }}{{ $keepsOff = false }}{{ end }}
{{- end }}
{{- range .tolerations | default list }}
{{- $key := .key | default "" }}
{{- if eq $key "berth.dev/dedicated" }}{{ $refused = true }}{{ end }}
{{- if and (eq $key "") (not $keepsOff) }}{{ $refused = true }}{{ end }}
{{- end }}
{{- if $refused }}true{{ end }}
{{- end }}

{{/* Name of the ConfigMap that holds the price list; empty without one. */}}
{{- define "berth.priceListConfigMap" -}}
{{- with .Values.metering.priceList }}
{{- if .existingConfigMap }}{{ .existingConfigMap }}{{ else if .list }}{{ $.Release.Name }}-prices{{ end }}
{{- end }}
{{- end }}

{{/* The sinks as the operator reads them: secrets by the path at which they are mounted, never by value. */}}
{{- define "berth.sinks" -}}
{{- $sinks := list }}
{{- range .Values.metering.sinks }}
{{- $sink := omit . "existingSecret" "secretKey" "existingClaim" "accessKeyIdKey" "secretAccessKeyKey" }}
{{- $folder := printf "/etc/berth/sink-secrets/%s" .name }}
{{- if hasPrefix "s3:" .url }}
{{- $_ := set $sink "accessKeyIdFile" (printf "%s/%s" $folder (.accessKeyIdKey | default "access-key-id")) }}
{{- $_ := set $sink "secretAccessKeyFile" (printf "%s/%s" $folder (.secretAccessKeyKey | default "secret-access-key")) }}
{{- else if .existingSecret }}
{{- $file := printf "%s/%s" $folder (.secretKey | default (ternary "token" "secret" (eq .type "cloudevents"))) }}
{{- $_ := set $sink (ternary "tokenFile" "secretFile" (eq .type "cloudevents")) $file }}
{{- end }}
{{- $sinks = append $sinks $sink }}
{{- end }}
{{- toJson $sinks }}
{{- end }}

{{/*
By how much a counter grew within a time. What a process counts before it is scraped for the first time increase() does not see: a
series that was not there before that time counts as a whole.
*/}}
{{- define "berth.grew" -}}
increase({{ .series }}[{{ .within }}]) > 0 or max_over_time({{ .series }}[{{ .within }}]) unless last_over_time({{ .series }}[1h] offset {{ .within }})
{{- end }}
