{{- define "facebridge.name" -}}
{{- printf "%s-facebridge" .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "facebridge.labels" -}}
app.kubernetes.io/name: facebridge
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "facebridge.selector" -}}
app.kubernetes.io/name: facebridge
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "facebridge.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* Everything of a pod but what it keeps: root is read only, nobody is root, nothing may be gained. */}}
{{- define "facebridge.pod" -}}
automountServiceAccountToken: false
# Kubernetes would put FACEBRIDGE_... of its own into the environment, which are no settings.
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
terminationGracePeriodSeconds: 40
containers:
  - name: facebridge
    image: {{ include "facebridge.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args: [serve]
    ports:
      - {name: http, containerPort: 8000}
    env:
      - {name: FACEBRIDGE_KEYS, value: /keys/keys.json}
      {{- if not .galleries }}
      # Nothing of it is kept: neither galleries nor an audit log; gateways write down what they let through.
      - {name: FACEBRIDGE_GALLERIES, value: "off"}
      - {name: FACEBRIDGE_AUDIT, value: "off"}
      {{- end }}
      {{- with .root.Values.redis.url }}
      - {name: FACEBRIDGE_REDIS, value: {{ . | quote }}}
      {{- end }}
      {{- range $name, $value := .root.Values.settings }}
      - {name: {{ $name }}, value: {{ $value | quote }}}
      {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    startupProbe:
      httpGet: {path: /healthz/live, port: http}
      periodSeconds: 5
      # A million templates are read in far less.
      failureThreshold: 120
    livenessProbe:
      httpGet: {path: /healthz/live, port: http}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /healthz/ready, port: http}
      periodSeconds: 5
      timeoutSeconds: 3
    lifecycle:
      # Until nobody sends anything here any more.
      preStop: {exec: {command: [/usr/bin/python3, -c, "import time; time.sleep(5)"]}}
    resources: {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      - {name: bundles, mountPath: /bundles, readOnly: true}
      - {name: keys, mountPath: /keys, readOnly: true}
      - {name: data, mountPath: /data}
      - {name: tmp, mountPath: /tmp}
volumes:
  - name: bundles
    persistentVolumeClaim: {claimName: {{ .root.Values.bundles.claim }}, readOnly: true}
  - name: keys
    secret: {secretName: {{ .root.Values.keys.secret }}, defaultMode: 0440}
  - name: tmp
    emptyDir: {sizeLimit: 256Mi}
{{- end -}}
