{{/* What the schema cannot say. Each message tells what to write instead. */}}
{{- define "berth.checks" -}}
{{- $ledgerIsDirectory := hasPrefix "file://" .Values.ledger.url }}
{{- if and $ledgerIsDirectory (gt (include "berth.operatorReplicas" . | int) 1) }}
{{- fail (printf "operator.replicas is %s, but ledger.url is a directory (%s), which only one operator may write: set operator.replicas=1, or ledger.url=s3://bucket/prefix" (include "berth.operatorReplicas" .) .Values.ledger.url) }}
{{- end }}
{{- if and (hasPrefix "file://" .Values.store.url) (gt (int .Values.importer.replicas) 1) (not (has "ReadWriteMany" .Values.store.persistence.accessModes)) }}
{{- fail (printf "importer.replicas is %d, but store.url is a directory (%s) on a volume without ReadWriteMany: set importer.replicas=1, or store.persistence.accessModes=[ReadWriteMany] (with a storage class or claim that offers it), or store.url=s3://bucket/prefix" (int .Values.importer.replicas) .Values.store.url) }}
{{- end }}
{{- if and (hasPrefix "file://" .Values.store.url) (gt (include "berth.storeReplicas" . | int) 1) (not (has "ReadWriteMany" .Values.store.persistence.accessModes)) }}
{{- fail (printf "storeService.replicas is %s, but store.url is a directory (%s) on a volume without ReadWriteMany: set storeService.replicas=1, or store.persistence.accessModes=[ReadWriteMany] (with a storage class or claim that offers it), or store.url=s3://bucket/prefix" (include "berth.storeReplicas" .) .Values.store.url) }}
{{- end }}
{{- if and (hasPrefix "file://" .Values.store.url) (has "ReadWriteOncePod" .Values.store.persistence.accessModes) }}
{{- fail (printf "store.persistence.accessModes names ReadWriteOncePod, but store.url is a directory (%s) that importer and store both mount: use ReadWriteOnce or ReadWriteMany" .Values.store.url) }}
{{- end }}
{{- if and .Values.store.redirectCIDRs (hasPrefix "file://" .Values.store.url) }}
{{- fail (printf "store.redirectCIDRs is set, but store.url is a directory (%s), which pods cannot be sent to: leave store.redirectCIDRs empty, or set store.url=s3://bucket/prefix" .Values.store.url) }}
{{- end }}
{{- if and (hasPrefix "s3://" .Values.store.url) (eq .Values.store.addressingStyle "VirtualHost") }}
{{- if regexMatch "^https?://([0-9.]+|\\[.*\\])(:[0-9]+)?/?$" .Values.store.endpoint }}
{{- fail (printf "store.addressingStyle is VirtualHost, but store.endpoint is an address (%s), which no bucket can stand before: write the service's name, or use Path" .Values.store.endpoint) }}
{{- end }}
{{- if and (contains "." (.Values.store.url | trimPrefix "s3://" | splitList "/" | first)) (hasPrefix "https://" .Values.store.endpoint) }}
{{- fail (printf "store.addressingStyle is VirtualHost, but the bucket of store.url (%s) has a dot, so that no certificate fits its host name: use Path" .Values.store.url) }}
{{- end }}
{{- end }}
{{- if and .Values.importer.signing.trustedKeys (not .Values.importer.signing.existingSecret) (gt (int .Values.importer.replicas) 0) }}
{{- fail (printf "importer.signing.trustedKeys is set, but importer.signing.existingSecret is empty, so no model that is imported could be served: name a Secret in namespace %s with the private key, or leave trustedKeys empty" .Release.Namespace) }}
{{- end }}
{{- if and .Values.importer.httpsProxy .Values.importer.proxySecret.existingSecret }}
{{- fail "importer.httpsProxy and importer.proxySecret.existingSecret both name the proxy: leave one out" }}
{{- end }}
{{- range $name := list "ledger" "store" }}
{{- $settings := index $.Values $name }}
{{- if or (contains "/../" (printf "%s/" $settings.url)) (contains "/./" (printf "%s/" $settings.url)) }}
{{- fail (printf "%s.url (%s) would leave the directory: write it without . and .." $name $settings.url) }}
{{- end }}
{{- if and (hasPrefix "s3://" $settings.url) (not $settings.existingSecret) }}
{{- fail (printf "%s.url is %s, but %s.existingSecret is empty: name a Secret in namespace %s with the keys %s and %s" $name $settings.url $name $.Release.Namespace $settings.accessKeyIdKey $settings.secretAccessKeyKey) }}
{{- end }}
{{- end }}
{{- if and $ledgerIsDirectory (hasPrefix "file://" .Values.store.url) (eq (include "berth.directory" .Values.ledger.url) (include "berth.directory" .Values.store.url)) }}
{{- fail (printf "ledger.url and store.url are the same directory (%s): give each its own" .Values.ledger.url) }}
{{- end }}
{{- if ne (mod 3600 (int .Values.timing.windowSeconds)) 0 }}
{{- fail (printf "timing.windowSeconds is %d: give a divisor of 3600, so that windows begin on the hour" (int .Values.timing.windowSeconds)) }}
{{- end }}
{{- if and .Values.metering.retention.enabled .Values.metering.signing.earlierKeys (not .Values.metering.signing.existingSecret) }}
{{- fail (printf "metering.retention.enabled is set with metering.signing.earlierKeys, but metering.signing.existingSecret is empty, so that nobody could sign the checkpoint: name the Secret in namespace %s with the present private key, or set metering.retention.enabled=false" .Release.Namespace) }}
{{- end }}
{{- $sinksSeen := dict }}
{{- range .Values.metering.sinks }}
{{- if hasKey $sinksSeen .name }}
{{- fail (printf "metering.sinks lists %s twice: acknowledgements are kept by name, so give each its own" .name) }}
{{- end }}
{{- $_ := set $sinksSeen .name true }}
{{- if and (eq .type "webhook") (not .existingSecret) }}
{{- fail (printf "metering.sinks: webhook %s has no existingSecret: name a Secret in namespace %s that holds its signing secret under the key secret (or secretKey)" .name $.Release.Namespace) }}
{{- end }}
{{- $files := has .type (list "jsonl" "focus") }}
{{- if ne $files (or (hasPrefix "file:///" .url) (hasPrefix "s3://" .url)) }}
{{- fail (printf "metering.sinks: %s of type %s cannot have the url %s: write file:///path or s3://bucket/prefix for jsonl and focus, https://… otherwise" .name .type .url) }}
{{- end }}
{{- if and (hasPrefix "file:" .url) (not .existingClaim) }}
{{- fail (printf "metering.sinks: %s writes files, but has no existingClaim: name a PersistentVolumeClaim in namespace %s" .name $.Release.Namespace) }}
{{- end }}
{{- if and (hasPrefix "file:" .url) .existingSecret }}
{{- fail (printf "metering.sinks: %s writes files and takes no existingSecret: leave it out" .name) }}
{{- end }}
{{- if and (hasPrefix "s3:" .url) (not .existingSecret) }}
{{- fail (printf "metering.sinks: %s writes to a bucket and has no existingSecret: name a Secret in namespace %s with access-key-id and secret-access-key" .name $.Release.Namespace) }}
{{- end }}
{{- if eq .type "focus" }}
{{- $retention := $.Values.metering.retention }}
{{- if and $retention.enabled (lt (int $retention.keepDays) 63) }}
{{- fail (printf "metering.retention.keepDays: %d is too few for the sink %s of type focus, whose tiers and minimums go back to the begin of the month before: write 63 or more" (int $retention.keepDays) .name) }}
{{- end }}
{{- if not .provider }}
{{- fail (printf "metering.sinks: %s has no provider: say who sells the capacity and writes the invoice" .name) }}
{{- end }}
{{- if not (include "berth.priceListConfigMap" $) }}
{{- fail (printf "metering.sinks: %s of type focus needs prices: set metering.priceList.list or metering.priceList.existingConfigMap" .name) }}
{{- end }}
{{- end }}
{{- if and (hasPrefix "http://" .url) (not .plainHttp) }}
{{- fail (printf "metering.sinks: %s has no TLS (%s): use https, or set plainHttp inside your own network" .name .url) }}
{{- end }}
{{- end }}
{{- $seen := dict }}
{{- range .Values.nodeTypes }}
{{- if hasKey $seen .name }}
{{- fail (printf "nodeTypes lists %s twice: remove one" .name) }}
{{- end }}
{{- $_ := set $seen .name true }}
{{- end }}
{{- if and .Values.uninstall.force (not .Values.uninstall.check) }}
{{- fail "uninstall.force=true needs uninstall.check=true: the hook that removes Berth's finalizers is the same" }}
{{- end }}
{{- end }}
